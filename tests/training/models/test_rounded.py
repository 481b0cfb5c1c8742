import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")
pytest.importorskip("onnx", reason="the converter writes ONNX")

import torch
from torch import nn

from mgts_trt.bundle.recipe import MODELS, load_recipe
from mgts_trt.precisions.int8 import quantise_weight
from training.models import create
from training.models.rounded import LEVELS, RoundedConv2d, RoundedLinear, round_activations, round_layers, round_weight
from training.preset import Preset


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (5, 7), (2, 1, 5, 5)])
def test_weights_are_rounded_as_the_converter_rounds_them(shape: tuple[int, ...]):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    integers, scales = quantise_weight(weight.numpy(), 0)
    steps = scales.astype(np.float32).reshape(-1, *[1] * (len(shape) - 1))
    # The converter's scales are halves.
    np.testing.assert_allclose(round_weight(weight).numpy(), integers * steps, atol=float(steps.max()) * 0.6)


def test_activations_take_few_values_and_outliers_are_clipped():
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    x[0, 0, 0, 0] = 100
    rounded = round_activations(x)
    assert rounded.unique().numel() <= 2 * LEVELS + 1
    assert rounded.max().item() == pytest.approx(x.flatten(1).abs().amax(1).mean().item())
    assert torch.equal(round_activations(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert round_activations(torch.zeros(0, 3)).shape == (0, 3)


def test_gradients_pass_unless_clipped():
    x = torch.tensor([[0.3, -0.7], [1.0, 9.0]], requires_grad=True)
    weight = torch.tensor([[0.2, -0.6], [0.5, 0.1]], requires_grad=True)
    (round_activations(x).sum() + round_weight(weight).sum()).backward()
    assert x.grad is not None
    assert weight.grad is not None
    assert x.grad.tolist() == [[1, 1], [1, 0]]
    assert weight.grad.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("name", MODELS)
def test_a_network_keeps_its_names_and_what_its_recipe_leaves_alone(tiny: Preset, name: str):
    network = create(name, tiny)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    layers = [key for key, module in network.named_modules() if type(module) in (nn.Conv2d, nn.Linear)]
    first = layers[0]
    rounded = round_layers(network, [*load_recipe(name).of("int8").keep, first])
    assert set(rounded) <= set(layers) - {first}
    assert rounded
    for key, module in network.named_modules():
        assert isinstance(module, RoundedConv2d | RoundedLinear) == (key in rounded)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert round_layers(network) == [key for key in layers if key not in rounded]
