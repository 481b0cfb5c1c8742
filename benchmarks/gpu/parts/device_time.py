"""How long work on a stream takes, by the device's own clock."""

from collections.abc import Callable, Sequence

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.launch import Launch, Pointer
from mgts_trt.runtime.cuda.streams import Stream

TRIES, BATCH = 5, 50


class Kept:
    """Arrays on a device, which stay as long as this does."""

    def __init__(self, device: DeviceLayer, stream: Stream) -> None:
        self._device, self._stream = device, stream
        self._arrays: list[DeviceArray] = []

    def put(self, array: Array) -> Pointer:
        """Copy an array there."""
        there = self._device.array(array.shape, array.dtype, self._stream)
        self._device.copy(there, np.ascontiguousarray(array), self._stream)
        self._arrays.append(there)
        return Pointer(there.pointer)


def launcher(device: DeviceLayer, stream: Stream, launches: Sequence[Launch]) -> Callable[[], None]:
    """What queues launches one after the other."""

    def run() -> None:
        for launch in launches:
            device.launch(launch, stream)

    return run


def copier(device: DeviceLayer, stream: Stream, moved: int) -> Callable[[], None]:
    """What queues a copy that reads and writes `moved` bytes together."""
    size = max(1, moved // 2)
    source, target = (device.array((size,), np.uint8, stream) for _ in range(2))
    device.fill(source, 0, stream)
    return lambda: device.copy(target, source, stream)


def best(device: DeviceLayer, stream: Stream, queue: Callable[[], None]) -> float:
    """Microseconds of what is queued, between two events.

    Captured as a graph of `BATCH`, so that what the host takes to launch is not measured; the best of `TRIES`.

    Raises:
        BackendError: CUDA refuses.
    """
    queue()  # what is compiled at first use must not be captured
    stream.synchronize()
    with device.capture(stream) as capture:
        for _ in range(BATCH):
            queue()
    graph = capture.graph
    least = float("inf")
    for _ in range(TRIES + 1):
        start, end = device.event(timed=True), device.event(timed=True)
        stream.record(start)
        graph.launch(stream)
        stream.record(end)
        end.synchronize()
        least = min(least, end.elapsed_ms(start) * 1e3 / BATCH)
    graph.close()
    return least
