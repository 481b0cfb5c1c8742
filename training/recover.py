"""Checkpoints from a bundle: what an export folded together, taken apart again, so that training can go on from it."""

import itertools

import torch
from torch import nn

from mgts_trt.bundle.bundle import Bundle
from training.checkpoint import CheckpointError
from training.models import create
from training.preset import Preset

_PREFIX = "network."
_NORMALISE = "network.normalise."
"""Mean and standard deviation, which are the preset's and no weights."""

_HALF = ".half"
"""What an initializer's name ends in that is stored as float16."""


def recover(bundle: Bundle, model: str, preset: Preset) -> nn.Module:
    """A network with the weights that a bundle's FP32 file holds, in evaluation mode.

    The file holds convolutions with the batch normalisation behind them folded in. Here the convolution takes what is
    folded, and the normalisation does nothing but add the bias: in evaluation mode the network is the file's. What it
    begins with when its statistics learn is not what it was trained with; freeze them, or let them settle first.

    Args:
        bundle: Of this preset.
        model: Name in `training.models.CLASSES`.
        preset: What the network was made by.

    Raises:
        CheckpointError: The file is of another network.
        BundleError: The bundle has no such model, or its file is altered.
    """
    import onnx
    from onnx import numpy_helper

    path = bundle.model_path(model, "fp32")
    found = {
        each.name.removeprefix(_PREFIX).removesuffix(_HALF): torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in onnx.load(path).graph.initializer
        if each.name.startswith(_PREFIX) and not each.name.startswith(_NORMALISE)
    }
    if model == "mgts":  # what both streams have alike, such as layers frozen from one start, the file holds once
        for stream, other in (("f_net.", "o_net."), ("o_net.", "f_net.")):
            for key in [key for key in found if key.startswith(stream)]:
                found.setdefault(other + key.removeprefix(stream), found[key])
    network = create(model, preset).eval()
    own, taken = network.state_dict(), set[str]()
    for name, module in network.named_modules():
        for (first, convolution), (second, norm) in itertools.pairwise(module.named_children()):
            stem = f"{name}.{first}" if name else first
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and f"{stem}.bias" in found:
                _undo(own, f"{name}.{second}" if name else second, found[f"{stem}.bias"], norm.eps)
                taken.add(f"{stem}.bias")
    for key, value in found.items():
        if key in taken:
            continue
        if key not in own or own[key].shape != value.shape:
            there = list(own[key].shape) if key in own else "none"
            raise CheckpointError(
                f"{path} holds {key} {list(value.shape)}, the preset {preset.name} has {there}. Name the preset the "
                "bundle was made by."
            )
        own[key].copy_(value)
        taken.add(key)
    norms = tuple(f"{name}." for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d))
    if missing := sorted(key for key in own.keys() - taken if not key.startswith(norms)):
        raise CheckpointError(
            f"{path} has no {missing[0]}, which the preset {preset.name} has. Name the bundle's preset."
        )
    return network


def _undo(state: dict[str, torch.Tensor], norm: str, bias: torch.Tensor, eps: float) -> None:
    """Make a batch normalisation add a bias, and nothing else."""
    state[f"{norm}.weight"].fill_(1)
    state[f"{norm}.running_mean"].zero_()
    state[f"{norm}.running_var"].fill_(1 - eps)
    state[f"{norm}.bias"].copy_(bias)
