import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import read_manifest, write_manifest
from mgts_trt.choices import SEPARATE_MODES
from mgts_trt.errors import BundleError
from mgts_trt.evaluation.labelled import LabelledSet
from mgts_trt.evaluation.mask_metrics import mask_iou
from mgts_trt.evaluation.metrics import evaluate_reid
from mgts_trt.evaluation.task import _BOUND, TaskComparison, box_ap, bundled_set, compare_runs, compare_task, measure
from mgts_trt.evaluation.task_picture import Difference, worst_picture
from mgts_trt.evaluation.task_run import PackedMask, TaskRun, load_run, save_run
from mgts_trt.runtime.session.backends import Runtime
from tests.helpers.labelled_sets import add_labelled, alter, make_labelled_set, run_tiny
from tests.helpers.tiny_bundle import make_tiny_bundle

CPU = Runtime("onnxruntime", "CPU", "asked for")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    root = make_tiny_bundle(tmp_path_factory.mktemp("task") / "b", ("fp32", "fp16"))
    add_labelled(root)
    return root


@pytest.fixture(scope="module")
def labelled(pristine: Path) -> LabelledSet:
    return LabelledSet.open(pristine / "labelled")


@pytest.fixture(scope="module")
def run(pristine: Path, labelled: LabelledSet) -> TaskRun:
    return run_tiny(pristine, labelled)


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 20))))
def test_a_mask_survives_packing(mask: np.ndarray) -> None:
    packed = PackedMask.of(mask)
    assert np.array_equal(packed.unpack(*mask.shape), mask)
    assert len(packed.bits) == -(-packed.pixels // 8)


@given(arrays(np.bool_, (2, 9, 11)))
def test_iou_of_packed_masks(masks: np.ndarray) -> None:
    a, b = masks
    expected = mask_iou(a, b, empty=1)
    assert PackedMask.of(a).iou(PackedMask.of(b)) == expected


def test_a_run_survives_its_file(run: TaskRun, labelled: LabelledSet, tmp_path: Path) -> None:
    save_run(tmp_path / "r.npz", run)
    again = load_run(tmp_path / "r.npz", labelled)
    assert again.modes.keys() == run.modes.keys()
    for (boxes, scores), (boxes_again, scores_again) in zip(run.rows, again.rows, strict=True):
        assert np.array_equal(boxes, boxes_again)
        assert np.array_equal(scores, scores_again)
    for mode in SEPARATE_MODES:
        for before, after in zip(run.modes[mode], again.modes[mode], strict=True):
            for key in ("boxes", "scores", "embeddings", "instances", "truths"):
                assert np.array_equal(getattr(before, key), getattr(after, key)), key
            assert [mask.window for mask in before.masks] == [mask.window for mask in after.masks]
            assert [mask.bits.tolist() for mask in before.masks] == [mask.bits.tolist() for mask in after.masks]
    assert sum(len(result.masks) for result in run.modes["net"]) == 6


@pytest.mark.parametrize("key", ["detector.counts", "net.truths", "net.bits", "box.boxes", "none.scores"])
def test_an_incomplete_reference(run: TaskRun, labelled: LabelledSet, tmp_path: Path, key: str) -> None:
    path = tmp_path / "r.npz"
    save_run(path, run)
    with np.load(path) as file:
        whole = dict(file)
    for content in ({k: v for k, v in whole.items() if k != key}, {**whole, key: whole[key][:-1]}):
        np.savez(path, **content)
        with pytest.raises(BundleError, match=r"not complete|is of 2 pictures"):
            load_run(path, labelled)
    path.write_bytes(b"PK")
    with pytest.raises(BundleError, match="not complete"):
        load_run(path, labelled)


def test_what_the_pipeline_finds(run: TaskRun, labelled: LabelledSet) -> None:
    """The tiny detector finds exactly the six bright cells; the masks are the cells."""
    assert box_ap(labelled, run) == 1
    assert [len(scores) for _, scores in run.rows] == [2, 2, 2]
    assert measure(labelled, run.modes["net"], "net")["label_mask_iou"] > 0.99
    assert "label_mask_iou" not in measure(labelled, run.modes["box"], "box")


@pytest.mark.parametrize("mode", SEPARATE_MODES)
def test_retrieval_is_the_reid_protocol(run: TaskRun, labelled: LabelledSet, mode: str) -> None:
    """Each person against all people of other pictures, computed crop by crop instead."""
    precisions = []
    for i, result in enumerate(run.modes[mode]):
        others = [j for j in range(3) if j != i]
        gallery = np.concatenate([run.modes[mode][j].truths for j in others])
        names = np.concatenate([labelled.pictures[j].identities for j in others])
        ranked = evaluate_reid(result.truths, np.array(labelled.pictures[i].identities), gallery, names)
        precisions += ranked.average_precisions.tolist()
    numbers = measure(labelled, run.modes[mode], mode)
    assert numbers["reid_map"] == pytest.approx(np.mean(precisions))
    assert numbers["search_map"] == pytest.approx(np.mean(precisions)), "the boxes found are those labelled"


def test_cameras_leave_pictures_out(run: TaskRun, tmp_path: Path) -> None:
    """Of two cameras' three pictures, a person is sought by the other camera alone."""
    folder = make_labelled_set(tmp_path / "set")
    data = json.loads((folder / "labels.json").read_text())
    for picture, camera in zip(data["pictures"], (1, 1, 2), strict=True):
        picture["camera"] = camera
    (folder / "labels.json").write_text(json.dumps(data))
    labelled = LabelledSet.open(folder)
    results = run.modes["none"]
    everyone = np.concatenate([result.truths for result in results])
    identities, cameras = np.array([7, 9] * 3), np.repeat([1, 1, 2], 2)
    # Both are in all pictures of camera 1, so that nothing of it remains for a query of it.
    expected = []
    for q in range(6):
        rows = cameras != cameras[q]
        ranked = evaluate_reid(everyone[[q]], identities[[q]], everyone[rows], identities[rows])
        expected.append(ranked.mean_average_precision)
    assert measure(labelled, results, "none")["reid_map"] == pytest.approx(np.mean(expected))


def test_a_run_equals_itself(run: TaskRun, labelled: LabelledSet) -> None:
    comparisons = compare_runs(labelled, run, run, "fp32")
    assert all(row.ok for row in comparisons)
    assert all(row.delta == 0 for row in comparisons if row.reference is not None)
    assert {row.part for row in comparisons} == {"detector", *SEPARATE_MODES}
    bound = {(row.part, row.metric) for row in comparisons if row.bound is not None}
    per_mode = {
        (mode, metric) for mode in SEPARATE_MODES for metric in ("reid_map", "search_map", "cosine", "mean_cosine")
    }
    assert bound == {("detector", "box_ap"), ("net", "mask_iou"), *per_mode}


@pytest.mark.parametrize(
    ("mode", "changes", "failing"),
    [
        ("none", {"truths": lambda a: -a}, {"cosine", "mean_cosine", "reid_map", "search_map"}),
        ("none", {"truths": lambda a: a * np.nan}, {"cosine", "mean_cosine", "reid_map", "search_map"}),
        ("none", {"embeddings": lambda a: a[::-1]}, {"search_map"}),
        ("none", {"boxes": lambda a: a + 200}, {"search_map"}),
        ("net", {"masks": lambda masks: tuple(PackedMask.of(~m.unpack(64, 96)) for m in masks)}, {"mask_iou"}),
    ],
)
def test_what_is_lost_is_caught(run: TaskRun, labelled: LabelledSet, mode, changes, failing: set[str]) -> None:
    comparisons = compare_runs(labelled, run, alter(run, mode, **changes), "fp16")
    assert {(row.part, row.metric) for row in comparisons if not row.ok} == {(mode, metric) for metric in failing}


def test_int8_bounds_the_mean_of_cosines(run: TaskRun, labelled: LabelledSet) -> None:
    """One person who is given another instance's mask does not decide; what all lose does."""
    for scale, ok in ((np.array([[0.95], [1.0]]), True), (0.95, False)):
        spoilt = alter(run, "box", truths=lambda a, scale=scale: a * scale)
        rows = {row.metric: row for row in compare_runs(labelled, run, spoilt, "int8") if row.part == "box"}
        assert rows["cosine"].value == pytest.approx(0.95)
        assert rows["cosine"].ok
        assert rows["mean_cosine"].ok is ok


def test_lost_boxes_are_caught(run: TaskRun, labelled: LabelledSet) -> None:
    lost = dataclasses.replace(run, rows=((run.rows[0][0][:1], run.rows[0][1][:1]), *run.rows[1:]))
    failed = [row for row in compare_runs(labelled, run, lost, "int8") if not row.ok]
    assert [(row.part, row.metric) for row in failed] == [("detector", "box_ap")]
    assert failed[0].delta == pytest.approx(-1 / 6)


@pytest.mark.parametrize(
    ("value", "reference", "bound", "ok"),
    [(0.5, 0.5, 0.1, True), (0.45, 0.5, 0.1, True), (0.3, 0.5, 0.1, False), (0.7, 0.5, 0.1, True),
     (0.3, 0.5, None, True), (0.99, None, 0.99, True), (0.98, None, 0.99, False),
     (float("nan"), None, 0.9, False), (float("nan"), 0.5, 0.1, False)],
)  # fmt: skip
def test_bounds(value, reference, bound, ok: bool) -> None:
    assert TaskComparison("net", "fp16", "mask_iou", value, reference, bound).ok is ok


@pytest.mark.parametrize("metric", list(_BOUND))
def test_a_gain_is_no_failure(run: TaskRun, labelled: LabelledSet, metric: str) -> None:
    """In whatever is bound: where the reference lost more than it may, the better run passes, and never the reverse."""
    spoilt = dataclasses.replace(
        alter(run, "net", truths=lambda a: -a, embeddings=lambda a: a[::-1]),
        rows=((run.rows[0][0][:1], run.rows[0][1][:1]), *run.rows[1:]),
    )
    gained, lost = (
        [row for row in compare_runs(labelled, *pair, "fp16") if row.metric == metric and row.delta is not None]
        for pair in ((spoilt, run), (run, spoilt))
    )
    for better, worse in zip(gained, lost, strict=True):
        assert better.ok
        assert worse.ok is (worse.delta == 0)
    if metric in ("box_ap", "reid_map", "search_map"):
        assert max(row.delta for row in gained) > 0.1, "the case is one"
    else:
        assert not gained, "it compares the two runs itself"


def test_a_bundle_against_its_reference(pristine: Path) -> None:
    report = compare_task(Bundle.open(pristine), CPU)
    assert report.reference_name.startswith("PyTorch")
    assert {row.precision for row in report.comparisons} == {"fp32", "fp16"}
    assert all(row.ok for row in report.comparisons)
    halves = [row.value for row in report.comparisons if (row.precision, row.metric) == ("fp16", "cosine")]
    assert max(halves) < 1, "FP16 was run, not FP32 again"


def test_a_set_of_ones_own(pristine: Path, tmp_path: Path) -> None:
    """FP32 on ONNX Runtime is run once and is the reference, whatever the bundle carries."""
    own = LabelledSet.open(make_labelled_set(tmp_path / "own"))
    started: list[tuple[str, int]] = []

    def on_start(what: str, pictures: int):
        started.append((what, pictures))
        return lambda: None

    report = compare_task(Bundle.open(pristine), CPU, own, modes=("box",), on_start=on_start)
    assert report.reference_name == "FP32 on ONNX Runtime"
    assert started == [("fp32 on labelled pictures", 3), ("fp16 on labelled pictures", 3)]
    assert {row.part for row in report.comparisons} == {"detector", "box"}


def test_a_bundle_of_some_models(pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "b"))
    manifest = read_manifest(root)
    models = {name: model for name, model in manifest.models.items() if name != "masknet"}
    write_manifest(root, manifest.model_copy(update={"models": models}))
    report = compare_task(Bundle.open(root), CPU, precisions=["fp16"])
    assert {row.part for row in report.comparisons} == {"detector", "none", "box"}
    with pytest.raises(BundleError, match="no masknet"):
        compare_task(Bundle.open(root), CPU, modes=("net",))


def test_no_set_at_all(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path))
    assert bundled_set(bundle) is None
    with pytest.raises(BundleError, match="--labelled"):
        compare_task(bundle, CPU)


def test_differences_of_one_picture(run: TaskRun) -> None:
    first = run.modes["net"][0]
    same = Difference(first, first)
    assert same.pairs.tolist() == [[0, 0], [1, 1]]
    assert same.total == pytest.approx(0, abs=1e-6)
    swapped = dataclasses.replace(
        first,
        boxes=first.boxes[::-1] + np.array([[0, 0, 0, 0], [300, 0, 300, 0]]),
        scores=first.scores[::-1] + np.array([-0.25, 0]),
        embeddings=first.embeddings[::-1],
        masks=first.masks[::-1],
    )
    moved = Difference(first, swapped)
    assert moved.pairs.tolist() == [[1, 0]]
    assert moved.deviations == pytest.approx([0.25], abs=1e-6)
    assert (moved.lost.tolist(), moved.added.tolist()) == ([0], [1])
    assert Difference(first, dataclasses.replace(first, scores=first.scores * np.nan)).total == float("inf")


def test_the_worst_picture(pristine: Path, run: TaskRun) -> None:
    report = compare_task(Bundle.open(pristine), CPU, precisions=["fp16"])
    worse = alter(report.runs["fp16"], "box", scores=lambda a: a - 0.3)
    altered = dataclasses.replace(report, runs={"fp16": worse})
    drawn, summary = worst_picture(altered)
    assert "in mode box on 0.png: 0 people lost, 0 new, 2 deviate" in summary
    assert drawn.shape[1] > 2 * 96
    quiet, summary = worst_picture(report)
    assert "0 deviate" in summary
    colours = {tuple(colour) for colour in drawn.reshape(-1, 3).tolist()}
    assert (230, 159, 0) in colours, "highlighted people have the palette's colours"
    assert (230, 159, 0) not in {tuple(colour) for colour in quiet.reshape(-1, 3).tolist()}
