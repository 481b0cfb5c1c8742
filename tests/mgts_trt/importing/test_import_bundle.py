"""A bundle of others' files: whole or not at all, at parity with the files, and never mixed with another's people."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BundleError, GalleryError, ImageError
from mgts_trt.evaluation.golden import load_goldens
from mgts_trt.evaluation.parity import compare_bundle, tolerance_of
from mgts_trt.gallery.space import Space
from mgts_trt.importing import import_bundle
from mgts_trt.importing.import_bundle import Import, prepare, write
from mgts_trt.importing.reid_options import ReidOptions
from mgts_trt.machine.files import file_sha256
from mgts_trt.precisions.recording import Recording
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.backends import select_runtime
from mgts_trt.stages import Letterbox
from tests.helpers.goldens import add_golden
from tests.helpers.reid_files import FEATURES, SIZE, save_reid
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture
def job(tmp_path: Path) -> Import:
    into = make_tiny_bundle(tmp_path / "tiny")
    add_golden(into)
    reid = save_reid(tmp_path / "osnet.onnx", "reshape")
    return Import(out=tmp_path / "made", reid=reid, into=Bundle.open(into), licence="MIT")


def _contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_keeps_the_detector_and_takes_the_other_network(job: Import) -> None:
    made = write(job, prepare(job))
    manifest, old = made.manifest, job.into.manifest
    assert list(manifest.models) == ["detector", "idnet"]
    assert manifest.models["detector"] == old.models["detector"]
    assert (manifest.patch, manifest.embedding) == (SIZE, FEATURES)
    assert manifest.normalisation.mean == pytest.approx((123.675, 116.28, 103.53))
    with PersonSearch(made, backend="onnxruntime") as search, PersonSearch(job.into, backend="onnxruntime") as before:
        case = load_goldens(made)[0]
        people = search(case.canvas)
        assert search.mode == "none"
        assert np.array_equal(people.boxes, before(case.canvas).boxes)
        assert people.embeddings.shape == (2, FEATURES)
        assert np.linalg.norm(people.embeddings, axis=1) == pytest.approx(1, abs=1e-5)


def test_says_where_the_network_is_from(job: Import) -> None:
    imported = write(job, prepare(job)).model("idnet").imported
    assert imported is not None
    assert (imported.file, imported.opset, imported.producer, imported.licence) == ("osnet.onnx", 17, "tests 1", "MIT")
    assert imported.sha256 == file_sha256(job.reid)
    assert imported.options["resize"] == "pil-bilinear"
    assert imported.resize_cosine == pytest.approx(1)  # the golden's people are of one colour each


def test_boxes_of_anothers_detector_may_move_in_half(job: Import) -> None:
    made = write(job, prepare(job))
    detector, idnet = made.model("detector"), made.model("idnet")
    theirs = detector.model_copy(update={"imported": idnet.imported})
    models = {"detector": theirs, "idnet": idnet}
    imported = Bundle(made.root, made.manifest.model_copy(update={"models": models}))
    assert [tolerance_of(each, "detector", "fp16").box_iou for each in (made, imported)] == [0.99, 0.95]
    for precision in ("fp32", "int8"):
        assert tolerance_of(imported, "detector", precision) == tolerance_of(made, "detector", precision)
    assert tolerance_of(imported, "idnet", "fp16").box_iou is None


def test_measures_what_the_resizing_costs(job: Import) -> None:
    part = prepare(job).parts["idnet"]
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    noise = Recording("noise", "", picture, picture, Letterbox((64, 96), (64, 96)))
    noise.outputs["persons.boxes"] = np.array([[0, 0, 40, 60], [50, 10, 90, 64]], np.float32)
    part.record(noise)
    cosines = (noise.outputs["idnet.author"] * noise.outputs["idnet.none"]).sum(axis=1)
    found = part.provenance(None, [noise])
    assert found.resize_cosine == pytest.approx(cosines.min())
    assert 0.5 < found.resize_cosine < 0.999
    assert found.licence is None


def test_is_at_parity_with_the_file_and_notices_another(job: Import) -> None:
    made = write(job, prepare(job))
    runtime = select_runtime(made, ("detector", "idnet"), precision="fp32", backend="onnxruntime", threads=1)
    rows = compare_bundle(made, runtime)
    assert {(row.model, row.metric) for row in rows if row.model == "idnet"} == {
        ("idnet", "cosine"),
        ("idnet", "author_cosine"),
    }
    assert all(row.ok for row in rows)
    # The same file, as another author would have it: its goldens are of other pixels.
    other = dataclasses.replace(job, out=job.out.with_name("other"), reid_options=ReidOptions.of("fastreid"))
    mixed = write(other, prepare(other))
    for file in made.root.glob("golden/*"):
        (mixed.root / "golden" / file.name).write_bytes(file.read_bytes())
    wrong = Bundle(mixed.root, mixed.manifest.model_copy(update={"golden": made.manifest.golden}))
    assert not all(row.ok for row in compare_bundle(wrong, runtime) if row.model == "idnet")


def test_people_of_two_networks_never_mix(job: Import, tmp_path: Path) -> None:
    """Not of another file, nor of one file prepared otherwise, nor with the bundle's own before."""
    jobs = [
        job,
        dataclasses.replace(job, out=tmp_path / "b", reid=save_reid(tmp_path / "b.onnx", "flatten", opset=12)),
        dataclasses.replace(job, out=tmp_path / "c", reid_options=ReidOptions.of(None, colour="bgr")),
        dataclasses.replace(job, out=tmp_path / "d", reid_options=ReidOptions.of("tao")),
        dataclasses.replace(job, out=tmp_path / "e", reid=save_reid(tmp_path / "e.onnx", "token")),
    ]
    spaces = [Space.of(write(each, prepare(each)), "none") for each in jobs] + [Space.of(job.into, "none")]
    for number, space in enumerate(spaces):
        for other in spaces[number + 1 :]:
            with pytest.raises(GalleryError, match="cannot be compared"):
                space.require_same(other)
    again = dataclasses.replace(job, out=tmp_path / "again")
    Space.of(write(again, prepare(again)), "none").require_same(spaces[0])


def test_nothing_is_written_before_it_is_asked_for(job: Import) -> None:
    prepared = prepare(job)
    assert not job.out.exists()
    assert {row.what: row.value for row in prepared.rows()}["dropped"] == "masknet, mgts"


def test_in_place_it_needs_force_and_fails_whole(job: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    here = dataclasses.replace(job, out=job.into.root)
    before = _contents(job.into.root)
    with pytest.raises(BundleError, match=r"There is a bundle in .*--force"):
        prepare(here)
    here.force = True
    with monkeypatch.context() as patch:
        patch.setattr(import_bundle, "move_into_place", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(here, prepare(here))
    assert _contents(job.into.root) == before
    assert [path.name for path in job.into.root.parent.iterdir() if path.name.startswith(".")] == []
    made = write(here, prepare(here))
    assert made.root == job.into.root
    assert sorted(path.name for path in made.root.glob("*.onnx")) == ["detector.fp32.onnx", "idnet.fp32.onnx"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reid": None}, "Nothing to import"),
        ({"into": None}, r"Name the other file with --detector, or a bundle that has one with --into"),
        ({"into": None, "reid": None, "detector": Path("a.onnx")}, r"Name the other file with --reid"),
        ({"detector": Path("a.onnx")}, r"Nothing of .* would be kept"),
    ],
)
def test_refuses_what_makes_no_bundle(change, message: str, job: Import) -> None:
    with pytest.raises(BundleError, match=message):
        prepare(dataclasses.replace(job, **change))


def test_refuses_a_folder_that_holds_a_bundle(job: Import) -> None:
    write(job, prepare(job))
    with pytest.raises(BundleError, match="--force"):
        prepare(job)


def test_golden_pictures_have_names_of_their_own(job: Import, tmp_path: Path) -> None:
    from mgts_trt.importing.golden_pictures import golden_recordings
    from mgts_trt.pictures.image import write_image

    paths = [tmp_path / "one" / "a.png", tmp_path / "two" / "a.png"]
    for path in paths:
        path.parent.mkdir()
        write_image(path, np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(ImageError, match="same name"):
        golden_recordings(paths, job.into.manifest)
    assert [each.name for each in golden_recordings(paths[:1], job.into.manifest)] == ["a"]


def test_pictures_are_made_up_where_there_are_none(job: Import, tmp_path: Path, monkeypatch) -> None:
    from mgts_trt.importing.golden_pictures import golden_recordings, people_or_places

    monkeypatch.setenv("MGTS_BUNDLE", str(tmp_path / "none"))
    one, other = golden_recordings([], job.into.manifest)
    assert one.canvas.shape == (*job.into.manifest.canvas, 3)
    assert one.canvas.std() > 20
    assert not np.array_equal(one.canvas, other.canvas)
    one.outputs["persons.boxes"] = np.zeros((0, 4), np.float32)
    people_or_places(one)
    boxes = one.outputs["persons.boxes"]
    assert len(boxes) == 3
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= np.array(job.into.manifest.canvas[::-1])).all()
    assert (boxes[:, 2:] - boxes[:, :2] > 8).all()
