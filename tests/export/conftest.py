from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.torch_threads import one_torch_thread


@pytest.fixture(scope="module", autouse=True)
def one_thread(traces):
    """Tiny tensors: more threads only wait for one another."""
    with one_torch_thread():
        yield


@pytest.fixture
def run_exported(tmp_path: Path, run_onnx) -> Callable[..., dict[str, np.ndarray]]:
    """Export a function of tensors alone, and run it on the tensors it was traced with."""
    import torch
    from torch import Tensor, nn

    from export.graphs.trace import export_onnx

    class Alone(nn.Module):
        taps = ()

        def __init__(self, function: Callable[..., tuple[Tensor, ...]], outputs: tuple[str, ...]) -> None:
            super().__init__()
            self.function, self.outputs = function, outputs

        def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
            return self.function(*tensors)

    def run(function, outputs: tuple[str, ...], **inputs: torch.Tensor) -> dict[str, np.ndarray]:
        path = tmp_path / "alone.onnx"
        export_onnx(Alone(function, outputs).eval(), inputs, path)
        return run_onnx(path, **{name: tensor.numpy() for name, tensor in inputs.items()})

    return run
