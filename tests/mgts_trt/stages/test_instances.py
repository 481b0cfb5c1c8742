import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mgts_trt.stages import paint_instances

HEIGHT, WIDTH, M = 13, 17, 4


def sample(mask: np.ndarray, u: float, v: float) -> float:
    """Bilinear, borders clamped."""
    m = mask.shape[0]
    u, v = min(max(u, 0.0), m - 1.0), min(max(v, 0.0), m - 1.0)
    u0, v0 = math.floor(u), math.floor(v)
    u1, v1 = min(u0 + 1, m - 1), min(v0 + 1, m - 1)
    a, b = u - u0, v - v0
    top = (1 - a) * float(mask[v0, u0]) + a * float(mask[v0, u1])
    bottom = (1 - a) * float(mask[v1, u0]) + a * float(mask[v1, u1])
    return (1 - b) * top + b * bottom


def literal(
    boxes: np.ndarray, scores: np.ndarray, masks: np.ndarray, score_threshold: float, mask_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel; also where a value is too near the threshold to be decided by rounding."""
    ranked = sorted((i for i in range(len(boxes)) if scores[i] >= score_threshold), key=lambda i: (-scores[i], i))
    instances, unsure = np.zeros((HEIGHT, WIDTH), np.uint16), np.zeros((HEIGHT, WIDTH), bool)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            for k, i in enumerate(ranked, start=1):
                x1, y1, x2, y2 = (float(v) for v in boxes[i])
                if not (x1 <= x + 0.5 < x2 and y1 <= y + 0.5 < y2):
                    continue
                u, v = (x + 0.5 - x1) / (x2 - x1) * M - 0.5, (y + 0.5 - y1) / (y2 - y1) * M - 0.5
                value = sample(masks[i], u, v)
                unsure[y, x] |= abs(value - mask_threshold) < 1e-9
                if value >= mask_threshold:
                    instances[y, x] = k
                    break
    return instances, unsure


@st.composite
def instance_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(0, 5))
    corner = st.floats(-8, 24, width=32)
    # Halves put box edges exactly on pixel centres and corners.
    coordinate = st.one_of(corner, st.integers(-16, 48).map(lambda v: v / 2))
    boxes = [draw(st.tuples(coordinate, coordinate, coordinate, coordinate)) for _ in range(n)]
    scores = [draw(st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.9, 1.0])) for _ in range(n)]
    seed = draw(st.integers(0, 2**32 - 1))
    masks = np.random.default_rng(seed).random((n, M, M), np.float32)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), masks


@settings(max_examples=60)
@given(instance_sets(), st.sampled_from([0.0, 0.3, 0.5]), st.sampled_from([0.2, 0.5]))
def test_equals_the_literal_version(
    instances: tuple[np.ndarray, np.ndarray, np.ndarray], score_threshold: float, mask_threshold: float
) -> None:
    boxes, scores, masks = instances
    painted = paint_instances(
        boxes, scores, masks, (HEIGHT, WIDTH), score_threshold=score_threshold, mask_threshold=mask_threshold
    )
    expected, unsure = literal(boxes, scores, masks, score_threshold, mask_threshold)
    assert painted.dtype == np.uint16
    assert painted.shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(painted[~unsure], expected[~unsure])


def paint(boxes: list[list[float]], scores: list[float], masks: np.ndarray | None = None) -> np.ndarray:
    masks = np.ones((len(boxes), M, M), np.float32) if masks is None else masks
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return paint_instances(rows, np.array(scores), masks, (HEIGHT, WIDTH), score_threshold=0.3, mask_threshold=0.5)


def test_better_score_keeps_the_pixel_whatever_the_row() -> None:
    painted = paint([[0, 0, 6, 6], [3, 3, 9, 9]], [0.4, 0.8])
    assert painted[4, 4] == 1
    assert painted[1, 1] == 2
    assert painted[8, 8] == 1
    assert painted[12, 12] == 0


def test_equal_scores_rank_by_row() -> None:
    painted = paint([[0, 0, 6, 6], [3, 3, 9, 9]], [0.8, 0.8])
    assert (painted[4, 4], painted[8, 8]) == (1, 2)


def test_ids_count_only_those_that_reach_the_threshold() -> None:
    painted = paint([[0, 0, 4, 4], [4, 0, 8, 4], [8, 0, 12, 4]], [0.1, 0.5, 0.3])
    assert (painted[0, 0], painted[0, 5], painted[0, 9]) == (0, 1, 2)


def test_box_edges_on_pixel_centres_belong_to_one_of_two_neighbours() -> None:
    painted = paint([[0, 0, 4.5, 4], [4.5, 0, 9, 4]], [0.9, 0.8])
    np.testing.assert_array_equal(painted[0, :10], [1, 1, 1, 1, 2, 2, 2, 2, 2, 0])


def test_half_a_mask_paints_half_a_box() -> None:
    mask = np.zeros((1, M, M), np.float32)
    mask[:, :, : M // 2] = 1
    painted = paint([[0, 0, 8, 8]], [0.9], mask)
    np.testing.assert_array_equal(painted[:8, :8].sum(1), 4)
    assert painted[:, 4:].sum() == 0


def test_constant_mask_at_the_threshold_is_foreground_everywhere() -> None:
    painted = paint([[0.3, 0.7, 12.1, 9.4]], [0.9], np.full((1, 7, 7), 0.5, np.float32))
    assert (painted[1:9, 0:12] == 1).all()


def test_padding_and_nothing() -> None:
    cases: list[tuple[list[list[float]], list[float]]] = [
        ([], []),
        ([[0, 0, 0, 0]] * 3, [0.0] * 3),
        ([[5, 5, 5, 9], [9, 5, 5, 9], [0, 0, float("nan"), 9], [0, 0, float("inf"), 9]], [0.9] * 4),
        ([[-9, -9, -1, -1], [WIDTH, 0, WIDTH + 5, 5], [0, 1e9, 5, 2e9]], [0.9] * 3),
    ]
    for boxes, scores in cases:
        assert not paint(boxes, scores).any()


def test_padding_rows_do_not_count_above_threshold_zero() -> None:
    boxes = np.array([[0, 0, 4, 4], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    painted = paint_instances(
        boxes,
        np.array([0.9, 0, 0]),
        np.ones((3, M, M)),
        (HEIGHT, WIDTH),
        score_threshold=0.0,
        mask_threshold=0.5,
    )
    assert sorted(np.unique(painted)) == [0, 1]


def test_box_larger_than_the_canvas() -> None:
    assert (paint([[-100, -100, 200, 200]], [0.9]) == 1).all()
