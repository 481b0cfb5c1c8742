"""The networks in miniature, with weights that training might have left."""

from typing import Any

import torch
from torch import nn

from training.models import CLASSES, OIMNet, create
from training.preset import Preset


def trained_networks(preset: Preset) -> dict[str, nn.Module]:
    """All, by name: normalisation statistics and predictions that matter."""
    return {name: _trained(name, preset) for name in CLASSES}


def fine(preset: Preset) -> Preset:
    """The same preset, whose mask net reads scores and masks at stride 8."""
    return preset.model_copy(update={"masknet": preset.masknet.model_copy(update={"fine": True})})


def _trained(name: Any, preset: Preset) -> nn.Module:
    network, generator = create(name, preset, seed=7), torch.Generator().manual_seed(11)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0.2, 0.3, generator=generator)
        for layer, std in (
            ("rpn.objectness", 1), ("rpn.deltas", 0.05), ("classes", 1), ("deltas", 0.5),
            ("score_maps", 1), ("box_maps", 0.5),
        ):  # fmt: skip
            parent, _, child = layer.rpartition(".")
            if hasattr(network, parent or child):
                network.get_submodule(layer).weight.normal_(0, std, generator=generator)
        if isinstance(network, OIMNet):  # reads pooled maps, which nothing has made smaller
            network.classes.weight *= 0.1
            network.deltas.weight *= 0.1
    return network.eval()
