"""What a session is: one model of a bundle, ready to run on one backend; and what a loaded plan is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mgts_trt._typing import Array
from mgts_trt.bundle.recipe import Profile
from mgts_trt.bundle.tensors import TensorSpec

if TYPE_CHECKING:
    from mgts_trt.plans.plan import PlanRecord
    from mgts_trt.runtime.cuda.device import DeviceLayer
    from mgts_trt.runtime.cuda.streams import Stream


class Session(Protocol):
    """One model on one backend. `run` may be called from several threads at once."""

    model: str
    """Name in the bundle."""
    precision: str
    backend: str
    """`onnxruntime`, `onnxruntime-cuda` or `tensorrt`."""
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: Name → array in host memory, of exactly the type and shape that `self.inputs` says.

        Returns:
            Name → array, of the type and shape that `self.outputs` says, with the inputs' `N` rows where it varies.

        Raises:
            BackendError: An input is missing, unknown, or of the wrong type or shape; or the backend fails.
        """
        ...

    def close(self) -> None:
        """Free what the session holds; it cannot run afterwards. Closing twice is harmless."""
        ...


class ExecutionContext(Protocol):
    """One model on a device, on memory the caller provides: what a scheduler queues. One thread at a time uses it.

    Shapes, addresses and workspace stay as they are until they are set anew. All methods raise `BackendError`.
    """

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    @property
    def workspace_bytes(self) -> int:
        """Device memory a run needs at most, besides inputs and outputs."""
        ...

    def fit_workspace(self) -> int:
        """Need no more memory than the shapes that are set do; that is `workspace_bytes` from now on, and returned.

        To be called again after each change of shapes, and before `set_workspace`.
        """
        ...

    def set_workspace(self, pointer: int, size: int) -> None:
        """Lend device memory, aligned to 256 bytes. Contexts that run on one stream may share it."""
        ...

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        """Choose the size of an input that has a dynamic dimension."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The size of an input or output at the shapes set."""
        ...

    def bind(self, name: str, pointer: int) -> None:
        """Say where an input or output lies."""
        ...

    def enqueue(self, stream: "Stream") -> None:
        """Queue one run. Under a capture it is recorded; run once outside first, at the same shapes."""
        ...

    def capturable(self, stream: "Stream") -> bool:
        """Whether a run at the shapes set could be captured now, as far as that can be told without trying."""
        ...

    def close(self) -> None:
        """Free it; it cannot run afterwards. What it has queued must be done. Closing twice is harmless."""
        ...


class LoadedPlan(Protocol):
    """A plan on a device. Contexts share its weights, and several may run at once, each on a stream of its own."""

    record: "PlanRecord"
    folder: Path
    """The plan's."""
    device: "DeviceLayer"
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    profile: dict[str, Profile]
    """Sizes each named dimension may take."""
    weights_bytes: int
    """Device memory that contexts share: by the size of the engines on disk, and the constants of kernels."""
    workspace_bytes: int
    """Device memory a context needs at most, besides inputs and outputs."""

    @property
    def closed(self) -> bool:
        """Whether it can make no more contexts."""
        ...

    @property
    def has_cache(self) -> bool:
        """Whether it is compiled at run time, and `save_cache` keeps what was."""
        ...

    def create_context(self) -> ExecutionContext:
        """A new execution context, without a workspace.

        Raises:
            BackendError: The plan is closed, or TensorRT refuses.
        """
        ...

    def save_cache(self) -> None:
        """Keep on disk what TensorRT-RTX has compiled until now; worth a call after a run at new shapes."""
        ...

    def close(self) -> None:
        """Let go of the plan; its memory is freed with its last context. Closing twice is harmless."""
        ...
