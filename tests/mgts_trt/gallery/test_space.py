import hashlib

import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import read_manifest, write_manifest
from mgts_trt.errors import BundleError, GalleryError
from mgts_trt.gallery import Space
from tests.helpers.tiny_bundle import MEAN, STD, make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b"))


def test_it_is_what_the_bundle_computes(bundle) -> None:
    space = Space.of(bundle, "net")
    assert space.model_dump() == {
        "model": "mgts",
        "weights": hashlib.sha256((bundle.root / "mgts.fp32.onnx").read_bytes()).hexdigest(),
        "mode": "net",
        "gamma": 1.3,
        "patch": (32, 16),
        "embedding": 128,
        "preset": "tiny",
        "canvas": (64, 96),
        "pad": (114, 114, 114),
        "mean": MEAN,
        "std": STD,
        "instance": 0.5,
        "mask": 0.5,
    }


@pytest.mark.parametrize("mode", ["box", "none"])
def test_thresholds_of_masks_count_where_masks_are_the_networks(bundle, mode) -> None:
    space = Space.of(bundle, mode)
    assert (space.instance, space.mask) == (None, None)


def test_without_expansion_gamma_is_one(bundle) -> None:
    space = Space.of(bundle, "none")
    assert (space.model, space.gamma) == ("idnet", 1.0)


def test_precisions_of_a_bundle_share_it(bundle, tmp_path) -> None:
    both = Bundle.open(make_tiny_bundle(tmp_path / "b", ("fp32", "fp16")))
    assert Space.of(both, "box") == Space.of(bundle, "box")


def test_a_checkpoint_tells_the_weights(bundle, tmp_path) -> None:
    root = make_tiny_bundle(tmp_path / "b")
    manifest = read_manifest(root)
    training = manifest.training.model_copy(update={"checkpoints": {"mgts": "c" * 64, "idnet": "d" * 64}})
    write_manifest(root, manifest.model_copy(update={"training": training}))
    opened = Bundle.open(root)
    assert [Space.of(opened, mode).weights[0] for mode in ("net", "box", "none")] == ["c", "c", "d"]


def test_fp16_alone_has_weights_too(tmp_path) -> None:
    half = Bundle.open(make_tiny_bundle(tmp_path / "b", ("fp16",)))
    assert len(Space.of(half, "box").weights) == 64


def test_a_bundle_without_the_network(tmp_path) -> None:
    lacking = Bundle.open(make_tiny_bundle(tmp_path / "b", models=("detector", "idnet")))
    with pytest.raises(BundleError, match="has no mgts"):
        Space.of(lacking, "box")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "idnet"), ("weights", "b" * 64), ("mode", "net"), ("gamma", 1.0), ("patch", (128, 64)),
        ("embedding", 64), ("preset", "paper"), ("canvas", (480, 800)), ("pad", (0, 0, 0)), ("mean", (0.0, 0.0, 0.0)),
        ("std", (1.0, 1.0, 1.0)), ("instance", 0.6), ("mask", 0.6),
    ],
)  # fmt: skip
def test_every_field_counts(bundle, field, value) -> None:
    space = Space.of(bundle, "none" if field == "mode" else "net")
    space.require_same(space)
    with pytest.raises(
        GalleryError, match=rf"The pile holds embeddings that were made otherwise: {field} .* there, .* here"
    ) as e:
        space.require_same(space.model_copy(update={field: value}), what="The pile")
    assert e.match("index the pictures into a new gallery")


@pytest.mark.parametrize("field", ["canvas", "pad", "mean", "std", "instance", "mask"])
def test_what_an_older_gallery_does_not_tell_is_not_compared(bundle, field) -> None:
    space = Space.of(bundle, "net")
    older = space.model_copy(update={field: None})
    older.require_same(space)
    space.require_same(older)
