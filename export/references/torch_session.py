"""A network of `training.models` behind the session protocol, so that the deployed pipeline runs it like an engine."""

from collections.abc import Mapping

import numpy as np
import torch

from mgts_trt._typing import Array
from mgts_trt.bundle.manifest import Model
from mgts_trt.bundle.tensors import TensorSpec, check_arrays
from mgts_trt.errors import BackendError
from training.models import FCIS, MGTS, FasterRCNN, IDNet, OIMNet


class TorchSession:
    """See `mgts_trt.runtime.session.base.Session`.

    Args:
        model: Name in the bundle.
        network: The network, in evaluation mode.
        entry: The manifest's entry of the model: its tensors, which the network's are brought to.
    """

    backend = "torch"
    precision = "fp32"

    def __init__(self, model: str, network: FasterRCNN | FCIS | MGTS | IDNet | OIMNet, entry: Model) -> None:
        self.model = model
        self.inputs: dict[str, TensorSpec] = entry.inputs
        self.outputs: dict[str, TensorSpec] = entry.outputs
        self._network: FasterRCNN | FCIS | MGTS | IDNet | OIMNet | None = network.eval()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Session.run`."""
        if self._network is None:
            raise BackendError(f"The session of {self.model} is closed; open a new one.")
        check_arrays(f"inputs of {self.model}", self.inputs, inputs)
        with torch.no_grad():
            if "image" in inputs:
                # The pictures, and whatever else there is one of for each.
                rows = zip(*(torch.from_numpy(inputs[name]) for name in self.inputs), strict=True)
                found = [self._network(*row)._asdict() for row in rows]
                arrays = {
                    name: np.stack([_pad(rows[name].numpy(), spec) for rows in found])
                    for name, spec in self.outputs.items()
                }
            else:
                tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
                arrays = {"embedding": self._network(**tensors).numpy()}
        check_arrays(f"outputs of {self.model}", self.outputs, arrays)
        return arrays

    def close(self) -> None:
        """See `Session.close`."""
        self._network = None


def _pad(rows: Array, spec: TensorSpec) -> Array:
    """A picture's rows with zeros below, up to the contract's fixed number: the networks return what they found."""
    padded = np.zeros([int(size) for size in spec.shape[1:]], rows.dtype)
    padded[: len(rows)] = rows
    return padded
