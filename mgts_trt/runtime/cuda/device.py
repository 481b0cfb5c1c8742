"""What the pipeline asks of a device: memory, streams, events, copies, launches, and graphs of all these.

Everything that takes a stream is queued there and returns at once. Order holds inside a stream only; between streams
an event makes it: `second.wait(first.record())`. The host knows that work is done after `synchronize`, or when an
event's `done` says so.

`mgts_trt.runtime.cuda.nvidia.CudaDevice` is the GPU; the tests have a simulated device that finds missing events.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeAlias

from mgts_trt._typing import Array
from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray
from mgts_trt.runtime.cuda.launch import Launch
from mgts_trt.runtime.cuda.streams import ArrayDevice, Buffer, Event, Stream

Memory: TypeAlias = DeviceArray | PinnedArray | Array
"""What can be copied from or to: device memory, pinned host memory, or ordinary (pageable) host memory."""


class Graph(Protocol):
    """Captured work, ready to be launched as one. It uses the addresses of capture time: keep the memory alive."""

    def launch(self, stream: Stream) -> None:
        """Queue it; it starts after the stream's earlier work and after its own previous launch."""
        ...

    def close(self) -> None:
        """Free it. Closing twice is harmless."""
        ...


class GraphRefusal(NamedTuple):
    """That some work could not be captured, and is launched one kernel at a time."""

    times: int
    """How often it was tried."""
    reason: str
    """What was said the last time."""

    def __str__(self) -> str:
        return f"{self.reason} ({'once' if self.times == 1 else f'{self.times} times'})"


class Capture(Protocol):
    """A capture in progress."""

    @property
    def graph(self) -> Graph:
        """What was captured, once the `with` block has ended.

        Raises:
            BackendError: The block has not ended, or has failed.
        """
        ...


class DeviceLayer(ArrayDevice, Protocol):
    """One device. Its methods may be called from several threads, but a stream belongs to one thread at a time.

    All raise `BackendError` if the device fails or an argument does not fit.
    """

    @property
    def sm(self) -> str:
        """Compute capability: `"sm_86"`."""
        ...

    @property
    def context(self) -> int:
        """Address of the `CUcontext`, for libraries that ask for it."""
        ...

    def available_memory(self) -> int | None:
        """Bytes that can still be allocated; None if that is not known.

        Where the GPU shares the CPU's memory (Jetson), what the system could give, caches of files included.
        """
        ...

    def make_current(self) -> None:
        """Make this thread's CUDA calls go to this device; needed before a library such as TensorRT is called."""
        ...

    def stream(self, *, priority: int | None = None) -> Stream:
        """A new stream; a lower number goes first, by default the lowest priority."""
        ...

    def event(self, *, timed: bool = False) -> Event:
        """A new event, to be recorded again and again."""
        ...

    def allocate(self, size: int, stream: Stream) -> Buffer:
        """Device memory of `size` bytes, uninitialised, for use on `stream` and after it."""
        ...

    def array(self, shape: Sequence[int], dtype: Any, stream: Stream) -> DeviceArray:
        """An uninitialised, C-contiguous array of this shape in device memory of its own, for use from `stream` on.

        Raises:
            BackendError: The device has no room for it.
        """
        ...

    def pinned(self, shape: Sequence[int], dtype: Any) -> PinnedArray:
        """An uninitialised, C-contiguous array of this shape in pinned host memory of its own.

        Raises:
            BackendError: The host has no room for it.
        """
        ...

    def copy(self, destination: Memory, source: Memory, stream: Stream) -> None:
        """Copy a whole array, of any shape, into one of the same shape and type.

        From or to pageable memory the host waits for the copy; a capture refuses that.

        Raises:
            BackendError: See `mgts_trt.runtime.cuda.array.check_alike`; or pageable memory under a capture.
        """
        ...

    def fill(self, destination: DeviceArray, byte: int, stream: Stream) -> None:
        """Queue setting every byte of an array, of any shape and type, to `byte`, 0 … 255."""
        ...

    def launch(self, launch: Launch, stream: Stream) -> None:
        """Run a kernel; its source is compiled when first needed."""
        ...

    def capture(self, stream: Stream) -> AbstractContextManager[Capture]:
        """Record what is queued on `stream` inside the `with` block, instead of running it.

        Other streams take part from when they wait for an event recorded on a taking-part stream; `stream` must wait
        for them before the block ends. The host may not wait for the device, nor allocate, inside. What is compiled
        or loaded when it is first used (kernels, engines at new shapes) must have run once before. If the block fails,
        nothing was captured and the streams are usable again.
        """
        ...

    def synchronize(self) -> None:
        """Let the host wait for everything."""
        ...
