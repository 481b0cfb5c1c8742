"""Batch normalisation of a network that was recovered from a bundle: its statistics measured again."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


@torch.inference_mode()
def measure_statistics(network: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> None:
    """Give batch normalisations that learn the statistics of what they see, and weights that undo the change.

    In evaluation mode the network computes what it did. In training mode, where each batch's own statistics count, a
    network whose normalisations were folded away computes something else entirely before this and nearly the same
    after it.

    Args:
        network: Left in the mode it is in.
        batches: Its inputs by name; some hundred rows or more in all.
    """
    training = network.training
    network.eval()
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d) and each.weight.requires_grad]
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def look(norm: nn.BatchNorm2d) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].double()
            count = torch.full_like(x[0, :, 0, 0], x.numel() / x.shape[1])
            sums[norm] += torch.stack([count, x.sum((0, 2, 3)), x.square().sum((0, 2, 3))]).cpu()

        return hook

    hooks = [norm.register_forward_pre_hook(look(norm)) for norm in norms]
    try:
        for batch in batches:
            network(**batch)
    finally:
        for handle in hooks:
            handle.remove()
        network.train(training)
    for norm, (count, total, squares) in sums.items():
        if not count[0]:
            continue
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        before, after = ((v.double().cpu() + norm.eps).sqrt() for v in (norm.running_var, variance))
        scale = norm.weight.double().cpu() / before
        shift = norm.bias.double().cpu() - scale * norm.running_mean.double().cpu()
        norm.weight.copy_(scale * after)
        norm.bias.copy_(shift + scale * mean)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
