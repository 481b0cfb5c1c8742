"""Networks that compute as their INT8 forms will, so that training teaches them to bear it.

Quantisation-aware training (Jacob et al., CVPR 2018): factors are rounded on the way forward, and gradients pass as if
they were not (Bengio et al., 2013). What is rounded is what the conversion to INT8 quantises: the input of each
convolution and linear layer with one scale, its weight with one for each output channel. Weights and statistics keep
their names, so that checkpoints are those of the network without rounding.
"""

from collections.abc import Collection
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

LEVELS = 127
"""Integers on either side of zero."""

_LEAST_SCALE = float(torch.finfo(torch.float16).tiny)


class RoundedConv2d(nn.Conv2d):
    """A convolution of rounded factors."""

    def forward(self, x: Tensor) -> Tensor:
        """As the base class."""
        return self._conv_forward(round_activations(x), round_weight(self.weight), self.bias)


class RoundedLinear(nn.Linear):
    """A linear layer of rounded factors."""

    def forward(self, x: Tensor) -> Tensor:
        """As the base class."""
        return nn.functional.linear(round_activations(x), round_weight(self.weight), self.bias)


_ROUNDED: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: RoundedConv2d, nn.Linear: RoundedLinear}


def round_layers(network: nn.Module, keep: Collection[str] = ()) -> list[str]:
    """Let the layers of a network compute with rounded factors, from now on.

    Args:
        network: Its convolutions and linear layers change their class.
        keep: Those that are left as they are: their names, `*` stands for anything; as a recipe's `keep`.

    Returns:
        The names of the layers that are rounded.
    """
    rounded = []
    for name, module in network.named_modules():
        kind = _ROUNDED.get(type(module))
        if kind is not None and not any(fnmatchcase(name, pattern) for pattern in keep):
            module.__class__ = kind
            rounded.append(name)
    return rounded


def round_activations(x: Tensor) -> Tensor:
    """Round a batch of activations to `LEVELS` steps on either side of zero.

    The greatest step is the mean of the pictures' greatest magnitudes: what few pictures alone reach is clipped, as
    calibration does, and nothing has to be remembered from batch to batch.

    Args:
        x: [N, …], one row a picture, a region or a person.

    Returns:
        Of the same shape; its gradient is that of `x`, 0 where `x` was clipped.
    """
    if not x.numel():
        return x
    largest = x.detach().flatten(1).abs().amax(dim=1).mean().float()
    scale = (largest / LEVELS).clamp(min=_LEAST_SCALE)
    return torch.fake_quantize_per_tensor_affine(x.float(), scale, _zeros(1, x)[0], -LEVELS, LEVELS).to(x.dtype)


def round_weight(weight: Tensor) -> Tensor:
    """Round a weight to `LEVELS` steps on either side of zero, the greatest of each output channel being the last.

    Args:
        weight: [C, …].

    Returns:
        Of the same shape; its gradient is that of `weight`.
    """
    largest = weight.detach().flatten(1).abs().amax(dim=1).float()
    scale = (largest / LEVELS).clamp(min=_LEAST_SCALE)
    zeros = _zeros(len(scale), weight)
    return torch.fake_quantize_per_channel_affine(weight.float(), scale, zeros, 0, -LEVELS, LEVELS).to(weight.dtype)


def _zeros(count: int, like: Tensor) -> Tensor:
    return torch.zeros(count, dtype=torch.int32, device=like.device)
