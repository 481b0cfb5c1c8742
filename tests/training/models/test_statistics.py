from copy import deepcopy

import pytest

pytest.importorskip("torch", reason="networks need PyTorch")
import torch
from torch import nn

from training.models import create
from training.models.statistics import measure_statistics
from training.preset import Preset


def patches(preset: Preset, seed: int, count: int = 16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"original": 2 * torch.randn(count, 3, *preset.patch, generator=generator) + 0.5}


def folded(network: nn.Module) -> nn.Module:
    """As if recovered from a graph: normalisations add a bias and nothing else."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.bias, -1, 1)
    return network.eval()


def test_computes_the_same_and_trains_on(tiny: Preset) -> None:
    network = folded(create("idnet", tiny, seed=1))
    x = patches(tiny, 0)
    with torch.inference_mode():
        before, strange = network(**x), deepcopy(network).train()(**x)
    network.train()
    measure_statistics(network, [x])
    assert network.training, "the mode is left as it was"
    with torch.inference_mode():
        after = network.eval()(**x)
        while_training = network.train()(**x)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    torch.testing.assert_close(while_training, before, rtol=0, atol=2e-3)
    assert (strange - before).abs().max() > 0.05, "without it there would be something to mend"


def test_batches_count_by_their_size(tiny: Preset) -> None:
    both = patches(tiny, 0, 12)
    first, second = create("idnet", tiny, seed=1), create("idnet", tiny, seed=1)
    measure_statistics(first, [both])
    measure_statistics(second, [{"original": both["original"][:8]}, {"original": both["original"][8:]}])
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_what_is_frozen_or_unseen_stays(tiny: Preset) -> None:
    network = create("idnet", tiny, seed=1)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    norms[0].requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    measure_statistics(network, [])
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    measure_statistics(network, [patches(tiny, 0)])
    assert not norms[0].running_mean.any()
    assert norms[1].running_mean.any()
