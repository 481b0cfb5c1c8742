"""The operators' functions and their forms in PyTorch, against torchvision and against each other."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the graph forms need PyTorch")

import torch
from torch import Tensor
from torchvision import ops

from export.graphs.networks import compact
from export.graphs.operators import ROUNDS, float_below, nms, rounds_needed
from tests.helpers.operators.onnx_function import run_function
from training.models.rpn import anchor_boxes, clip_boxes, decode_boxes
from training.preset import load_preset

THRESHOLDS = (0.3, 0.45, 0.5, 0.7)


def kept(boxes: Tensor, threshold: float) -> list[int]:
    """Rows that the function of `Nms` keeps."""
    keep = run_function("Nms", {"boxes": boxes[None].numpy()}, {"threshold": float_below(threshold)})[0]
    assert keep.shape == (len(boxes),)
    assert keep.dtype == np.float32
    assert set(keep.tolist()) <= {0.0, 1.0}
    return keep.nonzero()[0].tolist()


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


@settings(max_examples=120)
@given(st.one_of(integer_boxes, float_boxes), st.sampled_from(THRESHOLDS))
def test_equals_greedy_nms(boxes: Tensor, threshold: float) -> None:
    assume(rounds_needed(boxes, threshold) <= ROUNDS)
    assert (
        kept(boxes, threshold)
        == greedy(boxes, threshold)
        == nms(boxes[None], threshold)[0].nonzero().flatten().tolist()
    )


@settings(max_examples=60)
@given(st.integers(1, 200), st.integers(0, 2**32 - 1), st.sampled_from(THRESHOLDS), st.booleans(), st.integers(4, 60))
@example(1, 0, 0.5, True, 4)
@example(2, 0, 0.5, True, 4)
@example(200, 0, 0.5, True, 4)
def test_equals_greedy_nms_on_many_boxes(n: int, seed: int, threshold: float, whole: bool, extent: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, extent, (n, 4))
    rows[:, 2:] += 1
    boxes = corners((np.round(rows) if whole else rows).tolist())
    assume(rounds_needed(boxes, threshold) <= ROUNDS)
    assert kept(boxes, threshold) == greedy(boxes, threshold)


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from(THRESHOLDS))
def test_ties_in_score_rank_by_row(n: int, levels: int, seed: int, threshold: float) -> None:
    """torchvision sorts stably; so does whoever sorts boxes for `Nms` in a test of this kind."""
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
    assert kept(boxes, 0.5) == greedy(boxes, 0.5) == expected


def staircase(n: int) -> Tensor:
    """Box i overlaps box i + 1 alone: IoU 6/14 = 0.43, and none two steps on."""
    return corners([(4.0 * i, 0.0, 10.0, 10.0) for i in range(n)])


def test_staircase_is_exact_up_to_the_documented_length() -> None:
    """A chain of `ROUNDS` overlaps, one box more."""
    for n in range(1, ROUNDS + 2):
        assert rounds_needed(staircase(n), 0.4) <= ROUNDS
        assert kept(staircase(n), 0.4) == list(range(0, n, 2)) == greedy(staircase(n), 0.4)


def test_longer_staircase_loses_no_box() -> None:
    assert kept(staircase(ROUNDS + 2), 0.4) != greedy(staircase(ROUNDS + 2), 0.4)
    for n in range(ROUNDS + 2, ROUNDS + 40):
        assert rounds_needed(staircase(n), 0.4) > ROUNDS
        answer = kept(staircase(n), 0.4)
        assert set(answer) >= set(greedy(staircase(n), 0.4))
        # The first boxes of the chain are decided as documented.
        assert [i for i in answer if i <= ROUNDS] == list(range(0, ROUNDS + 1, 2))


@settings(max_examples=40)
@given(st.integers(34, 120), st.integers(0, 2**32 - 1), st.sampled_from(THRESHOLDS))
def test_longer_chains_lose_no_box(n: int, seed: int, threshold: float) -> None:
    """What is left is a superset of greedy NMS's answer; each extra box overlaps one that greedy NMS keeps."""
    rng = np.random.default_rng(seed)
    boxes = staircase(n) + torch.from_numpy(rng.uniform(-0.4, 0.4, (n, 4))).float()
    answer, expected = set(kept(boxes, threshold)), greedy(boxes, threshold)
    assert answer >= set(expected)
    overlaps = ops.box_iou(boxes, boxes) > threshold
    for extra in answer - set(expected):
        assert overlaps[expected, extra].any()


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
def test_rounds_are_enough_for_an_rpn(kind: str, name: str) -> None:
    boxes = rpn_boxes(kind, seed=0)
    for rpn in (load_preset(name).detector.rpn, load_preset(name).masknet.rpn):
        boxes = boxes[: rpn.candidates]
        assert rounds_needed(boxes, rpn.nms) <= ROUNDS
        assert kept(boxes, rpn.nms) == greedy(boxes, rpn.nms)


@pytest.mark.parametrize("threshold", [0.45, 0.3])
@pytest.mark.parametrize("kind", ["random", "people"])
def test_final_rounds_are_enough_after_the_first_nms(kind: str, threshold: float) -> None:
    for seed in range(3):
        boxes = rpn_boxes(kind, seed)
        proposals = boxes[greedy(boxes, 0.7)[:300]]
        generator = torch.Generator().manual_seed(seed)
        refined = decode_boxes(torch.randn(len(proposals), 4, generator=generator) * 0.05, proposals)
        refined = refined[torch.randperm(len(refined), generator=generator)]
        assert rounds_needed(refined, threshold) <= ROUNDS
        assert kept(refined, threshold) == greedy(refined, threshold)


def test_nms_exported_alone(run_exported) -> None:
    boxes = rpn_boxes("people", seed=1)[:400]
    boxes[50:60] = boxes[40:50]
    boxes[70, 2:] = boxes[70, :2]

    def function(boxes: Tensor) -> tuple[Tensor, ...]:
        keep = nms(boxes, 0.7)
        return (keep, *compact(keep, 300))

    found = run_exported(function, ("keep", "index", "taken"), boxes=boxes[None])
    out = {name: array[0] for name, array in found.items()}
    expected = greedy(boxes, 0.7)
    assert out["keep"].nonzero()[0].tolist() == expected
    assert out["taken"].sum() == len(expected) < 300
    assert out["index"][: len(expected)].tolist() == expected
