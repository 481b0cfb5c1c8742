"""Streams, events and pieces of memory: what a device hands out."""

from typing import Any, Protocol

from mgts_trt._typing import Array
from mgts_trt.errors import BackendError


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

    def free(self) -> None:
        """Give it back at once: no copy may be queued, and no view in use. Freeing twice is harmless.

        A capture in the same thread fails of it, so it is not left to whenever Python collects garbage.
        """
        ...


class ArrayDevice(Protocol):
    """What an array must know of the device it lies on; a `DeviceLayer` is one."""

    @property
    def ordinal(self) -> int:
        """CUDA's number of the device."""
        ...

    def wrap_stream(self, foreign: Any) -> Stream:
        """A caller's stream, which stays the caller's: see `stream_handle` for what is accepted."""
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
