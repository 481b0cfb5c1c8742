import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from torchvision import ops

from training.models.rpn import RPN, anchor_boxes, clip_boxes, decode_boxes, encode_boxes


def test_anchors_of_one_cell() -> None:
    boxes = anchor_boxes((1, 1), (32.0, 64.0), (1.0, 4.0), stride=16)
    expected = [[-8, -8, 24, 24], [0, -24, 16, 40], [-24, -24, 40, 40], [-8, -56, 24, 72]]
    torch.testing.assert_close(boxes, torch.tensor(expected, dtype=torch.float32))


def test_anchors_run_along_rows_with_those_of_a_cell_adjacent() -> None:
    h, w, scales, ratios = 3, 5, (32.0, 64.0), (0.5, 1.0, 2.0)
    boxes = anchor_boxes((h, w), scales, ratios)
    assert boxes.shape == (h * w * 6, 4)
    assert boxes.dtype == torch.float32
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        cell, kind = divmod(index, 6)
        row, column = divmod(cell, w)
        scale, ratio = scales[kind // 3], ratios[kind % 3]
        assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((column * 16 + 8, row * 16 + 8), abs=1e-3)
        assert (x2 - x1) * (y2 - y1) == pytest.approx(scale**2, rel=1e-5)
        assert (y2 - y1) / (x2 - x1) == pytest.approx(ratio, rel=1e-5)


side, position = st.floats(4, 600, width=32), st.floats(-100, 1500, width=32)
weights = st.sampled_from([(1.0, 1.0), (10.0, 5.0)])


@settings(max_examples=100)
@given(st.tuples(position, position, side, side), st.tuples(position, position, side, side), weights)
def test_decoding_inverts_encoding(a: tuple[float, ...], b: tuple[float, ...], w: tuple[float, float]) -> None:
    anchor, box = (torch.tensor([[x, y, x + width, y + height]]) for x, y, width, height in (a, b))
    assume(max(b[2] / a[2], b[3] / a[3]) < 1000 / 16)
    decoded = decode_boxes(encode_boxes(box, anchor, w), anchor, w)
    torch.testing.assert_close(decoded, box, atol=0.02, rtol=0)


def test_encoding_is_the_parametrisation_of_r_cnn() -> None:
    anchor, box = torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[15.0, 10.0, 55.0, 50.0]])
    expected = torch.tensor([[15 / 20, -10 / 40, math.log(2), math.log(1)]])
    torch.testing.assert_close(encode_boxes(box, anchor), expected)
    torch.testing.assert_close(encode_boxes(box, anchor, (10.0, 5.0)), expected * torch.tensor([10.0, 10, 5, 5]))


def test_growth_is_bounded() -> None:
    decoded = decode_boxes(torch.tensor([[0.0, 0, 500, 500]]), torch.tensor([[0.0, 0, 16, 16]]))
    torch.testing.assert_close(decoded, torch.tensor([[-492.0, -492, 508, 508]]))


def test_clipping() -> None:
    boxes = torch.tensor([[-5.0, -1, 20, 30], [3, 4, 5, 6], [60, 70, 80, 90]])
    assert clip_boxes(boxes, (40, 50)).tolist() == [[0, 0, 20, 30], [3, 4, 5, 6], [50, 40, 50, 40]]


def test_heads_are_in_the_order_of_the_anchors(tiny) -> None:
    rpn, features = RPN(8, tiny.detector.rpn), torch.zeros(2, 8, 4, 6)
    k = tiny.detector.rpn.anchors_per_cell
    with torch.no_grad():
        for layer, per_anchor in ((rpn.objectness, 1), (rpn.deltas, 4)):
            layer.weight.zero_()
            layer.bias.copy_(torch.arange(k * per_anchor, dtype=torch.float32))
        logits, deltas = rpn(features)
    assert rpn.anchors(features).shape == (4 * 6 * k, 4)
    assert torch.equal(logits, torch.arange(float(k)).repeat(2, 24))
    assert torch.equal(deltas, torch.arange(4.0 * k).reshape(k, 4).repeat(24, 1).expand(2, -1, -1))


def test_proposals_are_the_best_regressed_boxes_without_overlaps(tiny) -> None:
    rpn = RPN(8, tiny.detector.rpn)
    generator = torch.Generator().manual_seed(0)
    anchors = rpn.anchors(torch.zeros(1, 8, 5, 9))
    logits = torch.randn(len(anchors), generator=generator)
    deltas = torch.randn(len(anchors), 4, generator=generator) * 0.2
    proposals = rpn.propose(logits, deltas, anchors, tiny.canvas)
    assert len(proposals) == tiny.detector.rpn.proposals
    assert bool((proposals >= 0).all())
    assert bool((proposals[:, 2] <= tiny.canvas[1]).all())
    assert bool((proposals[:, 3] <= tiny.canvas[0]).all())
    best = logits.argmax()
    torch.testing.assert_close(proposals[:1], clip_boxes(decode_boxes(deltas, anchors), tiny.canvas)[best][None])
    overlaps = ops.box_iou(proposals, proposals).fill_diagonal_(0)
    assert overlaps.max() <= tiny.detector.rpn.nms


def test_of_equal_logits_the_lower_anchor_goes_first(tiny) -> None:
    rpn = RPN(8, tiny.detector.rpn.model_copy(update={"nms": 1.0}))
    anchors = rpn.anchors(torch.zeros(1, 8, 5, 9))
    logits = torch.zeros(len(anchors))
    logits[-1] = 1
    proposals = rpn.propose(logits, torch.zeros(len(anchors), 4), anchors, tiny.canvas)
    rows = [len(anchors) - 1, *range(tiny.detector.rpn.proposals - 1)]
    torch.testing.assert_close(proposals, clip_boxes(anchors[rows], tiny.canvas))
