from pathlib import Path

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import read_manifest, write_manifest
from mgts_trt.bundle.recipe import MODELS
from mgts_trt.errors import BackendError, GalleryError, ImageError
from mgts_trt.gallery.space import Space
from mgts_trt.runtime.joint_people import rows_of_given
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.stages import Letterbox
from tests.helpers.tiny_bundle import CANVAS, JOINT_EMBEDDING, PROBES, make_tiny_bundle

CELLS = ((0, 1), (1, 4))


def picture(*cells: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Grey, with people in some cells: white, speckled each in a way of its own."""
    image = np.full((*CANVAS, 3), 90, np.uint8)
    rng = np.random.default_rng(seed)
    for row, column in cells:
        image[32 * row : 32 * row + 32, 16 * column : 16 * column + 16] = rng.integers(225, 256, (32, 16, 3))
    return image


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", models=MODELS)


@pytest.fixture(scope="module")
def search(root: Path):
    with PersonSearch.open(root, mode="joint") as opened:
        yield opened


def test_it_finds_whom_the_detector_finds_and_describes_them(search: PersonSearch, root: Path) -> None:
    image = picture(*CELLS)
    people = search(image)
    with PersonSearch.open(root, mode="none") as separate:
        others = separate(image)
    np.testing.assert_array_equal(people.boxes, others.boxes)
    np.testing.assert_array_equal(people.scores, others.scores)
    assert people.embeddings.shape == (2, JOINT_EMBEDDING)
    np.testing.assert_allclose(np.linalg.norm(people.embeddings, axis=1), 1, atol=1e-5)
    assert not people.instances.any()
    assert people.masks is None
    assert people.crops.tolist() == people.boxes.astype(int).tolist()
    assert list(people.timings) == ["letterbox", "joint", "total"]
    assert "masks: none" in str(people)
    assert people.to_dict()["people"][0]["mask"] is None
    assert len(search(picture())) == 0
    assert len(search(image, top=1)) == 1


def test_a_given_box_is_described_like_one_that_is_found(search: PersonSearch) -> None:
    image = picture(*CELLS)
    people = search(image)
    given = search.embed(image, people.boxes)
    np.testing.assert_allclose(given.embeddings, people.embeddings, atol=1e-5)
    assert given.scores.tolist() == [1, 1]
    assert len(search.embed(image, np.zeros((0, 4)))) == 0


def test_more_boxes_than_the_network_has_places_for(search: PersonSearch) -> None:
    image = picture(*CELLS)
    boxes = np.array([[x, 0, x + 16, 32] for x in range(0, 16 * (2 * PROBES + 1), 5)][: 2 * PROBES + 1], float)
    together = search.embed(image, boxes).embeddings
    alone = [search.embed(image, box[None]).embeddings[0] for box in boxes]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_pictures_together_are_described_as_alone(root: Path) -> None:
    images = [picture(*CELLS), picture((0, 0), seed=1), picture(), picture((1, 5), (0, 3), (0, 1), seed=2)]
    with PersonSearch.open(root, mode="joint", batch_size=3) as search:
        for people, image in zip(search.batch(images), images, strict=True):
            alone = search(image)
            np.testing.assert_array_equal(people.boxes, alone.boxes)
            np.testing.assert_allclose(people.embeddings, alone.embeddings, atol=1e-5)
        found = search.batch([images[0], "no picture", images[1]], errors="return")
    assert [len(each) if not isinstance(each, Exception) else type(each) for each in found] == [2, ImageError, 1]


def without_rois(root: Path, folder: Path) -> Path:
    """A joint network as others have it, which describes only whom it finds."""
    import onnx
    from onnx import utils

    make_tiny_bundle(folder, models=["joint"])
    path = folder / "joint.fp32.onnx"
    utils.extract_model(str(path), str(path), ["image"], ["boxes", "scores", "embeddings"])
    assert len(onnx.load(path).graph.input) == 1
    manifest = read_manifest(folder)
    model = manifest.models["joint"]
    data = path.read_bytes()
    import hashlib

    file = model.files["fp32"].model_copy(update={"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})
    lean = model.model_copy(
        update={
            "files": {"fp32": file},
            "inputs": {"image": model.inputs["image"]},
            "outputs": {name: spec for name, spec in model.outputs.items() if name != "roi_embeddings"},
        }
    )
    write_manifest(folder, manifest.model_copy(update={"models": {"joint": lean}}))
    return folder


def test_without_places_for_boxes_the_person_found_there_serves(root: Path, tmp_path: Path) -> None:
    image = picture(*CELLS)
    with PersonSearch.open(without_rois(root, tmp_path / "b")) as search:
        assert search.mode == "joint"
        people = search(image)
        near = people.boxes[::-1] + np.array([2, 0, 2, 0], np.float32)
        given = search.embed(image, near)
        np.testing.assert_array_equal(given.embeddings, people.embeddings[::-1])
        np.testing.assert_allclose(given.boxes, near, atol=1e-4)
        with pytest.raises(ImageError, match=r"nobody it finds is where the box \[0.0, 32.0, 16.0, 64.0\] is: .* 0.00"):
            search.embed(image, np.array([[0, 32, 16, 64]]))
        with pytest.raises(ImageError, match="nobody it finds"):
            search.embed(picture(), people.boxes)


def test_padding_stands_in_no_box() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    whole = Letterbox(CANVAS, CANVAS)
    assert rows_of_given(boxes, np.array([0, 0.1]), boxes[:1], whole).tolist() == [1]
    with pytest.raises(ImageError, match="nobody"):
        rows_of_given(boxes, np.zeros(2), boxes[:1], whole)


def test_embeddings_of_other_modes_never_mix(root: Path) -> None:
    bundle = Bundle.open(root)
    joint, none = Space.of(bundle, "joint"), Space.of(bundle, "none")
    assert (joint.model, joint.embedding) == ("joint", JOINT_EMBEDDING)
    with pytest.raises(GalleryError, match="model joint there, idnet here"):
        joint.require_same(none)


def test_warm_up_and_close(root: Path) -> None:
    search = PersonSearch.open(root, mode="joint")
    steps: list[tuple[int, int]] = []
    search.warm_up(on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 1)]
    assert [len(people) for people in search.stream([picture(*CELLS), picture()])] == [2, 0]
    search.close()
    for call in (lambda: search(picture()), lambda: search.embed(picture(), np.array([[0, 0, 9, 9]]))):
        with pytest.raises(BackendError, match="closed"):
            call()


def test_a_bundle_without_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="has no joint"):
        PersonSearch.open(make_tiny_bundle(tmp_path / "b"), mode="joint")
