import numpy as np
import pytest

from mgts_trt.evaluation.boxes import box_area, box_iou, match_boxes


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0),
        ((0, 0, 10, 10), (2, 2, 4, 4), 0.04),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0),
        ((5, 5, 1, 1), (0, 0, 10, 10), 0),
    ],
)
def test_iou_by_hand(a, b, iou) -> None:
    assert box_iou(np.array([a]), np.array([b]))[0, 0] == pytest.approx(iou)


def test_area_of_a_box_turned_inside_out_is_0() -> None:
    np.testing.assert_array_equal(box_area(np.array([[0, 0, 3, 4], [3, 4, 0, 0], [0, 4, 3, 0]])), [12, 0, 0])


def test_each_box_is_matched_once_and_to_the_best() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    b = np.array([[1, 0, 11, 10], [0, 0, 10, 10]])
    np.testing.assert_array_equal(match_boxes(a, b), [1, 0, -1])


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_matching_nothing(n: int, m: int) -> None:
    np.testing.assert_array_equal(match_boxes(np.zeros((n, 4)), np.ones((m, 4))), [-1] * n)


def test_disjoint_boxes_never_match_even_at_threshold_0() -> None:
    np.testing.assert_array_equal(match_boxes(np.array([[0, 0, 1, 1]]), np.array([[5, 5, 6, 6]]), 0.0), [-1])
