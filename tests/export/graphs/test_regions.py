"""AlignRois, PsAssemble and SeHead: their ONNX functions and their forms in PyTorch, against torchvision."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the graph forms need PyTorch")

import torch
from torch import Tensor
from torchvision import ops

from export.graphs.operators import align_rois, ps_assemble, se_head
from tests.helpers.operators.onnx_function import run_function
from training.models import FCIS, FasterRCNN
from training.models.detector import SAMPLES
from training.models.rpn import STRIDE

SIZE, BINS, MASK = 7, 7, 21

# Height and width in pixels, VGG's map (remainder dropped) and ResNet's (rounded up).
IMAGES = [
    ((96, 160), (6, 10), (6, 10)),
    ((92, 155), (5, 9), (6, 10)),
    ((225, 375), (14, 23), (15, 24)),
    ((72, 120), (4, 7), (5, 8)),
    ((600, 1000), (37, 62), (38, 63)),
    ((900, 1500), (56, 93), (57, 94)),
]


def function(name: str, inputs: dict[str, Tensor], **attributes: object) -> Tensor:
    """What an operator's ONNX function gives."""
    return torch.from_numpy(run_function(name, {key: value.numpy() for key, value in inputs.items()}, attributes))


def inside(fractions: list[tuple[float, float, float, float]], hw: tuple[int, int]) -> Tensor:
    """(centre or border, size) as fractions of an image → xyxy pixels within it."""
    rows = []
    for x, y, w, h in fractions:
        x1, y1 = x * hw[1], y * hw[0]
        rows.append([x1, y1, x1 + w * (hw[1] - x1), y1 + h * (hw[0] - y1)])
    return torch.tensor(rows, dtype=torch.float32)


fraction = st.one_of(st.sampled_from([0.0, 1.0, 0.5, 1e-4, 0.01, 0.999]), st.floats(0, 1, width=32))
fractions = st.lists(st.tuples(fraction, fraction, fraction, fraction), min_size=1, max_size=12)


def features(channels: int, hw: tuple[int, int], seed: int) -> Tensor:
    return torch.randn(1, channels, *hw, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor | np.ndarray, expected: Tensor) -> None:
    torch.testing.assert_close(torch.as_tensor(actual), expected, atol=1e-4, rtol=0)


def aligned(maps: Tensor, boxes: Tensor) -> Tensor:
    inputs = {"features": maps, "boxes": boxes[None]}
    return function("AlignRois", inputs, size=SIZE, samples=[SAMPLES, SAMPLES], stride=float(STRIDE), dtype=1)


def assembled(maps: Tensor, boxes: Tensor, bins: int, size: int) -> Tensor:
    return function("PsAssemble", {"maps": maps, "boxes": boxes[None]}, bins=bins, size=size, stride=float(STRIDE))


def torchvision_roi_align(maps: Tensor, boxes: Tensor) -> Tensor:
    return ops.roi_align(maps, [boxes], SIZE, spatial_scale=1 / STRIDE, sampling_ratio=SAMPLES, aligned=True)


@pytest.fixture(scope="module")
def detector(tiny) -> FasterRCNN:
    return FasterRCNN(tiny)


@pytest.fixture(scope="module")
def masknet(tiny) -> FCIS:
    return FCIS(tiny)


@settings(max_examples=60)
@given(st.sampled_from(IMAGES), fractions, st.integers(0, 99))
def test_roi_align_is_torchvisions(image: tuple, rows: list, seed: int) -> None:
    """On every map that reaches to the image's border: its last cell's centre is at most a cell away."""
    hw, vgg, resnet = image
    boxes = inside(rows, hw)
    for map_hw in (vgg, resnet):
        if all(pixels / STRIDE - 0.5 <= cells for pixels, cells in zip(hw, map_hw, strict=True)):
            maps = features(3, map_hw, seed)
            close(aligned(maps, boxes), torchvision_roi_align(maps, boxes))


@settings(max_examples=60)
@given(image=st.sampled_from(IMAGES), rows=fractions, seed=st.integers(0, 99))
def test_roi_align_is_the_references(detector: FasterRCNN, image: tuple, rows: list, seed: int) -> None:
    hw, vgg, _ = image
    maps, boxes = features(3, vgg, seed), inside(rows, hw)
    reference = detector.roi_features(maps, [boxes])
    close(aligned(maps, boxes), reference)
    close(align_rois(maps, boxes[None], SIZE, SAMPLES, STRIDE), reference)


@pytest.mark.parametrize(("hw", "vgg", "_"), IMAGES)
def test_reference_differs_from_torchvision_beyond_the_map_alone(
    detector: FasterRCNN, hw: tuple[int, int], vgg: tuple[int, int], _: object
) -> None:
    h, w = hw
    maps = features(3, vgg, 0)
    on_the_map = torch.tensor(
        [[0, 0, min(w, (vgg[1] + 0.5) * STRIDE), min(h, (vgg[0] + 0.5) * STRIDE)], [3.5, 7, 40, 31]]
    )
    close(detector.roi_features(maps, [on_the_map]), torchvision_roi_align(maps, on_the_map))
    corner = torch.tensor([[w - 2.0, h - 2.0, w, h]])
    beyond = h / STRIDE - vgg[0] > 0.5 or w / STRIDE - vgg[1] > 0.5
    close(detector.roi_features(maps, [corner]), maps[:, :, -1:, -1:].expand(1, 3, SIZE, SIZE))
    assert bool((torchvision_roi_align(maps, corner) == 0).any()) == beyond


def test_roi_align_of_a_ramp() -> None:
    """On a linear map every bin is the value at its centre: no outside reference needed."""
    h, w = 12, 20
    x, y = torch.arange(w) + 0.5, torch.arange(h) + 0.5
    maps = torch.stack([x.expand(h, w), y[:, None].expand(h, w)])[None] * STRIDE
    boxes = torch.tensor([[24.0, 40, 164, 180], [30.5, 20.25, 33.5, 90], [60, 60, 60, 60]])
    out = aligned(maps, boxes)
    step = (torch.arange(SIZE) + 0.5) / SIZE
    for box, (xs, ys) in zip(boxes, out, strict=True):
        torch.testing.assert_close(xs, (box[0] + (box[2] - box[0]) * step).expand(SIZE, SIZE), atol=2e-3, rtol=0)
        torch.testing.assert_close(ys.T, (box[1] + (box[3] - box[1]) * step).expand(SIZE, SIZE), atol=2e-3, rtol=0)


@settings(max_examples=60)
@given(image=st.sampled_from(IMAGES), rows=fractions, seed=st.integers(0, 99))
def test_assemble_is_the_references(masknet: FCIS, image: tuple, rows: list, seed: int) -> None:
    hw, _, resnet = image
    maps, boxes = features(2 * BINS**2, resnet, seed), inside(rows, hw)
    expected = masknet.assemble(maps, [boxes])
    assert expected.shape == (len(boxes), 2, MASK, MASK)
    close(assembled(maps, boxes, BINS, MASK), expected)
    close(ps_assemble(maps, boxes[None], BINS, MASK, STRIDE), expected)


@settings(max_examples=30)
@given(st.sampled_from([(1, 3), (2, 4), (3, 3), (3, 9), (7, 14)]), fractions, st.integers(0, 99))
def test_assemble_with_other_bins(sizes: tuple[int, int], rows: list, seed: int) -> None:
    bins, mask = sizes
    hw, map_hw = (72, 120), (5, 8)
    maps, boxes = features(3 * bins**2, map_hw, seed), inside(rows, hw)
    groups = maps.view(1, 3, bins, bins, *map_hw)
    groups = groups.repeat_interleave(mask // bins, 2).repeat_interleave(mask // bins, 3).flatten(1, 3)
    close(
        assembled(maps, boxes, bins, mask),
        ops.ps_roi_align(groups, [boxes], mask, spatial_scale=1 / STRIDE, sampling_ratio=1),
    )


def test_assemble_reads_each_bin_from_its_own_maps() -> None:
    """Against a literal sum: one bilinear sample a cell, of the map of its bin."""
    rng = np.random.default_rng(0)
    bins, mask, h, w = 3, 6, 5, 8
    maps = rng.normal(size=(2, bins, bins, h, w))
    box = (10.0, 7.5, 85.0, 66.0)
    expected = np.zeros((2, mask, mask))
    for row in range(mask):
        for column in range(mask):
            x = (box[0] + (box[2] - box[0]) * (column + 0.5) / mask) / STRIDE - 0.5
            y = (box[1] + (box[3] - box[1]) * (row + 0.5) / mask) / STRIDE - 0.5
            x0, y0 = math.floor(x), math.floor(y)
            a, b = x - x0, y - y0
            m = maps[:, row * bins // mask, column * bins // mask]
            top = (1 - a) * m[:, y0, x0] + a * m[:, y0, x0 + 1]
            bottom = (1 - a) * m[:, y0 + 1, x0] + a * m[:, y0 + 1, x0 + 1]
            expected[:, row, column] = (1 - b) * top + b * bottom
    tensor = torch.from_numpy(maps.reshape(1, -1, h, w)).float()
    close(assembled(tensor, torch.tensor([box]), bins, mask)[0], torch.from_numpy(expected).float())


EXPORTED = inside(
    [(0, 0, 1, 1), (0.5, 0.5, 0, 0), (0, 0, 1e-4, 1), (0.99, 0.97, 1, 1), (0.2, 0.1, 0.4, 0.7), (1, 1, 1, 1)], (92, 155)
)


def test_roi_align_exported_alone(run_exported, detector: FasterRCNN) -> None:
    maps = features(4, (5, 9), 0)

    def function(features: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        return (align_rois(features, boxes, SIZE, SAMPLES, STRIDE),)

    out = run_exported(function, ("aligned",), features=maps, boxes=EXPORTED[None])
    close(out["aligned"], detector.roi_features(maps, [EXPORTED]))


def test_assemble_exported_alone(run_exported, masknet: FCIS) -> None:
    maps = features(4 * BINS**2, (6, 10), 0)

    def function(maps: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        return (ps_assemble(maps, boxes, BINS, MASK, STRIDE),)

    out = run_exported(function, ("assembled",), maps=maps, boxes=EXPORTED[None])
    close(out["assembled"], masknet.assemble(maps, [EXPORTED]))


@pytest.mark.parametrize("people", [1, 3])
def test_se_head(people: int) -> None:
    generator = torch.Generator().manual_seed(people)
    shapes = {"foreground": (people, 12, 8, 4), "original": (people, 12, 8, 4), "squeeze": (3, 24), "excite": (24, 3)}
    inputs = {name: torch.randn(*shape, generator=generator) for name, shape in (shapes | {"fc": (5, 24)}).items()}
    torch.testing.assert_close(function("SeHead", inputs), se_head(*inputs.values()))
