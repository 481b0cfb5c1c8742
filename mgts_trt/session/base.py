"""What a session is: one model of a bundle, ready to run on one backend."""

from collections.abc import Mapping
from typing import Protocol

from mgts_trt._typing import Array
from mgts_trt.tensors import TensorSpec


class Session(Protocol):
    """One model on one backend. `run` may be called from several threads at once."""

    model: str
    """Name in the bundle."""
    precision: str
    backend: str
    """`onnxruntime` or `tensorrt`."""
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: Name → array, exactly as `self.inputs` describes.

        Returns:
            Name → array, as `self.outputs` describes.

        Raises:
            BackendError: An input is missing, unknown, or of the wrong type or shape; or the backend fails.
        """
        ...

    def close(self) -> None:
        """Free what the session holds; it cannot run afterwards. Closing twice is harmless."""
        ...
