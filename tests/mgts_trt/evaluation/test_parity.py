from pathlib import Path

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BundleError
from mgts_trt.evaluation.golden import load_goldens
from mgts_trt.evaluation.parity import Comparison, compare_bundle, compare_detections
from mgts_trt.runtime.session.backends import Runtime
from tests.helpers.goldens import add_golden, write_golden
from tests.helpers.tiny_bundle import make_tiny_bundle

CPU = Runtime("onnxruntime", "CPU", "asked for")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = make_tiny_bundle(tmp_path / "b")
    add_golden(root)
    return root


def test_a_bundle_is_at_parity_with_itself(folder: Path) -> None:
    steps: list[str] = []
    comparisons = compare_bundle(Bundle.open(folder), CPU, on_step=steps.append)
    assert steps == ["detector fp32", "masknet fp32", "mgts fp32", "idnet fp32"]
    assert all(comparison.ok for comparison in comparisons)
    metrics = {(c.model, c.metric) for c in comparisons}
    assert {("detector", "score"), ("masknet", "mask"), ("mgts", "cosine"), ("idnet", "cosine")} <= metrics


@pytest.mark.parametrize(
    ("key", "change", "metric"),
    [
        ("detector.boxes", lambda a: a + 5, "matched"),
        ("detector.scores", lambda a: a - 0.01, "score"),
        ("masknet.masks", lambda a: 1 - a, "mask"),
        ("mgts.box", lambda a: a[:, ::-1], "cosine"),
        ("mgts.net", lambda a: a * np.nan, "cosine"),
        ("idnet.none", lambda a: -a, "cosine"),
    ],
)
def test_every_output_that_deviates_is_caught(folder: Path, key: str, change, metric: str) -> None:
    case = load_goldens(Bundle.open(folder))[0]
    picture = case.canvas
    write_golden(folder, picture, {**case.outputs, key: change(case.outputs[key])})
    failed = [c for c in compare_bundle(Bundle.open(folder), CPU) if not c.ok]
    assert (key.partition(".")[0], metric) in {(c.model, c.metric) for c in failed}


def detections(scores, shift: float = 0.0) -> dict[str, np.ndarray]:
    n = len(scores)
    corners = np.arange(n)[:, None] * np.array([[50.0, 0.0]]) + shift
    return {"boxes": np.hstack([corners, corners + 40]), "scores": np.asarray(scores, np.float64)}


def test_comparing_detections_by_hand() -> None:
    golden = detections([0.9, 0.8, 0.7, 0.01])
    found = detections([0.9, 0.75, 0.0, 0.0])
    numbers = compare_detections(golden, found, box_iou_bound=0.9)
    assert numbers["matched"] == pytest.approx(2 / 3), "the faint row and the padding do not count"
    assert numbers["score"] == pytest.approx(0.05)
    assert numbers["box_iou"] == 1


@pytest.mark.parametrize(
    ("golden", "found", "matched"),
    [([], [], 1.0), ([], [0.9], 1.0), ([0.9], [], 0.0), ([0.9], [0.0], 0.0), ([0.01], [], 1.0)],
)
def test_comparing_nothing(golden, found, matched: float) -> None:
    numbers = compare_detections(detections(golden), detections(found), box_iou_bound=0.5)
    assert numbers["matched"] == matched


@pytest.mark.parametrize(
    ("metric", "value", "bound", "ok"),
    [("cosine", 0.9, 0.9, True), ("cosine", 0.89, 0.9, False), ("mask", 0.1, 0.1, True), ("score", 0.2, 0.1, False),
     ("score", float("nan"), 0.1, False), ("matched", float("nan"), 0.1, False)],
)  # fmt: skip
def test_bounds(metric: str, value: float, bound: float, ok: bool) -> None:
    assert Comparison("m", "fp32", "p", metric, value, bound).ok is ok


def test_no_goldens(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path))
    with pytest.raises(BundleError, match="holds no goldens"):
        compare_bundle(bundle, CPU)


def test_an_incomplete_golden(folder: Path) -> None:
    case = load_goldens(Bundle.open(folder))[0]
    outputs = {key: array for key, array in case.outputs.items() if key != "mgts.box"}
    write_golden(folder, case.canvas, outputs)
    with pytest.raises(BundleError, match=r"mgts\.box"):
        compare_bundle(Bundle.open(folder), CPU)
