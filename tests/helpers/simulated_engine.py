"""Execution contexts on a simulated device: a NumPy function in the place of a TensorRT plan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BackendError
from tests.helpers.clocks import CaptureError, SchedulingError
from tests.helpers.simulated import SimulatedDevice


@dataclass
class SimulatedEngine:
    """A model.

    Attributes:
        device: Runs it.
        name: Named in errors.
        function: Name → input array to name → output array.
        inputs: Name → tensor.
        outputs: Name → tensor; a named dimension takes the size it has in the inputs.
        workspace_bytes: Written by every run, before it reads and after it writes, so that a workspace shared by two
            streams is a race, and one that lies on an input or output is noticed.
    """

    device: SimulatedDevice
    name: str
    function: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    workspace_bytes: int = 1024

    def create_context(self) -> "SimulatedContext":
        return SimulatedContext(self)


@dataclass
class SimulatedContext:
    """See `mgts_trt.runtime.session.base.ExecutionContext`."""

    engine: SimulatedEngine
    _workspace: tuple[int, int] | None = None
    _pointers: dict[str, int] = field(default_factory=dict)
    _shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _warm: set[tuple[tuple[int, ...], ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.inputs, self.outputs = self.engine.inputs, self.engine.outputs
        self.workspace_bytes = self.engine.workspace_bytes

    def fit_workspace(self) -> int:
        most = {"N": 64, "B": 4}  # what the workspace is for
        sizes = [(self.shape(name)[0], most[each]) for name, spec in self.inputs.items() for each in spec.symbols]
        rows, of = max(sizes, default=(1, 1))
        self.workspace_bytes = self.engine.workspace_bytes * rows // of
        return self.workspace_bytes

    def set_workspace(self, pointer: int, size: int) -> None:
        if size < self.workspace_bytes or pointer % 256:
            raise BackendError(f"{self.engine.name}: {size} bytes at {pointer:#x} are no workspace.")
        self._workspace = pointer, size

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        if not self.inputs[name].admits(self.inputs[name].dtype, tuple(shape)):
            raise BackendError(f"{self.engine.name}: {name} cannot be {list(shape)}.")
        self._shapes[name] = tuple(shape)

    def shape(self, name: str) -> tuple[int, ...]:
        sizes: dict[str, int] = {}
        for each, shape in self._shapes.items():
            sizes |= {d: n for d, n in zip(self.inputs[each].shape, shape, strict=True) if isinstance(d, str)}
        spec = self.inputs.get(name) or self.outputs[name]
        if missing := [d for d in spec.shape if isinstance(d, str) and d not in sizes]:
            raise BackendError(f"{self.engine.name}: the size of {missing[0]} is not set.")
        return tuple(sizes[d] if isinstance(d, str) else d for d in spec.shape)

    def bind(self, name: str, pointer: int) -> None:
        if name not in self.inputs and name not in self.outputs:
            raise BackendError(f"{self.engine.name} has no tensor {name}.")
        self._pointers[name] = pointer

    def capturable(self, stream) -> bool:
        return True

    def close(self) -> None:
        pass

    def enqueue(self, stream) -> None:
        device, engine = self.engine.device, self.engine
        if self._workspace is None:
            raise BackendError(f"{engine.name} has no workspace.")
        names = [*self.inputs, *self.outputs]
        shapes = {name: self.shape(name) for name in names}
        key = tuple(shapes.values())
        if device.wrap_stream(stream).capture is None:
            self._warm.add(key)
        elif key not in self._warm:
            raise CaptureError(f"{engine.name} is captured at shapes it has never run at: {shapes}.")
        specs = {**self.inputs, **self.outputs}
        spans = {}
        for name in names:
            nbytes = int(np.prod(shapes[name])) * np.dtype(specs[name].dtype).itemsize
            spans[name] = device.span(self._pointers[name], nbytes, write=name in self.outputs)

        workspace = device.span(*self._workspace, write=True)

        def run() -> None:
            workspace.view().fill(0xEE)
            views = {name: spans[name].view().view(specs[name].dtype).reshape(shapes[name]) for name in names}
            results = engine.function({name: views[name] for name in self.inputs})
            for name in self.outputs:
                if results[name].shape != shapes[name]:
                    raise SchedulingError(f"{engine.name} gave {name} {results[name].shape}, not {shapes[name]}.")
                views[name][...] = results[name]
            workspace.view().fill(0xEE)

        device.submit(stream, engine.name, run, [*spans.values(), workspace])
