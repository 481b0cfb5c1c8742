"""Capturing streams of a simulated device, and launching what was captured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.streams import Stream
from tests.helpers.clocks import CaptureError, Operation, UseAfterFreeError

if TYPE_CHECKING:
    from tests.helpers.simulated import SimulatedDevice, SimulatedStream


class SimulatedCapture:
    def __init__(self, device: "SimulatedDevice", origin: "SimulatedStream") -> None:
        self.device, self.origin = device, origin
        self.nodes: list[Operation] = []
        self.invalid: str | None = None
        self.open = True
        self._streams: dict[SimulatedStream, list[Operation]] = {}
        self._graph: SimulatedGraph | None = None

    def admit(self, stream: "SimulatedStream") -> None:
        """Capture a stream's further work; what it has queued already stays queued."""
        self._streams[stream] = stream.tail
        stream.capture, stream.tail = self, []

    def end(self) -> None:
        if self.invalid:
            raise CaptureError(self.invalid)
        joined: set[Operation] = set()
        todo = list(self.origin.tail)
        while todo:
            if (node := todo.pop()) not in joined:
                joined.add(node)
                todo += node.after
        for stream in self._streams:
            if any(node not in joined for node in stream.tail):
                raise CaptureError(f"{stream} takes part in the capture, and {self.origin} does not wait for its end.")
        self._graph = SimulatedGraph(self.device, self.nodes)

    def release(self) -> None:
        self.open = False
        for stream, tail in self._streams.items():
            stream.capture, stream.tail = None, tail

    @property
    def graph(self) -> "SimulatedGraph":
        if self._graph is None or self.open:
            raise BackendError("The capture has not ended, or has failed; there is no graph.")
        return self._graph


class SimulatedGraph:
    def __init__(self, device: "SimulatedDevice", nodes: Sequence[Operation]) -> None:
        self._device, self._nodes = device, nodes
        self._last: list[Operation] = []
        self._closed = False

    def launch(self, stream: Stream) -> None:
        if self._closed:
            raise UseAfterFreeError("A graph is launched after it was closed.")
        stream = self._device.wrap_stream(stream)
        if stream.capture is not None:
            stream.capture.invalid = f"A graph is launched on {stream} during its capture."
            raise CaptureError(stream.capture.invalid)
        self._last = [self._device.submit_graph(self._nodes, stream, [*stream.tail, *self._last])]

    def close(self) -> None:
        self._closed = True
