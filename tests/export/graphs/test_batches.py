"""What a network gives for a picture or a person, it gives in any company.

The feature maps of a batch may be summed in another order, and a near-tie in a ranking would make of that another list
of boxes. So maps are compared within a tolerance; what follows from them exactly, on pictures without such a tie.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the graph forms need PyTorch")
pytest.importorskip("onnxscript", reason="exporting needs onnxscript")

import torch

from export.graphs.networks import GRAPHS, compact, propose, rank_and_suppress
from export.graphs.operators import align_rois, nms, ps_assemble, rows_of
from export.onnx_file import with_taps
from mgts_trt.bundle.recipe import MODELS
from training.models.rpn import RPN
from training.preset import Preset

SEEDS = range(6)


def example(preset: Preset, graph: type, seed: int) -> dict[str, np.ndarray]:
    """One picture of coarse blobs, or one person's patches."""
    random = np.random.default_rng(seed)
    if "image" in graph.inputs:
        coarse = random.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        height, width = preset.canvas
        rows, columns = np.arange(height) * 6 // height, np.arange(width) * 9 // width
        picture = {"image": coarse[rows][:, columns]}
        if "rois" in graph.inputs and preset.joint:
            corners = random.uniform(0, 60, (preset.joint.probes, 2))
            picture["rois"] = np.concatenate(
                [corners, corners + random.uniform(10, 40, corners.shape)], 1, dtype=np.float32
            )
        return picture
    return {name: random.normal(size=(3, *preset.patch)).astype(np.float32) for name in graph.inputs}


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_is_its_members_in_any_order(
    tiny: Preset, exported: Callable[[str], Path], run_onnx: Callable, name: str
) -> None:
    graph = GRAPHS[name]
    model = with_taps(exported(name), graph.taps)
    members = [example(tiny, graph, seed) for seed in SEEDS]
    alone = [run_onnx(model, **{key: value[None] for key, value in each.items()}) for each in members]
    assert not np.allclose(alone[0][graph.outputs[0]], alone[1][graph.outputs[0]], atol=1e-3)
    for order in ([0, 1, 2, 3, 4, 5], [5, 2, 0, 4, 1, 3], [3, 3, 1]):
        batch = {key: np.stack([members[place][key] for place in order]) for key in graph.inputs}
        for key, together in run_onnx(model, **batch).items():
            assert len(together) == len(order)
            for row, place in zip(together, order, strict=True):
                scale = max(1.0, float(np.abs(alone[place][key]).max()))
                np.testing.assert_allclose(row, alone[place][key][0], atol=1e-4 * scale, rtol=0, err_msg=key)


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_selection_leaks_nothing(pictures: int, boxes: int, seed: int) -> None:
    """The steps that pick rows, where an index into another picture's rows would show: exactly, ties and all."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 40, (pictures, boxes, 2))
    rows = torch.from_numpy(np.concatenate([corners, corners + random.integers(1, 30, corners.shape)], 2)).float()
    margins = torch.from_numpy(random.integers(-3, 4, (pictures, boxes))).float()
    valid = torch.from_numpy(random.random((pictures, boxes)) < 0.7).float()
    kept = torch.from_numpy(random.random((pictures, boxes)) < 0.5).float()
    index = torch.from_numpy(random.integers(0, boxes, (pictures, 5)))
    for step in (
        lambda one: (rows_of(rows[one], index[one]),),
        lambda one: (nms(rows[one], 0.4),),
        lambda one: compact(kept[one], boxes),
        lambda one: rank_and_suppress(rows[one], margins[one], valid[one], 0.4),
    ):
        for whole, *alone in zip(step(slice(None)), *(step([one]) for one in range(pictures)), strict=True):
            assert torch.equal(whole, torch.cat(alone))


@torch.no_grad()
def test_proposals_leak_nothing(tiny: Preset) -> None:
    rpn, generator = RPN(8, tiny.detector.rpn), torch.Generator().manual_seed(0)
    features = torch.zeros(3, 8, 5, 9)
    anchors = len(rpn.anchors(features))
    logits = torch.randn(3, anchors, generator=generator)
    deltas = torch.randn(3, anchors, 4, generator=generator) * 0.1
    whole = propose(rpn, features, logits, deltas, tiny.canvas)
    each = [propose(rpn, features[[i]], logits[[i]], deltas[[i]], tiny.canvas) for i in range(3)]
    for together, *alone in zip(whole, *each, strict=True):
        assert torch.equal(together, torch.cat(alone))


def test_regions_are_read_from_their_own_picture() -> None:
    maps = torch.rand(2, 8, 6, 7, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[[0.0, 0, 40, 60], [10, 20, 90, 80]], [[30, 10, 70, 90], [5, 5, 15, 15]]])
    for read in (
        lambda maps, boxes: align_rois(maps, boxes, 3, 2, 16),
        lambda maps, boxes: ps_assemble(maps, boxes, 2, 4, 16),
    ):
        assert torch.equal(read(maps, boxes), torch.cat([read(maps[[i]], boxes[[i]]) for i in range(2)]))
