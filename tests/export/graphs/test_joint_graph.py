"""The joint network's exported graph: each stage the network's, batches, given boxes."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the graph forms need PyTorch")
pytest.importorskip("onnxscript", reason="exporting needs onnxscript")

import torch
from torch import nn

from export.errors import ExportError
from export.exporter import exported_models
from export.graphs.check import CheckedGraph, require
from export.graphs.networks import JointGraph
from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.errors import RecipeError
from mgts_trt.precisions.onnx_file import tensor_specs
from training.models import OIMNet
from training.preset import Preset

Export = Callable[[str], Path]


def picture(preset: Preset, seed: int) -> np.ndarray:
    """Coarse random blobs, so that regions differ: uint8 [Hc, Wc, 3]."""
    coarse = torch.rand(1, 3, 6, 9, generator=torch.Generator().manual_seed(seed)) * 255
    whole = nn.functional.interpolate(coarse, preset.canvas, mode="bicubic")
    return whole[0].permute(1, 2, 0).clamp(0, 255).byte().numpy()


BOXES = np.array([[10, 5, 40, 80], [100, 20, 150, 90], [-5, -5, 300, 300]], np.float32)


def test_the_contract_is_the_recipes(tiny: Preset, exported: Export) -> None:
    inputs, outputs = tensor_specs(exported("joint"))
    recipe = load_recipe("joint")
    assert tiny.joint is not None
    sizes = recipe.bind(inputs, outputs)
    assert {sizes[name] for name in ("K", "P", "d")} == {40, tiny.joint.probes, tiny.joint.embedding}
    # Another's model may lack what describes given boxes, but not a part of it.
    del inputs["rois"]
    with pytest.raises(RecipeError, match="the recipe expects boxes, scores, embeddings"):
        recipe.bind(inputs, outputs)
    del outputs["roi_embeddings"]
    recipe.bind(inputs, outputs)


@pytest.mark.parametrize("seed", range(3))
def test_stage_by_stage(tiny: Preset, networks: dict, exported: Export, seed: int) -> None:
    graph = CheckedGraph("joint", networks["joint"], exported("joint"))
    checks = graph.check_picture(f"blobs {seed}", picture(tiny, seed))
    require(checks)
    assert {"cosine of embeddings", "embeddings of given boxes", "embeddings after the final NMS"} <= {
        check.what for check in checks
    }


@pytest.mark.parametrize(
    ("layer", "what"), [("fc", "cosine"), ("classes", "scores"), ("deltas", "boxes"), ("rpn.objectness", "RPN logits")]
)
def test_a_graph_of_other_weights_is_found_out(
    tiny: Preset, networks: dict, exported: Export, layer: str, what: str
) -> None:
    other = copy.deepcopy(networks["joint"])
    with torch.no_grad():
        weight = other.get_submodule(layer).weight
        weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ExportError, match=what):
        require(CheckedGraph("joint", other, exported("joint")).check_picture("blobs", picture(tiny, 0)))


@torch.no_grad()
def test_as_many_people_as_pytorch_finds(tiny: Preset, networks: dict, exported: Export, run_onnx: Callable) -> None:
    network = networks["joint"]
    assert isinstance(network, OIMNet)
    images = np.stack([picture(tiny, seed) for seed in (3, 4)])
    rois = np.stack([BOXES, BOXES[::-1]])
    out = run_onnx(exported("joint"), image=images, rois=rois)
    for place in range(2):
        found = network(torch.from_numpy(images[place]), torch.from_numpy(rois[place].copy()))
        count = len(found.boxes)
        assert count > 1
        assert out["boxes"][place].any(axis=1).sum() == count
        # Near-ties may change places, in the last bit of a score.
        ours, theirs = (
            np.concatenate([np.asarray(boxes), np.asarray(embeddings)], axis=1)
            for boxes, embeddings in (
                (out["boxes"][place, :count], out["embeddings"][place, :count]),
                (found.boxes, found.embeddings),
            )
        )
        same = np.abs(theirs[:, None] - ours[None]).max(axis=2).argmin(axis=1)
        for name in ("boxes", "scores", "embeddings"):
            np.testing.assert_allclose(out[name][place, same], getattr(found, name).numpy(), atol=2e-3)
            assert not out[name][place, count:].any()
        np.testing.assert_allclose(out["roi_embeddings"][place], found.roi_embeddings.numpy(), atol=1e-4)


@torch.no_grad()
def test_given_boxes_change_nothing_about_who_is_found(tiny: Preset, networks: dict) -> None:
    image = torch.from_numpy(picture(tiny, 5))
    graph = JointGraph(networks["joint"])
    nothing = [each[0] for each in graph(image[None], torch.zeros(1, 3, 4))]
    something = [each[0] for each in graph(image[None], torch.from_numpy(BOXES)[None])]
    for name, a, b in zip(JointGraph.outputs, nothing, something, strict=False):
        assert torch.equal(a, b) == (name != "roi_embeddings")


def test_the_joint_network_is_exported_where_it_is_as_trained_as_the_others(tiny: Preset) -> None:
    separate, path = ("detector", "masknet", "mgts", "idnet"), Path("weights")
    assert exported_models(tiny, {}) == (*separate, "joint")
    assert exported_models(tiny, {"detector": path}) == separate
    assert exported_models(tiny, {"joint": path}) == (*separate, "joint")
    assert exported_models(tiny.model_copy(update={"joint": None}), {}) == separate
