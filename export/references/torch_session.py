"""A network of `training.models` behind the session protocol, so that the deployed pipeline runs it like an engine."""

from collections.abc import Mapping

import numpy as np
import torch

from mgts_trt._typing import Array
from mgts_trt.bundle.manifest import Model
from mgts_trt.bundle.tensors import TensorSpec, check_arrays
from mgts_trt.errors import BackendError
from training.models import FCIS, MGTS, FasterRCNN, IDNet


class TorchSession:
    """See `mgts_trt.runtime.session.base.Session`.

    Args:
        model: Name in the bundle.
        network: The network, in evaluation mode.
        entry: The manifest's entry of the model: its tensors, which the network's are brought to.
    """

    backend = "torch"
    precision = "fp32"

    def __init__(self, model: str, network: FasterRCNN | FCIS | MGTS | IDNet, entry: Model) -> None:
        self.model = model
        self.inputs: dict[str, TensorSpec] = entry.inputs
        self.outputs: dict[str, TensorSpec] = entry.outputs
        self._network: FasterRCNN | FCIS | MGTS | IDNet | None = network.eval()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Session.run`."""
        if self._network is None:
            raise BackendError(f"The session of {self.model} is closed; open a new one.")
        check_arrays(f"inputs of {self.model}", self.inputs, inputs)
        with torch.no_grad():
            found = self._network(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        if isinstance(found, torch.Tensor):
            arrays = {"embedding": found.numpy()}
        else:
            rows = {name: tensor.numpy() for name, tensor in found._asdict().items()}
            arrays = {name: _pad(rows[name], spec) for name, spec in self.outputs.items()}
        check_arrays(f"outputs of {self.model}", self.outputs, arrays)
        return arrays

    def close(self) -> None:
        """See `Session.close`."""
        self._network = None


def _pad(rows: Array, spec: TensorSpec) -> Array:
    """Rows of zeros below, up to the contract's fixed number: the networks return as many rows as they found."""
    padded = np.zeros([int(size) for size in spec.shape], rows.dtype)
    padded[: len(rows)] = rows
    return padded
