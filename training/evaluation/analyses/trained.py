"""Trained re-ID networks in PyTorch, for analyses that no deployed graph can answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mgts_trt._typing import Array
from mgts_trt.errors import MgtsError
from training.checkpoint import load_checkpoint
from training.loop import STATE
from training.models import create
from training.preset import Preset


class AnalysisError(MgtsError):
    """Weights or a dataset that an analysis cannot use."""


def load_network(path: Path, preset: Preset, model: str, device: str) -> nn.Module:
    """The network of a checkpoint, ready to be evaluated.

    Raises:
        CheckpointError: The file is missing or damaged, or holds another model or preset.
    """
    network = create(model, preset)
    load_checkpoint(path, network, model=model, preset=preset.name)
    return network.to(device).eval()


def as_arrays(forward: Callable[..., Tensor], device: str) -> Callable[[dict[str, Array]], Array]:
    """A function of PyTorch tensors by name as one of NumPy arrays, for `training.evaluation.measure.describe_people`.

    Args:
        forward: Takes tensors by name, [N, …] each, and gives one, [N, D]: a re-ID network, or part of one.
        device: The function's tensors lie there.

    Returns:
        The same of arrays: float32 [N, …] by name → [N, D] in host memory. No gradients are kept.
    """

    def run(inputs: dict[str, Array]) -> Array:
        with torch.inference_mode():
            outputs = forward(**{name: torch.from_numpy(values).to(device) for name, values in inputs.items()})
            return np.asarray(outputs.cpu())

    return run


def check_run(checkpoint: Path, expected: dict[str, str | None]) -> None:
    """Compare what the run beside a checkpoint was trained with; without a run there, nothing is known or refused.

    Args:
        checkpoint: Weights that `python -m training` wrote.
        expected: Settings and their values.

    Raises:
        AnalysisError: The run has other settings.
    """
    state = checkpoint.with_name(STATE)
    if not state.is_file():
        return
    identity = torch.load(state, map_location="cpu", weights_only=True, mmap=True)["identity"]
    for name, wanted in expected.items():
        if identity.get(name) != wanted:
            raise AnalysisError(
                f"{checkpoint} was trained with {name} {identity.get(name)!r}, but {wanted!r} is expected here. Name "
                f"another run's checkpoint, or the {name} of this run where there is an option for it."
            )
