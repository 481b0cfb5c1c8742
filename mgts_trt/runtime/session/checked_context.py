"""What every execution context checks before it does as it is told."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from mgts_trt.bundle.recipe import Profile
from mgts_trt.bundle.tensors import TensorSpec, split_dimension
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.session.base import ExecutionContext

ALIGNMENT = 256
"""Bytes; of a workspace's address, and of what lies in it."""


class CheckedContext(ExecutionContext):
    """Checks names, shapes and addresses, and that a run has all it needs; what it then does is a subclass's.

    Args:
        model: Named in errors.
        inputs: Name → tensor.
        outputs: Name → tensor.
        profile: Sizes each named dimension may take.
    """

    def __init__(
        self,
        model: str,
        inputs: dict[str, TensorSpec],
        outputs: dict[str, TensorSpec],
        profile: Mapping[str, Profile],
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._model, self._profile = model, profile
        self._bound: set[str] = set()
        self._unsized = {name for name, spec in inputs.items() if spec.symbols}
        self._lent = False

    def set_workspace(self, pointer: int, size: int) -> None:
        """See `ExecutionContext.set_workspace`."""
        if size < self.workspace_bytes or pointer % ALIGNMENT:
            raise BackendError(
                f"The workspace of {self._model} is {size:,} bytes at {pointer:#x}; {self.workspace_bytes:,} bytes "
                f"expected, aligned to {ALIGNMENT}."
            )
        self._lend(pointer, size)
        self._lent = True

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        """See `ExecutionContext.set_shape`."""
        spec = self.inputs.get(name)
        if spec is None:
            raise BackendError(f"{self._model} has no input {name!r}; it has {', '.join(self.inputs)}.")
        if len(shape) != len(spec.shape) or not all(map(self._fits, spec.shape, shape)):
            raise BackendError(
                f"{self._model}: {name} cannot be {list(shape)}; the plan takes {spec}{self._ranges()}. "
                "Run fewer at once, or build the plan again with another profile."
            )
        self._resize(name, tuple(shape))
        self._unsized.discard(name)

    def bind(self, name: str, pointer: int) -> None:
        """See `ExecutionContext.bind`."""
        spec = self._spec(name)
        if pointer == 0 or pointer % np.dtype(spec.dtype).itemsize:
            raise BackendError(f"{self._model}: {name} cannot lie at {pointer:#x}; it needs an aligned device address.")
        self._address(name, pointer)
        self._bound.add(name)

    def enqueue(self, stream: Stream) -> None:
        """See `ExecutionContext.enqueue`."""
        missing = [name for name in (*self.inputs, *self.outputs) if name not in self._bound]
        lacks_workspace = self.workspace_bytes > 0 and not self._lent
        if missing or self._unsized or lacks_workspace:
            reasons = [f"{name} is not bound" for name in missing]
            reasons += [f"{name} has no shape" for name in sorted(self._unsized)]
            reasons += [f"it has no workspace of {self.workspace_bytes:,} bytes"] if lacks_workspace else []
            raise BackendError(f"{self._model} cannot run: {', '.join(reasons)}.")
        self._run(stream)

    @abstractmethod
    def _lend(self, pointer: int, size: int) -> None:
        """Take a workspace that is large enough and aligned."""

    @abstractmethod
    def _resize(self, name: str, shape: tuple[int, ...]) -> None:
        """Give an input a size that the profile admits."""

    @abstractmethod
    def _address(self, name: str, pointer: int) -> None:
        """Take an input's or output's address, which its type can have."""

    @abstractmethod
    def _run(self, stream: Stream) -> None:
        """Queue a run that has all it needs."""

    def _spec(self, name: str) -> TensorSpec:
        spec = self.inputs.get(name) or self.outputs.get(name)
        if spec is None:
            raise BackendError(
                f"{self._model} has no tensor {name!r}; it has {', '.join([*self.inputs, *self.outputs])}."
            )
        return spec

    def _open(self, name: str) -> BackendError:
        return BackendError(f"{self._model}: the size of {name} is open until every input has one; see set_shape.")

    def _closed(self) -> BackendError:
        return BackendError(f"The context of {self._model} is closed.")

    def _fits(self, wanted: int | str, size: int) -> bool:
        if isinstance(wanted, int):
            return wanted == size
        times, symbol = split_dimension(wanted)
        bounds = self._profile[symbol]
        return size % times == 0 and bounds.min <= size // times <= bounds.max

    def _ranges(self) -> str:
        return "".join(f", {name} = {each.min}…{each.max}" for name, each in self._profile.items())
