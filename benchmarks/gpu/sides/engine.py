"""One TensorRT engine on inputs that are on the device: by plain launches, or as a CUDA graph."""

from collections.abc import Mapping

from mgts_trt._typing import Array
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.device import Graph
from mgts_trt.runtime.session.base import LoadedPlan


class EngineRun:
    """An engine with a context, its tensors and a stream, ready to be run.

    Args:
        engine: Loaded; stays the caller's.
        inputs: Name → array on the host, copied to the device here.

    Raises:
        BackendError: TensorRT or CUDA refuses.
    """

    def __init__(self, engine: LoadedPlan, inputs: Mapping[str, Array]) -> None:
        device = engine.device
        self._device, self.stream = device, device.stream()
        """Runs it."""
        self._context = engine.create_context()
        self._workspace = device.allocate(engine.workspace_bytes, self.stream)
        self._context.set_workspace(self._workspace.pointer, self._workspace.size)
        self._tensors: dict[str, DeviceArray] = {}
        for name, array in inputs.items():
            if any(isinstance(size, str) for size in engine.inputs[name].shape):
                self._context.set_shape(name, array.shape)
            self._tensors[name] = device.array(array.shape, array.dtype, self.stream)
            self._context.bind(name, self._tensors[name].pointer)
            device.copy(self._tensors[name], array, self.stream)
        for name, spec in engine.outputs.items():
            self._tensors[name] = device.array(self._context.shape(name), spec.dtype, self.stream)
            self._context.bind(name, self._tensors[name].pointer)
        self._graph: Graph | None = None

    def queue(self) -> None:
        """Queue one run by plain launches."""
        self._context.enqueue(self.stream)

    def launch(self) -> None:
        """Run once by plain launches, and wait."""
        self.queue()
        self.stream.synchronize()

    def replay(self) -> None:
        """Run once as a graph, which the first call captures, and wait."""
        if self._graph is None:
            self.launch()  # what is compiled at first use must not be captured
            with self._device.capture(self.stream) as capture:
                self.queue()
            self._graph = capture.graph
        self._graph.launch(self.stream)
        self.stream.synchronize()

    def close(self) -> None:
        """Free everything but the engine."""
        self.stream.synchronize()
        if self._graph is not None:
            self._graph.close()
        self._context.close()
        self._tensors.clear()
        self._workspace.free(self.stream)
