import numpy as np
import pytest

from mgts_trt.stages.nms import nms
from tests.helpers.operators.nms import CASES


def one_by_one(boxes, threshold):
    """Greedy suppression in words: lists, no arrays of pairs."""
    f = np.float32
    left = []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        for j in left:
            a1, b1, a2, b2 = boxes[j]
            across = max(f(min(x2, a2) - max(x1, a1)), f(0)) * max(f(min(y2, b2) - max(y1, b1)), f(0))
            union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - across
            if across / max(union, np.finfo(f).tiny) > f(threshold):
                break
        else:
            left.append(i)
    return np.isin(np.arange(len(boxes)), left).astype(f)


@pytest.mark.parametrize("case", [case for case in CASES if case.inputs["boxes"].shape[1] <= 300], ids=str)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_is_the_greedy_choice(case):
    boxes, threshold = case.inputs["boxes"], case.attributes["threshold"]
    expected = [one_by_one(each, threshold) for each in boxes]
    kept = nms(boxes, threshold)
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, expected)


def test_torchvision_agrees():
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    [case] = [case for case in CASES if case.name == "a thousand"]
    boxes = case.inputs["boxes"]
    order = torch.arange(boxes.shape[1], 0, -1).float()
    left = ops.nms(torch.from_numpy(boxes[0]), order, case.attributes["threshold"])
    np.testing.assert_array_equal(np.flatnonzero(nms(boxes, case.attributes["threshold"])[0]), left.sort().values)


def test_what_is_not_a_number_stays_and_removes_nothing():
    boxes = np.array([[[0, 0, 10, 10], [np.nan, 0, 10, 10], [0, 0, 10, np.nan], [0, 0, 10, 10]]], np.float32)
    assert nms(boxes, 0.5).tolist() == [[1, 1, 1, 0]]
