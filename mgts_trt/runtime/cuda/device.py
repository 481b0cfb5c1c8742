"""What the pipeline asks of a device: memory, streams, events, copies, launches, and graphs of all these.

Everything that takes a stream is queued there and returns at once. Order holds inside a stream only; between streams
an event makes it: `second.wait(first.record())`. The host knows that work is done after `synchronize`, or when an
event's `done` says so.

`mgts_trt.runtime.cuda.nvidia.CudaDevice` is the GPU; the tests have a simulated device that finds missing events.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mgts_trt._typing import Array
from mgts_trt.errors import BackendError

if TYPE_CHECKING:
    from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray
    from mgts_trt.runtime.gpu.kernels import Launch

Memory: TypeAlias = "DeviceArray | PinnedArray | Array"
"""What can be copied from or to: device memory, pinned host memory, or ordinary (pageable) host memory."""


class Event(Protocol):
    """A point in a stream's work. One that was never recorded holds nobody up, as in CUDA."""

    @property
    def done(self) -> bool:
        """Whether the work before the last record has finished; the host may then read its results."""
        ...

    def synchronize(self) -> None:
        """Let the host wait for it."""
        ...

    def elapsed_ms(self, start: "Event") -> float:
        """Milliseconds from `start` to this event; both made with `timed=True`, recorded, and done."""
        ...


class Stream(Protocol):
    """A queue of work that runs in order."""

    @property
    def handle(self) -> int:
        """Address of the `cudaStream_t`."""
        ...

    def __cuda_stream__(self) -> tuple[int, int]:
        """Protocol version and handle, for other libraries."""
        ...

    def record(self, event: Event | None = None) -> Event:
        """Mark this point with `event`, or with a new one."""
        ...

    def wait(self, event: Event) -> None:
        """Let what is queued from now on wait for `event` as last recorded."""
        ...

    def synchronize(self) -> None:
        """Let the host wait until all that is queued has finished."""
        ...


class Buffer(Protocol):
    """A piece of device memory; freed when it is no longer referenced, at the latest."""

    @property
    def pointer(self) -> int:
        """Address on the device, aligned to 256 bytes."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def free(self, stream: Stream | None = None) -> None:
        """Give it back once what is queued on `stream` is done; by default the stream it was allocated on."""
        ...


class HostBuffer(Protocol):
    """A piece of pinned host memory, which the device reads and writes on its own."""

    @property
    def pointer(self) -> int:
        """Address."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def view(self, offset: int, nbytes: int) -> Array:
        """These bytes, uint8 [nbytes], for the host to read and write."""
        ...


class Graph(Protocol):
    """Captured work, ready to be launched as one. It uses the addresses of capture time: keep the memory alive."""

    def launch(self, stream: Stream) -> None:
        """Queue it; it starts after the stream's earlier work and after its own previous launch."""
        ...

    def close(self) -> None:
        """Free it. Closing twice is harmless."""
        ...


class Capture(Protocol):
    """A capture in progress."""

    @property
    def graph(self) -> Graph:
        """What was captured, once the `with` block has ended.

        Raises:
            BackendError: The block has not ended, or has failed.
        """
        ...


class DeviceLayer(Protocol):
    """One device. Its methods may be called from several threads, but a stream belongs to one thread at a time.

    All raise `BackendError` if the device fails or an argument does not fit.
    """

    @property
    def ordinal(self) -> int:
        """CUDA's number of the device."""
        ...

    @property
    def sm(self) -> str:
        """Compute capability: `"sm_86"`."""
        ...

    def make_current(self) -> None:
        """Make this thread's CUDA calls go to this device; needed before a library such as TensorRT is called."""
        ...

    def stream(self, *, priority: int | None = None) -> Stream:
        """A new stream; a lower number goes first, by default the lowest priority."""
        ...

    def wrap_stream(self, foreign: Any) -> Stream:
        """A caller's stream, which stays the caller's: see `stream_handle` for what is accepted."""
        ...

    def event(self, *, timed: bool = False) -> Event:
        """A new event, to be recorded again and again."""
        ...

    def allocate(self, size: int, stream: Stream) -> Buffer:
        """Device memory of `size` bytes, uninitialised, for use on `stream` and after it."""
        ...

    def array(self, shape: Sequence[int], dtype: Any, stream: Stream) -> "DeviceArray":
        """An uninitialised array in device memory of its own."""
        ...

    def pinned(self, shape: Sequence[int], dtype: Any) -> "PinnedArray":
        """An uninitialised array in pinned host memory of its own."""
        ...

    def copy(self, destination: Memory, source: Memory, stream: Stream) -> None:
        """Copy a whole array into one of the same shape and type.

        From or to pageable memory the host waits for the copy; a capture refuses that.
        """
        ...

    def fill(self, destination: "DeviceArray", byte: int, stream: Stream) -> None:
        """Set every byte, 0…255."""
        ...

    def launch(self, launch: "Launch", stream: Stream) -> None:
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


def stream_handle(stream: Any) -> int:
    """The handle of a CUDA stream from any library.

    Args:
        stream: An int, or an object with `__cuda_stream__` (cuda.core, CuPy, Numba), `.cuda_stream` (PyTorch), `.ptr`
            (older CuPy) or `.handle` (PyCUDA).

    Raises:
        BackendError: It is none of these.
    """
    if isinstance(stream, int) and not isinstance(stream, bool):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        version, handle = protocol() if callable(protocol) else protocol
        if version != 0:
            raise BackendError(
                f"The stream {stream!r} speaks version {version} of __cuda_stream__, version 0 expected. "
                "Pass its handle as an int."
            )
        return int(handle)
    for attribute in ("cuda_stream", "ptr", "handle"):
        handle = getattr(stream, attribute, None)
        if handle is not None and not callable(handle):
            return int(handle)
    raise BackendError(
        f"{type(stream).__name__} is not a CUDA stream. Pass a stream of cuda.core, PyTorch, CuPy, Numba or PyCUDA, or "
        "its handle as an int."
    )
