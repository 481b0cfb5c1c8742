from pathlib import Path
from urllib.error import URLError

import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")

import torch
from torch import nn
from torchvision import models

from mgts_trt.bundle.recipe import MODELS
from mgts_trt.errors import MgtsError
from tests.helpers.tiny_networks import fine
from training.checkpoint import CheckpointError, average_checkpoints, load_backbone, load_checkpoint, save_checkpoint
from training.models import CLASSES, FCIS, create
from training.models.efficientnet import EfficientNetLite
from training.preset import Preset, load_preset


def states_equal(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(tiny: Preset, tmp_path: Path, name: str) -> None:
    saved, loaded = create(name, tiny, seed=1), create(name, tiny, seed=2)
    for module in saved.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked.fill_(7)
            module.running_var.fill_(1.5)
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, saved, model=name, preset="tiny")
    assert not states_equal(saved, loaded)
    load_checkpoint(path, loaded, model=name, preset="tiny")
    assert states_equal(saved, loaded)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.fixture
def saved(tiny: Preset, tmp_path: Path) -> Path:
    path = tmp_path / "idnet.safetensors"
    save_checkpoint(path, create("idnet", tiny, seed=1), model="idnet", preset="tiny")
    return path


def refused(path: Path, network: nn.Module, *, model: str = "idnet", preset: str = "tiny") -> str:
    """The message; and the network must be as it was."""
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, network, model=model, preset=preset)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert isinstance(caught.value, MgtsError)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_of_another_model(tiny: Preset, saved: Path) -> None:
    assert "holds model 'idnet', expected 'mgts'" in refused(saved, create("mgts", tiny), model="mgts")


def test_of_another_preset(tiny: Preset, saved: Path) -> None:
    assert "holds preset 'tiny', expected 'edge'" in refused(saved, create("idnet", tiny), preset="edge")


def test_of_another_width(tiny: Preset, saved: Path) -> None:
    wider = tiny.model_copy(update={"embedding": 24})
    assert "fc.weight has shape [16, 16], expected [24, 16]" in refused(saved, create("idnet", wider))


def test_of_another_depth(tiny: Preset, saved: Path) -> None:
    for depths, says in (((2, 2, 1, 1), "tensors missing"), ((1, 1, 1, 1), "unknown")):
        assert says in refused(saved, create("idnet", with_streams(tiny, depths=depths)))


def with_streams(preset: Preset, **changes: tuple[int, ...]) -> Preset:
    """Re-ID streams of another size."""
    backbone = preset.reid.backbone.model_copy(update=changes)
    return preset.model_copy(update={"reid": preset.reid.model_copy(update={"backbone": backbone})})


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_truncated(tiny: Preset, saved: Path, left: int) -> None:
    saved.write_bytes(saved.read_bytes()[:left])
    assert "not a readable safetensors file" in refused(saved, create("idnet", tiny))


def test_missing(tiny: Preset, tmp_path: Path) -> None:
    assert "There is no checkpoint" in refused(tmp_path / "gone.safetensors", create("idnet", tiny))


def test_failing_save_leaves_the_old_file(tiny: Preset, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def half(path: Path, data: bytes) -> None:
        write(path, data[: len(data) // 2])
        raise OSError("no space left on device")

    old = saved.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(saved, create("idnet", tiny, seed=2), model="idnet", preset="tiny")
    assert saved.read_bytes() == old
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def full_width_vgg(*, hidden: int) -> Preset:
    """`paper`, whose fc6 and fc7 would take 480 MB, with fewer hidden units."""
    paper = load_preset("paper")
    rpn = paper.detector.rpn.model_copy(update={"channels": 8})
    return paper.model_copy(update={"detector": paper.detector.model_copy(update={"hidden": hidden, "rpn": rpn})})


def filled(network: nn.Module) -> nn.Module:
    """A network built on the meta device, with random weights and statistics."""
    generator = torch.Generator().manual_seed(0)
    network.to_empty(device="cpu")
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(1, 2, generator=generator)
            elif value.is_floating_point():
                fan_in = value[0].numel() if value.ndim > 1 else 9
                value.normal_(std=(2 / fan_in) ** 0.5, generator=generator)
    return network.eval()


def bare(name: str, preset: Preset) -> nn.Module:
    """A network whose weights are whatever lay in memory: what is not loaded shows."""
    with torch.device("meta"):
        network = CLASSES[name](preset)
    return network.to_empty(device="cpu").eval()


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    """torchvision's VGG16 with 8 hidden units."""
    with torch.device("meta"):
        network = models.vgg16(num_classes=2)
        network.classifier[0] = nn.Linear(512 * 7 * 7, 8)
        network.classifier[3] = nn.Linear(8, 8)
    return filled(network)


@pytest.fixture(scope="module")
def vgg_file(vgg: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(vgg.state_dict(), path)
    return str(path)


def image(*hw: int) -> torch.Tensor:
    return torch.randn(1, 3, *hw, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_backbone_of_the_detector(vgg: nn.Module, vgg_file: str) -> None:
    network = bare("detector", full_width_vgg(hidden=8))
    nn.init.normal_(network.classes.weight)
    nn.init.zeros_(network.classes.bias)
    load_backbone(vgg_file, network)
    # torchvision's features end with a fifth pooling; conv5_3 does not.
    x = image(64, 80)
    torch.testing.assert_close(network.features(x), vgg.features[:-1](x))
    rois = torch.randn(3, 512, 7, 7, generator=torch.Generator().manual_seed(1))
    hidden = vgg.classifier[:5](rois.flatten(1))
    torch.testing.assert_close(network.box_head(rois)[0], network.classes(hidden))


@torch.no_grad()
def test_hidden_layers_of_another_size_keep_their_initial_weights(vgg: nn.Module, vgg_file: str) -> None:
    network = create("detector", full_width_vgg(hidden=6)).eval()
    fc6, fc7 = network.fc6.weight.clone(), network.fc7.weight.clone()
    load_backbone(vgg_file, network)
    x = image(32, 48)
    torch.testing.assert_close(network.features(x), vgg.features[:-1](x))
    assert torch.equal(network.fc6.weight, fc6)
    assert torch.equal(network.fc7.weight, fc7)


@torch.no_grad()
def test_backbones_of_both_streams(tmp_path: Path) -> None:
    with torch.device("meta"):
        reference = models.resnet50()
    reference = filled(reference)
    path = tmp_path / "resnet50.pth"
    torch.save(reference.state_dict(), path)
    x = image(64, 32)
    expected = nn.Sequential(*list(reference.children())[:-2])(x)
    paper = load_preset("paper")
    networks = {"mgts": ("f_net", "o_net"), "idnet": ("o_net",)}
    for name, streams in networks.items():
        network = bare(name, paper)
        load_backbone(str(path), network)
        for stream in streams:
            torch.testing.assert_close(getattr(network, stream)(x), expected)


@torch.no_grad()
def test_backbone_of_the_mask_net(tmp_path: Path, vgg_file: str) -> None:
    with torch.device("meta"):
        reference = models.resnet101(replace_stride_with_dilation=[False, False, True])
    reference = filled(reference)
    path = tmp_path / "resnet101.pth"
    torch.save(reference.state_dict(), path)
    network = bare("masknet", load_preset("paper"))
    load_backbone(str(path), network)
    x = image(64, 80)
    torch.testing.assert_close(network.backbone(x), nn.Sequential(*list(reference.children())[:-2])(x))
    with pytest.raises(CheckpointError, match=r"vgg16\.pth is of another network: \d+ tensors missing"):
        load_backbone(vgg_file, network)


def test_a_mask_net_becomes_a_finer_one(tiny: Preset, tmp_path: Path) -> None:
    coarse, finer = create("masknet", tiny, seed=1), create("masknet", fine(tiny), seed=2)
    assert isinstance(finer, FCIS)
    save_checkpoint(tmp_path / "coarse.safetensors", coarse, model="masknet", preset="tiny")
    load_backbone(str(tmp_path / "coarse.safetensors"), finer)
    for name, value in coarse.state_dict().items():
        torch.testing.assert_close(finer.state_dict()[name], value)
    conv4, conv5, maps = finer.eval().features(torch.randn(1, 3, *tiny.masknet.input))
    enlarged = nn.functional.interpolate(conv5, maps.shape[2:], mode="bilinear")
    torch.testing.assert_close(maps, enlarged)
    assert maps.shape[2] > conv4.shape[2]


def test_the_joint_network_begins_with_what_the_detector_knows(tmp_path: Path) -> None:
    edge = load_preset("edge")
    detector, joint = create("detector", edge, seed=1), create("joint", edge, seed=2)
    initial = {name: value.clone() for name, value in joint.state_dict().items()}
    save_checkpoint(tmp_path / "detector.safetensors", detector, model="detector", preset="edge")
    load_backbone(str(tmp_path / "detector.safetensors"), joint)
    known = detector.state_dict()
    assert known.keys() < initial.keys()
    for name, value in joint.state_dict().items():
        assert torch.equal(value, known.get(name, initial[name])), name
    # As published, the joint network has no layers of the detector's second stage.
    with pytest.raises(CheckpointError, match="is of another network"):
        load_backbone(str(tmp_path / "detector.safetensors"), bare("joint", load_preset("paper")))


def test_backbone_of_another_architecture(tiny: Preset, tmp_path: Path, vgg_file: str) -> None:
    torch.manual_seed(0)
    path = tmp_path / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), path)
    idnet, detector = create("idnet", tiny), create("detector", tiny)
    for network in (idnet, detector):
        with pytest.raises(CheckpointError, match=r"resnet18\.pth is of another network: \d+ tensors missing"):
            load_backbone(str(path), network)
    with pytest.raises(CheckpointError, match=r"another network: \d+ tensors missing, \d+ unknown, e\.g\. \d+\."):
        load_backbone(vgg_file, detector)


def test_backbone_of_another_width(tiny: Preset, tmp_path: Path) -> None:
    wider = create("idnet", with_streams(tiny, planes=(4, 4, 4, 8)))
    path = tmp_path / "wider.pth"
    torch.save(wider.o_net.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"wider\.pth: layer4.* It is of another width"):
        load_backbone(str(path), create("idnet", tiny))


def test_backbone_from_safetensors(tiny: Preset, tmp_path: Path) -> None:
    donor, network = create("idnet", tiny, seed=5), create("mgts", tiny)
    path = tmp_path / "backbone.safetensors"
    save_checkpoint(path, donor.o_net, model="idnet", preset="tiny")
    load_backbone(str(path), network)
    assert states_equal(network.o_net, donor.o_net)
    assert states_equal(network.f_net, donor.o_net)
    with pytest.raises(CheckpointError, match=r"There is no checkpoint .*gone\.safetensors"):
        load_backbone(str(tmp_path / "gone.safetensors"), network)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "Cannot read the weights"),
        (b"", "Cannot read the weights"),
        (b"not a state dict at all", "Cannot read the weights"),
        ([1, 2, 3], "no plain state dict"),
        ({"model": {"conv1.weight": torch.zeros(1)}, "epoch": 3}, "no plain state dict"),
    ],
)
def test_backbone_files_that_are_none(tiny: Preset, tmp_path: Path, content: object, says: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_backbone(str(path), create("idnet", tiny))
    assert "weights.pth" in str(caught.value)


def test_truncated_backbone_file(tiny: Preset, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(create("idnet", tiny).o_net.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(CheckpointError, match="Cannot read the weights"):
        load_backbone(str(path), create("idnet", tiny))


@pytest.mark.parametrize("name", ["vgg16", "VGG17_Weights.DEFAULT", "VGG16_Weights.IMAGENET9", "vgg16.DEFAULT"])
def test_weights_torchvision_does_not_know(tiny: Preset, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"torchvision has no weights '{name}'"):
        load_backbone(name, create("idnet", tiny))


@pytest.mark.parametrize(
    "error", [URLError("no route to host"), TimeoutError("timed out"), RuntimeError("invalid hash value")]
)
def test_weights_that_cannot_be_fetched(tiny: Preset, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(CheckpointError, match=r"cannot fetch ResNet50_Weights\.IMAGENET1K_V1: .*name its path"):
        load_backbone("ResNet50_Weights.IMAGENET1K_V1", create("idnet", tiny))


def test_weights_that_are_not_finite_are_refused(tiny, tmp_path: Path) -> None:
    network = create("idnet", tiny)
    with torch.no_grad():
        network.fc.weight[0, 0] = float("nan")
    save_checkpoint(tmp_path / "nan.safetensors", network, model="idnet", preset="tiny")
    with pytest.raises(CheckpointError, match=r"fc\.weight holds values that are not finite"):
        load_checkpoint(tmp_path / "nan.safetensors", create("idnet", tiny), model="idnet", preset="tiny")


def published_efficientnet(network: EfficientNetLite) -> dict[str, torch.Tensor]:
    """A whole EfficientNet-Lite0 under the published names, written out block by block."""

    def layer(module: nn.Module, convolution: str, norm: str) -> dict[str, torch.Tensor]:
        found = {f"{convolution}.weight": module[0].weight.detach()}
        for key, value in module[1].state_dict().items():
            found[f"{norm}.{key}"] = value
        return found

    state = layer(network.stem, "_conv_stem", "_bn0")
    blocks = [block for stage in [*network.stages, *network.last] for block in stage]
    assert len(blocks) == 16
    for number, block in enumerate(blocks):
        *expansion, depthwise, projection = block.layers
        for module in expansion:
            state |= layer(module, f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0")
        state |= layer(depthwise, f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1")
        state |= layer(projection, f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2")
    return state | {"_conv_head.weight": torch.zeros(1), "_fc.weight": torch.zeros(1)}


@torch.no_grad()
def test_backbone_of_efficientnet(tmp_path: Path) -> None:
    whole = filled(EfficientNetLite((1, 2, 2, 3, 3, 4, 1)))
    state, path = published_efficientnet(whole), tmp_path / "lite0.pth"
    torch.save(state, path)
    network = create("mgts", load_preset("edge")).eval()
    load_backbone(str(path), network)
    x = image(64, 32)
    expected = whole.last[0][:3](whole.conv4(x))
    torch.testing.assert_close(network.f_net(x), expected)
    torch.testing.assert_close(network.o_net(x), expected)
    detector = create("detector", load_preset("edge")).eval()
    own = detector.features.fine.weight.clone()
    load_backbone(str(path), detector)
    x = image(64, 64)
    torch.testing.assert_close(detector.features.last(detector.features.conv4(x)), whole.last[0][:2](whole.conv4(x)))
    assert torch.equal(detector.features.fine.weight, own)
    del state["_blocks.13._bn1.running_var"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"lite0\.pth holds no '_blocks\.13\._bn1\.running_var'"):
        load_backbone(str(path), network)


def test_backbone_of_a_run(tiny: Preset, tmp_path: Path) -> None:
    one, two = create("idnet", tiny, seed=5), create("mgts", tiny, seed=6)
    save_checkpoint(tmp_path / "idnet.safetensors", one, model="idnet", preset="tiny")
    save_checkpoint(tmp_path / "mgts.safetensors", two, model="mgts", preset="tiny")
    network = create("mgts", tiny).eval()
    load_backbone(str(tmp_path / "idnet.safetensors"), network)
    assert states_equal(network.f_net, one.o_net)
    assert states_equal(network.o_net, one.o_net)
    # Of one patch twice it says what IDNet says: the mean of two equal descriptions.
    patches = torch.rand(2, 3, *tiny.patch)
    with torch.no_grad():
        torch.testing.assert_close(network(patches, patches), one.eval()(patches))
    load_backbone(str(tmp_path / "mgts.safetensors"), network)
    assert states_equal(network, two)


def test_average_is_the_mean(tiny: Preset, tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2, 3):
        paths.append(tmp_path / f"{seed}.safetensors")
        save_checkpoint(paths[-1], create("idnet", tiny, seed=seed), model="idnet", preset="tiny")
    out = tmp_path / "mean.safetensors"
    assert average_checkpoints(paths, out) == ("idnet", "tiny")
    mean = create("idnet", tiny, seed=9)
    load_checkpoint(out, mean, model="idnet", preset="tiny")
    states = [create("idnet", tiny, seed=seed).state_dict() for seed in (1, 2, 3)]
    for key, value in mean.state_dict().items():
        torch.testing.assert_close(value.double(), sum(state[key].double() for state in states) / 3)
    assert average_checkpoints(paths[:1], out) == ("idnet", "tiny")
    load_checkpoint(out, mean, model="idnet", preset="tiny")
    assert states_equal(mean, create("idnet", tiny, seed=1))


@pytest.mark.parametrize("other", ["masknet", "tiny2", "infinite"])
def test_average_of_what_does_not_belong_together(tiny: Preset, tmp_path: Path, other: str) -> None:
    first, second, out = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "out"))
    save_checkpoint(first, create("idnet", tiny), model="idnet", preset="tiny")
    model = "masknet" if other == "masknet" else "idnet"
    network = create(model, tiny)
    if other == "infinite":
        network.fc.weight.data.fill_(float("inf"))
    save_checkpoint(second, network, model=model, preset="tiny2" if other == "tiny2" else "tiny")
    with pytest.raises(CheckpointError, match="second"):
        average_checkpoints([first, second], out)
    assert not out.exists()
