from pathlib import Path

import numpy as np
import onnx
import pytest

from mgts_trt._typing import Array
from mgts_trt.bundle.cpu_forms import compiled_forms, folder, with_cpu_forms
from mgts_trt.bundle.operators import OPERATORS, function
from tests.helpers.operators.case import Case
from tests.helpers.operators.running import operator_model, run_bytes


def random_boxes(seed: int, count: int, *, pictures: int = 1, beyond: float = 0.0, size: float = 90.0) -> Array:
    """Boxes within a picture of 128 × 96 pixels, or up to `beyond` pixels outside."""
    draws = np.random.default_rng(seed)
    edge = np.array([128.0, 96.0])
    middle = draws.uniform(-beyond, edge + beyond, (pictures, count, 2))
    half = draws.uniform(1, size, (pictures, count, 2)) / 2
    boxes = np.concatenate([middle - half, middle + half], axis=2)
    low, high = np.tile(-np.full(2, beyond), 2), np.tile(edge + beyond, 2)
    return boxes.clip(low, high).astype(np.float32)


def chain(length: int) -> Array:
    """Boxes that each overlap with the next alone."""
    left = 5 * np.arange(length)
    boxes = np.stack([left, np.zeros(length), left + 8, np.full(length, 10)], axis=1)
    return boxes[None].astype(np.float32)


def features(seed: int, *, channels: int = 5, pictures: int = 1, dtype: type = np.float32) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (pictures, channels, 6, 8)).astype(dtype)


EMPTY = np.array([[[10, 10, 10, 30], [10, 10, 20, 30], [10, 10, 10, 30], [0, 0, 0, 0], [11, 10, 21, 30]]], np.float32)
ROIS = {"size": 7, "samples": [2, 2], "stride": 16.0, "dtype": 1}

NMS = [
    Case("few", {"boxes": random_boxes(0, 3)}, {"threshold": 0.5}),
    Case("many", {"boxes": random_boxes(1, 700)}, {"threshold": 0.7}),
    Case("crowd", {"boxes": random_boxes(2, 150, size=20)}, {"threshold": 0.0}),
    Case("one", {"boxes": random_boxes(3, 1)}, {"threshold": 0.5}),
    Case("no area", {"boxes": EMPTY}, {"threshold": 0.3}),
    Case("equal boxes", {"boxes": np.tile(random_boxes(4, 5), (1, 4, 1))}, {"threshold": 1.0}),
    Case("at the threshold", {"boxes": np.array([[[0, 0, 2, 1], [0, 0, 1, 1]]], np.float32)}, {"threshold": 0.5}),
    Case("pictures", {"boxes": random_boxes(5, 60, pictures=3)}, {"threshold": 0.4}),
    Case("short chain", {"boxes": chain(30)}, {"threshold": 0.2}),
    Case("long chain", {"boxes": chain(101)}, {"threshold": 0.2}, beyond_rounds=True),
]
ALIGN_ROIS = [
    Case("within", {"features": features(0), "boxes": random_boxes(0, 40)}, ROIS, 1e-5),
    Case("half a cell out", {"features": features(1), "boxes": random_boxes(1, 40, beyond=8)}, ROIS, 1e-5),
    Case("outside", {"features": features(2), "boxes": random_boxes(2, 40, beyond=90)}, ROIS, 2e-5),
    Case("three points", {"features": features(3), "boxes": random_boxes(3, 9)}, {**ROIS, "samples": [3, 3]}, 1e-5),
    Case("one point", {"features": features(4), "boxes": random_boxes(4, 9)}, {**ROIS, "samples": [1, 1]}, 1e-5),
    Case("other bins", {"features": features(5), "boxes": random_boxes(5, 9)}, {**ROIS, "size": 3}, 1e-5),
    Case("half maps", {"features": features(6, dtype=np.float16), "boxes": random_boxes(6, 9)}, ROIS, 1e-5),
    Case(
        "half regions",
        {"features": features(7, dtype=np.float16), "boxes": random_boxes(7, 9)},
        {**ROIS, "dtype": 10},
        1e-3,
    ),
    Case("empty rows", {"features": features(8), "boxes": np.zeros((1, 4, 4), np.float32)}, ROIS, 1e-5),
    Case("pictures", {"features": features(9, pictures=3), "boxes": random_boxes(9, 9, pictures=3)}, ROIS, 1e-5),
]


def greedy(boxes: Array, threshold: float) -> Array:
    """Which boxes greedy NMS keeps, a pair at a time."""
    keep = np.zeros(boxes.shape[:2], np.float32)
    for picture, rows in enumerate(boxes):
        for i, (x1, y1, x2, y2) in enumerate(rows):
            keep[picture, i] = 1
            for xa, ya, xb, yb in rows[:i][keep[picture, :i] > 0]:
                shared = max(min(x2, xb) - max(x1, xa), 0) * max(min(y2, yb) - max(y1, ya), 0)
                union = (x2 - x1) * (y2 - y1) + (xb - xa) * (yb - ya) - shared
                if shared / max(union, np.finfo(np.float32).tiny) > np.float32(threshold):
                    keep[picture, i] = 0
    return keep


def sampled(inputs: dict[str, Array], *, size: int, samples: list[int], stride: float, dtype: int) -> Array:
    """RoIAlign in float64, one point at a time on each axis."""
    maps, boxes = (array.astype(np.float64) for array in inputs.values())
    part = (np.arange(size * samples[0]) + 0.5) / (size * samples[0])
    found = []
    for picture, rows in zip(maps, boxes, strict=True):
        for x1, y1, x2, y2 in rows / stride - 0.5:
            across = hats(x1 + (x2 - x1) * part, picture.shape[2])
            down = hats(y1 + (y2 - y1) * part, picture.shape[1])
            points = down @ picture @ across.T
            found.append(points.reshape(-1, size, samples[0], size, samples[0]).mean(axis=(2, 4)))
    return np.stack(found).astype(np.float32 if dtype == 1 else np.float16)


def hats(points: Array, count: int) -> Array:
    """[points, count] the weight of each cell at each point, linear between centres, the border's beyond."""
    return np.maximum(1 - np.abs(points.clip(0, count - 1)[:, None] - np.arange(count)), 0)


def cpu_form(operator: str, case: Case, folder: Path) -> Array:
    path = folder / "model.onnx"
    onnx.save(operator_model(operator, case.inputs, case.attributes), path)
    model = with_cpu_forms(path)
    assert model is not None
    return run_bytes(model, case.inputs)


@pytest.mark.parametrize("case", NMS, ids=str)
def test_nms_is_exact(case: Case, tmp_path: Path) -> None:
    found = cpu_form("Nms", case, tmp_path)
    np.testing.assert_array_equal(found, greedy(case.inputs["boxes"], case.attributes["threshold"]))
    assert found.dtype == np.float32
    body = run_bytes(operator_model("Nms", case.inputs, case.attributes).SerializeToString(), case.inputs)
    assert np.array_equal(found, body) != case.beyond_rounds


@pytest.mark.parametrize("case", ALIGN_ROIS, ids=str)
def test_regions_are_equal(case: Case, tmp_path: Path) -> None:
    found, expected = cpu_form("AlignRois", case, tmp_path), sampled(dict(case.inputs), **case.attributes)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=case.tolerance)


def test_the_bytes_are_the_text() -> None:
    assert (folder() / "functions.bin").read_bytes() == compiled_forms(), "make operators writes them anew"


def test_a_form_takes_what_its_operator_takes() -> None:
    forms = {each.name: each for each in onnx.ModelProto.FromString(compiled_forms()).functions}
    for name in forms.keys() & set(OPERATORS):
        for part in ("domain", "input", "attribute"):
            assert getattr(forms[name], part) == getattr(function(name), part)
        assert len(forms[name].output) == len(function(name).output)


@pytest.mark.parametrize("content", [None, b"", b"no model", onnx.ModelProto(ir_version=10).SerializeToString()])
def test_other_files_are_left_alone(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    assert with_cpu_forms(path) is None


def test_an_operator_without_a_form_is_left_alone(tmp_path: Path) -> None:
    maps = {name: np.ones((2, 3, 4, 4), np.float32) for name in ("foreground", "original")}
    weights = {"squeeze": np.ones((2, 6), np.float32), "excite": np.ones((6, 2), np.float32)}
    onnx.save(operator_model("SeHead", {**maps, **weights, "fc": np.ones((5, 6), np.float32)}, {}), tmp_path / "m.onnx")
    assert with_cpu_forms(tmp_path / "m.onnx") is None
