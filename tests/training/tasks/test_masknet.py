from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from torch import nn
from torchvision import ops

from mgts_trt.stages import paint_instances
from tests.helpers.drawn_scenes import Drawn, backward, drawn, drawn_scene, fit
from training.preset import Preset, load_preset
from training.tasks.detector import DetectorTask
from training.tasks.masknet import MaskNetTask

LOSSES = {"rpn_objectness", "rpn_boxes", "classes", "boxes", "masks"}


def test_only_scenes_with_masks_teach_masks(tiny: Preset) -> None:
    scenes = drawn(2)
    bare = Drawn([replace(scene, instances=None) for scene in scenes.scenes])
    with_masks, without = (
        backward(MaskNetTask(tiny, data, batch_size=2, augment=False, freeze="none")) for data in (scenes, bare)
    )
    assert set(with_masks) == set(without) == LOSSES
    assert with_masks["masks"] > 0
    assert without["masks"] == 0
    assert without["boxes"] > 0


def test_losses_depend_on_seed_and_iteration_alone(tiny: Preset) -> None:
    one, other = (MaskNetTask(tiny, drawn(4), batch_size=2, seed=3, freeze="none", ohem=False) for _ in range(2))
    torch.manual_seed(1)
    first = backward(one, iteration=5)
    torch.manual_seed(2)
    again = backward(other, iteration=5)
    assert all(torch.equal(first[name], again[name]) for name in LOSSES)


@pytest.mark.parametrize("task_class", [DetectorTask, MaskNetTask])
def test_losses_are_float32_under_mixed_precision(tiny: Preset, task_class: type[DetectorTask | MaskNetTask]) -> None:
    task = task_class(tiny, drawn(2), batch_size=2, freeze="none")
    with torch.autocast("cpu", torch.bfloat16):
        losses = task.losses(task.batch(0))
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert all(bool(p.grad.isfinite().all()) for p in task.parameters())


def test_the_paper_freezes_conv1_conv2_and_normalisation(tiny: Preset) -> None:
    task = MaskNetTask(tiny, drawn(2))
    backbone = task.network.backbone
    norms = [layer for layer in task.network.modules() if isinstance(layer, nn.BatchNorm2d)]
    frozen = {p for layer in (backbone.conv1, backbone.layer1, *norms) for p in layer.parameters()}
    assert set(task.parameters()) == set(task.network.parameters()) - frozen
    statistics = [norm.running_mean.clone() for norm in norms]
    backward(task)
    assert all(parameter.grad is None for parameter in frozen)
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, statistics, strict=True))


@pytest.mark.parametrize("task_class", [DetectorTask, MaskNetTask])
def test_all_but_the_backbone_may_learn(tiny: Preset, task_class: type[DetectorTask | MaskNetTask]) -> None:
    task = task_class(tiny, drawn(1), batch_size=1, freeze="backbone")
    network = task.network
    backbone = network.features if isinstance(task, DetectorTask) else network.backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    fit(task, 2, lr=0.02)
    assert set(task.parameters()) == set(network.parameters()) - set(backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize(("freeze", "batch_size"), [("none", 2), ("paper", 1), ("backbone", 1)])
def test_gradients_reach_all_that_learns(tiny: Preset, freeze: str, batch_size: int) -> None:
    task = MaskNetTask(tiny, drawn(2), batch_size=batch_size, augment=False, freeze=freeze)
    backward(task)
    for name, parameter in task.network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


@pytest.mark.parametrize(("name", "freeze"), [("edge", "none"), ("paper", "paper")])
def test_gradients_are_finite_at_initialisation(name: str, freeze: str) -> None:
    full = load_preset(name)
    preset = full.model_copy(
        update={"canvas": (112, 160), "masknet": full.masknet.model_copy(update={"input": (96, 144)})}
    )
    batch_size = 2 if freeze == "none" else 1
    scenes = Drawn([drawn_scene(i, (112, 160)) for i in range(2)])
    task = MaskNetTask(preset, scenes, batch_size=batch_size, freeze=freeze)
    losses = backward(task)
    assert all(0 < loss.item() < 5 for loss in losses.values())
    assert all(bool(p.grad.isfinite().all()) for p in task.parameters())


def test_it_learns_a_few_scenes(tiny: Preset) -> None:
    scenes = drawn(2)
    task = MaskNetTask(tiny, scenes, batch_size=2, augment=False, freeze="none")
    fit(task, 150, lr=0.02)
    for scene in scenes.scenes:
        found = task.network(torch.from_numpy(scene.image))
        best, rows = ops.box_iou(torch.from_numpy(scene.boxes), found.boxes).max(dim=1)
        assert bool((best > 0.5).all())
        assert bool((found.scores[rows] > 0.5).all())
        assert scene.instances is not None
        for k, row in enumerate(rows.tolist()):
            painted = paint_instances(
                found.boxes[row][None].numpy(),
                np.ones(1),
                found.masks[row][None].numpy(),
                tiny.canvas,
                score_threshold=0.5,
                mask_threshold=0.5,
            )
            person = scene.instances == k + 1
            assert (painted.astype(bool) & person).sum() > 0.7 * (painted.astype(bool) | person).sum()
