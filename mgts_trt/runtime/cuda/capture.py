"""Recording a stream into a CUDA graph, through the driver's own calls.

`cuda.core` before 1.3 crashes the process where a capture is refused (NVIDIA/cuda-python issue 2834), and a refusal is
nothing rare: an engine that allocates or compiles while it runs is enough. The driver answers with a code.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.device import Capture, Graph
from mgts_trt.runtime.cuda.driver import Driver, cuda_errors
from mgts_trt.runtime.cuda.streams import Stream


def capturing(driver: Driver, stream: Stream) -> bool:
    """Whether a stream is being recorded, also where that has failed already."""
    status = driver("cuStreamIsCapturing", stream.handle)
    return bool(status != driver.module.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE)


@contextmanager
def capture(driver: Driver, stream: Stream) -> Iterator["DriverCapture"]:
    """See `DeviceLayer.capture`; the stream's context is current."""
    with cuda_errors("starting to capture a graph"):
        # Other threads may go on allocating.
        mode = driver.module.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        driver("cuStreamBeginCapture", stream.handle, mode)
    recording = DriverCapture()
    try:
        yield recording
    except BaseException:
        _abandon(driver, stream)
        raise
    with cuda_errors("ending the capture of a graph"):
        # It ends an invalid capture, too, and says that it was.
        graph = driver("cuStreamEndCapture", stream.handle)
    try:
        with cuda_errors("making a captured graph ready"):
            recording.finished = DriverGraph(driver, driver("cuGraphInstantiate", graph, 0))
    finally:
        driver.module.cuGraphDestroy(graph)


def _abandon(driver: Driver, stream: Stream) -> None:
    """End a capture that failed: until then the stream refuses everything. The first failure is the one to tell."""
    error, graph = driver.module.cuStreamEndCapture(stream.handle)
    if error == driver.module.CUresult.CUDA_SUCCESS:
        driver.module.cuGraphDestroy(graph)


class DriverGraph(Graph):
    """See `Graph`."""

    def __init__(self, driver: Driver, native: Any) -> None:
        self._driver, self._native = driver, native

    def launch(self, stream: Stream) -> None:
        """See `Graph.launch`."""
        if self._native is None:
            raise BackendError("The graph is closed; capture it again.")
        with cuda_errors("launching a graph"):
            self._driver("cuGraphLaunch", self._native, stream.handle)

    def close(self) -> None:
        """See `Graph.close`."""
        native, self._native = self._native, None
        if native is not None:
            with cuda_errors("freeing a graph"):
                self._driver("cuGraphExecDestroy", native)


class DriverCapture(Capture):
    """See `Capture`."""

    def __init__(self) -> None:
        self.finished: DriverGraph | None = None

    @property
    def graph(self) -> DriverGraph:
        """See `Capture.graph`."""
        if self.finished is None:
            raise BackendError("The capture has not ended, or has failed; there is no graph.")
        return self.finished
