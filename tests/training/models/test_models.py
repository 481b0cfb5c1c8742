import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mgts_trt.bundle.recipe import MODELS
from mgts_trt.errors import MgtsError
from tests.helpers.tiny_networks import fine
from training.models import CLASSES, FCIS, MGTS, FasterRCNN, IDNet, OIMNet, create
from training.models.backbone import create_backbone
from training.models.efficientnet import EfficientNetLite, JoinedEfficientNetLite
from training.models.normalise import Normalise
from training.models.reid import SEBlock
from training.models.resnet import ResNet
from training.models.vgg import VGG
from training.preset import JointPreset, Preset, ReidPreset, ResNetPreset, load_preset


def test_classes_are_the_models_of_a_bundle() -> None:
    assert tuple(CLASSES) == MODELS


def weights(network: nn.Module) -> Tensor:
    return torch.cat([value.flatten().float() for value in network.state_dict().values()])


@pytest.mark.parametrize("name", CLASSES)
def test_create_depends_on_its_arguments_alone(tiny: Preset, name: str) -> None:
    first = create(name, tiny, seed=3)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    second, other = create(name, tiny, seed=3), create(name, tiny, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(first, CLASSES[name])
    assert first.training
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(weights(create(name, tiny)), weights(create(name, tiny, seed=0)))


def test_initial_weights(tiny: Preset) -> None:
    network = create("detector", load_preset("edge"))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            assert not module.bias.any()
    # He: a ReLU layer keeps the variance of what flows back through it.
    assert network.fc7.weight.std().item() == pytest.approx((2 / network.fc7.out_features) ** 0.5, rel=0.05)
    for layer, std in (
        (network.rpn.objectness, 0.01),
        (network.rpn.deltas, 0.001),
        (network.classes, 0.01),
        (network.deltas, 0.001),
    ):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.2)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_paper_is_as_large_as_in_the_literature() -> None:
    paper = load_preset("paper")
    with torch.device("meta"):
        detector, masknet, mgts, idnet = FasterRCNN(paper), FCIS(paper), MGTS(paper), IDNet(paper)
        joint = OIMNet(paper)
    assert count(detector.features) == 14_714_688
    assert count(detector.fc6) + count(detector.fc7) == 119_545_856
    assert count(masknet.backbone) == 42_500_160
    assert count(idnet.o_net) == count(mgts.o_net) == count(mgts.f_net) == 23_508_032
    assert count(idnet) - count(idnet.o_net) == 2048 * 128
    assert count(mgts.fc) == 4096 * 128
    assert count(mgts.se) == 2 * 4096 * 256
    assert count(joint.features) == count(idnet.o_net)
    assert count(joint.fc) == 2048 * 256
    assert count(joint.classes) + count(joint.deltas) == (2048 + 1) * 6


@torch.no_grad()
def test_what_is_cut_is_the_whole_backbone() -> None:
    """conv4_3 and what follows it, over the whole picture, are conv5_3: no block is left out or run twice."""
    network = create("joint", load_preset("paper")).eval()
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert isinstance(network, OIMNet)
    conv4_3 = network.maps(x)
    assert conv4_3.shape == (1, 1024, 4, 6)
    torch.testing.assert_close(network.pool(conv4_3), network.features(x).mean(dim=(2, 3)))


def test_a_preset_without_a_joint_network_says_so(tiny: Preset) -> None:
    with pytest.raises(MgtsError, match=r"tiny has no table \[joint\]"):
        create("joint", tiny.model_copy(update={"joint": None}))


@pytest.mark.parametrize(
    ("altered", "says"),
    [
        ({"backbone": {"kind": "vgg", "depths": [1] * 5, "widths": [4] * 5, "batch_norm": True}}, "must be a ResNet"),
        ({"backbone": {"kind": "resnet", "stem": 4, "planes": [4] * 4, "depths": [1, 1, 3, 1]}}, "with a conv4_4"),
        ({"backbone": {"kind": "efficientnet-lite0", "blocks": [1] * 6}, "tail": [8]}, "must be joined"),
        ({"tail": [8]}, "tail belongs to an EfficientNet-Lite"),
    ],
)
def test_what_cannot_be_cut_is_refused(tiny: Preset, altered: dict, says: str) -> None:
    assert tiny.joint is not None
    with pytest.raises(ValidationError, match=says):
        JointPreset.model_validate({**tiny.joint.model_dump(), **altered})


def test_normalise() -> None:
    preset = load_preset("paper")
    image = torch.arange(2 * 3 * 3, dtype=torch.uint8).reshape(2, 3, 3)
    out = Normalise(preset.normalisation)(image)
    expected = (image.numpy().astype(np.float64) - preset.normalisation.mean) / preset.normalisation.std
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out[0].numpy(), expected.transpose(2, 0, 1), rtol=1e-5)
    assert not Normalise(preset.normalisation).state_dict()


@pytest.mark.parametrize("hw", [(64, 96), (92, 155)])
def test_feature_maps_have_stride_16_or_32(hw: tuple[int, int]) -> None:
    h, w = hw
    x = torch.zeros(1, 3, h, w)
    vgg = VGG((1, 1, 1, 1, 1), (2, 2, 2, 2, 6), batch_norm=False)
    resnet = ResNet(2, (2, 2, 2, 3), (1, 1, 1, 2)).eval()
    dilated = ResNet(2, (2, 2, 2, 3), (1, 1, 1, 2), dilate_last=True).eval()
    assert vgg(x).shape == (1, 6, h // 16, w // 16)
    assert resnet.conv4(x).shape == (1, 8, -(-h // 16), -(-w // 16))
    assert resnet(x).shape == (1, 12, -(-h // 32), -(-w // 32))
    assert dilated(x).shape == (1, 12, -(-h // 16), -(-w // 16))
    lite, dilated_lite = (EfficientNetLite((1, 2, 2, 3, 3, 2, 1), dilate_last=dilate).eval() for dilate in (0, 1))
    assert lite.conv4(x).shape == (1, 112, -(-h // 16), -(-w // 16))
    assert lite(x).shape == (1, 320, -(-h // 32), -(-w // 32))
    assert dilated_lite(x).shape == (1, 320, -(-h // 16), -(-w // 16))
    depthwise = [m for m in dilated_lite.last.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [m.dilation for m in depthwise] == [(1, 1), (2, 2), (2, 2)]
    assert EfficientNetLite((1, 2, 2, 3, 3))(x).shape == (1, 112, -(-h // 16), -(-w // 16))
    assert [m.dilation for m in dilated.layer4.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)] == [
        (1, 1),
        (2, 2),
    ]


@torch.no_grad()
def test_joined_strides_are_added_cell_by_cell() -> None:
    """What each stride tells reaches the cells that it lies on, and no others."""
    network = JoinedEfficientNetLite((1, 2, 2, 3, 3, 1), 5).eval()
    x = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    middle, fine = network.conv4(x), network.stages[:3](network.stem(x))
    assert fine.shape == (1, 40, 12, 16)
    coarse = network.last(middle)
    assert coarse.shape == (1, 192, 3, 4)
    expected = network.middle[1](network.middle[0](middle))
    for row in range(6):
        for column in range(8):
            cells = fine[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            expected[0, :, row, column] += (network.fine.weight * cells).sum((1, 2, 3)) + network.fine.bias
            here = coarse[0, :, row // 2, column // 2]
            expected[0, :, row, column] += network.coarse.weight[:, :, 0, 0] @ here + network.coarse.bias
    assert network.conv5_channels == 5
    torch.testing.assert_close(network(x), expected.clamp(0, 6), rtol=1e-4, atol=1e-4)


def picture(preset: Preset, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*preset.canvas, 3), dtype=torch.uint8, generator=generator)


def patches(preset: Preset, n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, *preset.patch, generator=torch.Generator().manual_seed(seed))


def assert_detections(preset: Preset, boxes: Tensor, scores: Tensor, most: int) -> None:
    assert 1 <= len(boxes) <= most
    assert boxes.shape == (len(scores), 4)
    assert bool((scores[:-1] >= scores[1:]).all())
    assert bool(((scores > 0) & (scores < 1)).all())
    limit = torch.tensor([preset.canvas[1], preset.canvas[0]] * 2)
    assert bool(((boxes >= 0) & (boxes <= limit + 1e-3)).all())


@pytest.mark.parametrize("training", [True, False])
def test_detector_forward(tiny: Preset, training: bool) -> None:
    network = create("detector", tiny).train(training)
    boxes, scores = network(picture(tiny))
    assert_detections(tiny, boxes, scores, tiny.detector.rpn.proposals)


@pytest.mark.parametrize("training", [True, False])
def test_masknet_forward(tiny: Preset, training: bool) -> None:
    network = create("masknet", tiny).train(training)
    boxes, scores, masks = network(picture(tiny))
    assert_detections(tiny, boxes, scores, tiny.masknet.rpn.proposals)
    assert masks.shape == (len(boxes), 21, 21)
    assert bool(((masks >= 0) & (masks <= 1)).all())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["mgts", "idnet"])
def test_reid_forward(tiny: Preset, name: str, training: bool) -> None:
    network = create(name, tiny).train(training)
    inputs = (patches(tiny, 3, 0), patches(tiny, 3, 1))[: 2 if name == "mgts" else 1]
    embedding = network(*inputs)
    assert embedding.shape == (3, tiny.embedding)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_mgts_tells_its_two_inputs_apart(tiny: Preset) -> None:
    network = create("mgts", tiny).eval()
    a, b = patches(tiny, 2, 0), patches(tiny, 2, 1)
    with torch.no_grad():
        assert (network(a, b) - network(b, a)).abs().max() > 1e-3
        assert (network(a, b) - network(a, a)).abs().max() > 1e-3


def assert_all_train(network: nn.Module, outputs: list[Tensor]) -> None:
    """Random projections of the outputs give every parameter a gradient."""
    generator = torch.Generator().manual_seed(1)
    loss = torch.stack([(out * torch.randn(out.shape, generator=generator)).sum() for out in outputs]).sum()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name


ROIS = torch.tensor([[0.0, 0, 40, 60], [30, 10, 70, 72], [5, 20, 60, 50]])


def test_gradients_reach_the_whole_detector(tiny: Preset) -> None:
    network = create("detector", tiny)
    batch = torch.cat([network.normalise(picture(tiny, seed)) for seed in range(2)])
    features = network.features(batch)
    head = network.box_head(network.roi_features(features, [ROIS, ROIS[:2]]))
    assert [tuple(out.shape) for out in head] == [(5, 2), (5, 4)]
    assert_all_train(network, [*network.rpn(features), *head])


@pytest.mark.parametrize("name", ["paper", "edge", "tiny"])
@pytest.mark.parametrize("part", ["detector", "masknet"])
def test_conv4_follows_conv3(tiny: Preset, name: str, part: str) -> None:
    preset = tiny if name == "tiny" else load_preset(name)
    backbone = create_backbone(getattr(preset, part).backbone, dilate_last=part == "masknet").eval()
    x = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        conv3 = backbone.conv3(x)
        assert conv3.shape == (1, backbone.conv3_channels, 12, 16)
        torch.testing.assert_close(backbone.conv4_from(conv3), backbone.conv4(x))


@pytest.mark.parametrize("finely", [False, True])
def test_gradients_reach_the_whole_mask_net(tiny: Preset, *, finely: bool) -> None:
    network = create("masknet", fine(tiny) if finely else tiny)
    assert isinstance(network, FCIS)
    conv4, conv5, fine_maps = network.features(torch.cat([network.resize(picture(tiny, seed)) for seed in range(2)]))
    rois = [ROIS, ROIS[:2]]
    deltas = network.read_boxes(conv5, rois)
    margins, masks = network.score_and_mask(network.read_scores(fine_maps, rois))
    assert [tuple(out.shape) for out in (deltas, margins, masks)] == [(5, 4), (5,), (5, 21, 21)]
    assert_all_train(network, [*network.rpn(conv4), deltas, margins, masks])


@pytest.mark.parametrize("name", ["mgts", "idnet"])
def test_gradients_reach_both_streams(tiny: Preset, name: str) -> None:
    network = create(name, tiny)
    inputs = (patches(tiny, 4, 0), patches(tiny, 4, 1))[: 2 if name == "mgts" else 1]
    assert_all_train(network, [network(*inputs)])


def test_each_bin_reads_its_own_maps(tiny: Preset) -> None:
    """Maps that are constant: class c, bin (i, j) is c · 49 + i · 7 + j everywhere."""
    network, k = FCIS(tiny), 7
    maps = torch.arange(4.0 * k * k).reshape(1, -1, 1, 1).expand(1, -1, 5, 8)
    out = network.assemble(maps, [ROIS])
    expected = torch.arange(4.0 * k * k).reshape(1, 4, k, k).repeat_interleave(3, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(out, expected.expand(3, -1, -1, -1))


def test_score_and_mask_is_fcis_joint_formulation(tiny: Preset) -> None:
    network, rng = FCIS(tiny), np.random.default_rng(0)
    assembled = rng.normal(size=(5, 4, 21, 21))
    margins, masks = network.score_and_mask(torch.from_numpy(assembled))
    (outer_in, outer_out), (inside, outside) = assembled[:, :2].swapaxes(0, 1), assembled[:, 2:].swapaxes(0, 1)
    person, background = (np.maximum(a, b).mean((1, 2)) for a, b in ((inside, outside), (outer_in, outer_out)))
    np.testing.assert_allclose(margins, person - background)
    np.testing.assert_allclose(masks, np.exp(inside) / (np.exp(inside) + np.exp(outside)))


def test_features_reach_to_the_border_of_a_canvas_that_is_no_multiple_of_the_stride(tiny: Preset) -> None:
    network = FasterRCNN(tiny)
    h, w = tiny.canvas
    features = torch.ones(1, 8, h // 16, w // 16)
    corner = torch.tensor([[w - 3.0, h - 3.0, w, h], [0, 0, w, h], [w - 40.0, 0, w, 20]])
    torch.testing.assert_close(network.roi_features(features, [corner]), torch.ones(3, 8, 7, 7))


maps = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))


@settings(max_examples=25)
@given(maps)
def test_head_is_equations_1_and_2(shape: tuple[int, int, int, int]) -> None:
    n, h, w, seed = shape
    backbone = ResNetPreset(stem=2, planes=(2, 2, 2, 2), depths=(1, 1, 1, 1))
    reid = ReidPreset(backbone=backbone, reduction=4)
    preset = load_preset("edge").model_copy(update={"embedding": 9, "reid": reid})
    network = create("mgts", preset, seed=seed % 1000).eval()
    rng = np.random.default_rng(seed)
    f, o = (rng.normal(1, 2, (n, 8, h, w)) for _ in range(2))

    feature = np.concatenate([f, o], axis=1)
    layers = (network.se.squeeze, network.se.excite, network.fc)
    w1, w2, w_fc = (layer.weight.detach().double().numpy() for layer in layers)
    assert (w1.shape, w2.shape, w_fc.shape) == ((4, 16), (16, 4), (9, 16))
    channel = 1 / (1 + np.exp(-np.maximum(feature.mean((2, 3)) @ w1.T, 0) @ w2.T))  # w of Eq. 1
    pooled = (feature * channel[:, :, None, None]).mean((2, 3))
    expected = pooled @ w_fc.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)

    with torch.no_grad():
        embedding = network.head(*(torch.from_numpy(x).float() for x in (f, o)))
    np.testing.assert_allclose(embedding.numpy(), expected, atol=1e-4)


def test_channel_weights_are_between_0_and_1() -> None:
    torch.manual_seed(0)
    block = SEBlock(32, 4)
    x = torch.randn(6, 32, 5, 3) * 4
    w = block.weights(x.mean(dim=(2, 3)))
    assert w.shape == (6, 32)
    assert bool(((w > 0) & (w < 1)).all())
    assert w.std() > 0.01
    torch.testing.assert_close(block(x) / x, w[:, :, None, None].expand_as(x))
