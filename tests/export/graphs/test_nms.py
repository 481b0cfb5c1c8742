import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the graph forms need PyTorch")

import torch
from torch import Tensor
from torchvision import ops

from export.graphs.networks import FINAL_NMS_ROUNDS
from export.graphs.nms import cluster_nms, compact, float_below, suppression_matrix
from training.models.rpn import anchor_boxes, clip_boxes, decode_boxes
from training.preset import load_preset

THRESHOLDS = (0.3, 0.45, 0.5, 0.7)


def kept(boxes: Tensor, threshold: float, rounds: int | None = None) -> list[int]:
    """Rows that Cluster-NMS keeps; with as many rounds as can be needed, if not told."""
    rounds = len(boxes) + len(boxes) % 2 if rounds is None else rounds
    keep = cluster_nms(boxes, threshold, rounds)
    assert keep.shape == (len(boxes),)
    assert keep.dtype == torch.float32
    assert set(keep.tolist()) <= {0.0, 1.0}
    return keep.nonzero().flatten().tolist()


def greedy(boxes: Tensor, threshold: float) -> list[int]:
    """Rows torchvision keeps of boxes that are in order already."""
    scores = torch.arange(len(boxes), 0, -1, dtype=torch.float32)
    return sorted(ops.nms(boxes, scores, threshold).tolist())


def corners(rows: list[tuple[float, float, float, float]]) -> Tensor:
    """(x, y, width, height) → xyxy."""
    return torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows], dtype=torch.float32).reshape(-1, 4)


small = st.integers(0, 10)
integer_boxes = st.lists(st.tuples(small, small, small, small), min_size=1, max_size=40).map(corners)
coordinate = st.floats(0, 100, width=32).map(lambda v: round(v, 3))
float_boxes = st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=40).map(corners)


@settings(max_examples=120, deadline=None)
@given(st.one_of(integer_boxes, float_boxes), st.sampled_from(THRESHOLDS))
def test_equals_greedy_nms(boxes: Tensor, threshold: float) -> None:
    assert kept(boxes, threshold) == greedy(boxes, threshold)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(0, 2**32 - 1), st.sampled_from(THRESHOLDS), st.booleans(), st.integers(4, 60))
@example(1, 0, 0.5, True, 4)
@example(2, 0, 0.5, True, 4)
@example(200, 0, 0.5, True, 4)
def test_equals_greedy_nms_on_many_boxes(n: int, seed: int, threshold: float, whole: bool, extent: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, extent, (n, 4))
    rows[:, 2:] += 1
    boxes = corners((np.round(rows) if whole else rows).tolist())
    assert kept(boxes, threshold) == greedy(boxes, threshold)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from(THRESHOLDS))
def test_ties_in_score_rank_by_row(n: int, levels: int, seed: int, threshold: float) -> None:
    """torchvision sorts stably; so does whoever sorts boxes for `cluster_nms` in a test of this kind."""
    rng = np.random.default_rng(seed)
    boxes = corners(rng.integers(1, 12, (n, 4)).tolist())
    scores = torch.from_numpy(rng.integers(0, levels, n).astype(np.float32))
    order = torch.argsort(scores, descending=True, stable=True)
    assert order[kept(boxes[order], threshold)].tolist() == ops.nms(boxes, scores, threshold).tolist()


SQUARE = (0.0, 0.0, 20.0, 10.0)


@pytest.mark.parametrize(
    ("threshold", "other"),
    [
        (0.3, (0.0, 0.0, 6.0, 10.0)),
        (0.45, (0.0, 0.0, 9.0, 10.0)),
        (0.45, (11.0, 0.0, 9.0, 10.0)),
        (0.5, (0.0, 0.0, 10.0, 10.0)),
        (0.5, (0.0, 5.0, 20.0, 5.0)),
        (0.7, (0.0, 3.0, 20.0, 7.0)),
        (0.7, (6.0, 0.0, 14.0, 10.0)),
    ],
)
def test_overlap_exactly_at_the_threshold(threshold: float, other: tuple[float, ...]) -> None:
    boxes = corners([SQUARE, other])
    assert ops.box_iou(boxes, boxes)[0, 1].item() == pytest.approx(threshold, abs=1e-7)
    assert kept(boxes, threshold) == greedy(boxes, threshold)


@pytest.mark.parametrize("threshold", [*THRESHOLDS, 0.1, 0.2, 0.6, 0.9])
def test_float_below(threshold: float) -> None:
    below = np.float32(float_below(threshold))
    assert float(below) == float_below(threshold)
    assert float(below) <= threshold < float(np.nextafter(below, np.float32(1)))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([SQUARE], [0]),
        ([SQUARE] * 5, [0]),
        ([SQUARE, (20.0, 0.0, 20.0, 10.0)], [0, 1]),  # a common side
        ([SQUARE, (20.0, 10.0, 5.0, 5.0)], [0, 1]),  # a common corner
        ([(5.0, 5.0, 0.0, 0.0)] * 3, [0, 1, 2]),  # points
        ([(5.0, 5.0, 0.0, 4.0), (5.0, 5.0, 0.0, 4.0), SQUARE], [0, 1, 2]),  # a line
        ([(0.0, 0.0, 0.0, 0.0), SQUARE, (0.0, 0.0, 0.0, 0.0)], [0, 1, 2]),
        ([(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 100.0, 100.0)], [0, 1]),  # inside one another
    ],
)
def test_table(rows: list[tuple[float, ...]], expected: list[int]) -> None:
    boxes = corners(rows)
    assert kept(boxes, 0.5, 4) == greedy(boxes, 0.5) == expected


def staircase(n: int) -> Tensor:
    """Box i overlaps box i + 1 alone: IoU 6/14 = 0.43, and none two steps on."""
    return corners([(4.0 * i, 0.0, 10.0, 10.0) for i in range(n)])


@pytest.mark.parametrize("rounds", [2, 4, 8, FINAL_NMS_ROUNDS, 32])
def test_staircase_is_exact_up_to_the_documented_length(rounds: int) -> None:
    """A chain of `rounds` overlaps, rounds + 1 boxes."""
    matrix = suppression_matrix(staircase(6), 0.4)
    assert torch.equal(matrix, torch.diag(torch.ones(5), diagonal=1))
    for n in range(1, rounds + 2):
        assert kept(staircase(n), 0.4, rounds) == list(range(0, n, 2)) == greedy(staircase(n), 0.4)


@pytest.mark.parametrize("rounds", [2, 4, 8, FINAL_NMS_ROUNDS, 32])
def test_longer_staircase_loses_no_box(rounds: int) -> None:
    assert kept(staircase(rounds + 2), 0.4, rounds) != greedy(staircase(rounds + 2), 0.4)
    for n in range(rounds + 2, rounds + 40):
        answer = kept(staircase(n), 0.4, rounds)
        assert set(answer) >= set(greedy(staircase(n), 0.4))
        # The first boxes of the chain are decided as documented.
        assert [i for i in answer if i <= rounds] == list(range(0, rounds + 1, 2))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 120), st.integers(0, 2**32 - 1), st.sampled_from(THRESHOLDS), st.sampled_from([2, 4, 6]))
def test_too_few_rounds_lose_no_box(n: int, seed: int, threshold: float, rounds: int) -> None:
    """What is left is a superset of greedy NMS's answer; each extra box overlaps one that greedy NMS keeps."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, 1, (n, 4)) * [60, 12, 4, 4] + [0, 0, 16, 16]
    boxes = corners(rows.tolist())
    answer, expected = set(kept(boxes, threshold, rounds)), greedy(boxes, threshold)
    assert answer >= set(expected)
    matrix = suppression_matrix(boxes, threshold)
    for extra in answer - set(expected):
        assert matrix[expected, extra].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 80), st.integers(0, 2**32 - 1), st.sampled_from(THRESHOLDS), st.sampled_from([2, 4, 8]))
def test_boxes_at_the_end_of_short_chains_are_decided(n: int, seed: int, threshold: float, rounds: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = corners((rng.uniform(0, 1, (n, 4)) * [60, 12, 4, 4] + [0, 0, 16, 16]).tolist())
    matrix = suppression_matrix(boxes, threshold).bool()
    chain: list[int] = []  # overlaps on the longest chain that ends at each box
    for i in range(n):
        chain.append(max((chain[j] + 1 for j in range(i) if matrix[j, i]), default=0))
    answer, expected = kept(boxes, threshold, rounds), greedy(boxes, threshold)
    assert [i for i in answer if chain[i] <= rounds] == [i for i in expected if chain[i] <= rounds]


@pytest.mark.parametrize("rounds", [-2, 0, 1, 7, 33])
def test_rounds_must_be_even(rounds: int) -> None:
    with pytest.raises(ValueError, match=f"even number of rounds ≥ 2 expected, got {rounds}"):
        cluster_nms(staircase(3), 0.5, rounds)


def rpn_boxes(kind: str, seed: int) -> Tensor:
    """The 2,000 best boxes of an RPN on the paper's canvas, best first.

    Scores are random; or rise towards people, so that neighbouring anchors suppress one another in long chains.
    """
    generator = torch.Generator().manual_seed(seed)
    preset = load_preset("paper").detector.rpn
    anchors = anchor_boxes((56, 93), preset.scales, preset.ratios)
    if kind == "random":
        scores = torch.randn(len(anchors), generator=generator)
    else:
        x, y, h = (torch.rand(3, 12, generator=generator) * torch.tensor([[1500.0], [900.0], [400.0]])).unbind()
        people = torch.stack([x - h / 5 - 12, y - h / 2 - 30, x + h / 5 + 12, y + h / 2 + 30], dim=1)
        scores = ops.box_iou(anchors, people).amax(dim=1)
        scores += 0.01 * torch.randn(len(anchors), generator=generator)
    _, best = scores.topk(2000)
    deltas = torch.randn(2000, 4, generator=generator) * 0.02
    return clip_boxes(decode_boxes(deltas, anchors[best]), (900, 1500))


@pytest.mark.parametrize("kind", ["random", "people"])
@pytest.mark.parametrize("name", ["paper", "edge"])
def test_presets_have_rounds_enough_for_an_rpn(kind: str, name: str) -> None:
    boxes = rpn_boxes(kind, seed=0)
    for rpn in (load_preset(name).detector.rpn, load_preset(name).masknet.rpn):
        boxes = boxes[: rpn.candidates]
        assert kept(boxes, rpn.nms, rpn.nms_rounds) == greedy(boxes, rpn.nms)


@pytest.mark.parametrize("threshold", [0.45, 0.3])
@pytest.mark.parametrize("kind", ["random", "people"])
def test_final_rounds_are_enough_after_the_first_nms(kind: str, threshold: float) -> None:
    for seed in range(3):
        boxes = rpn_boxes(kind, seed)
        proposals = boxes[greedy(boxes, 0.7)[:300]]
        generator = torch.Generator().manual_seed(seed)
        refined = decode_boxes(torch.randn(len(proposals), 4, generator=generator) * 0.05, proposals)
        refined = refined[torch.randperm(len(refined), generator=generator)]
        assert kept(refined, threshold, FINAL_NMS_ROUNDS) == greedy(refined, threshold)


@pytest.mark.parametrize(
    ("keep", "count", "rows", "taken"),
    [
        ([0, 1, 1, 0, 1], 3, [1, 2, 4], [1, 1, 1]),
        ([0, 1, 1, 0, 1], 2, [1, 2], [1, 1]),
        ([0, 1, 1, 0, 1], 5, [1, 2, 4], [1, 1, 1, 0, 0]),
        ([1, 1, 1], 3, [0, 1, 2], [1, 1, 1]),
        ([1, 1, 1], 1, [0], [1]),
        ([0, 0, 0], 3, [], [0, 0, 0]),
        ([0, 0, 1], 1, [2], [1]),
        ([0], 1, [], [0]),
        ([1], 1, [0], [1]),
    ],
)
def test_compact(keep: list[float], count: int, rows: list[int], taken: list[float]) -> None:
    index, places = compact(torch.tensor(keep, dtype=torch.float32), count)
    assert index.dtype == torch.int64
    assert places.tolist() == taken
    assert index.shape == (count,)
    assert index[: len(rows)].tolist() == rows
    # Padding repeats no row and stays in range, so that whoever gathers with it is safe.
    assert len(set(index.tolist())) == count
    assert set(index.tolist()) <= set(range(len(keep)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=3000), st.data())
def test_compact_keeps_the_first_in_order(keep: list[bool], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(keep)))
    index, places = compact(torch.tensor(keep).float(), count)
    expected = [i for i, k in enumerate(keep) if k][:count]
    # Padding is determined too: the rows dropped, in order.
    assert index.tolist() == (expected + [i for i, k in enumerate(keep) if not k])[:count]
    assert places.tolist() == [1] * len(expected) + [0] * (count - len(expected))


def test_exported_alone(run_exported) -> None:
    boxes = rpn_boxes("people", seed=1)[:400]
    boxes[50:60] = boxes[40:50]
    boxes[70, 2:] = boxes[70, :2]

    def function(boxes: Tensor) -> tuple[Tensor, ...]:
        keep = cluster_nms(boxes, 0.7, 32)
        return (keep, *compact(keep, 300))

    out = run_exported(function, ("keep", "index", "taken"), boxes=boxes)
    expected = greedy(boxes, 0.7)
    assert out["keep"].nonzero()[0].tolist() == expected
    assert out["taken"].sum() == len(expected) < 300
    assert out["index"][: len(expected)].tolist() == expected
