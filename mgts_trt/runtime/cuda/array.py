"""Arrays in device and pinned memory, and the passage to and from other libraries' arrays without a copy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mgts_trt._typing import Array, Self
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.streams import ArrayDevice, HostBuffer, Stream

_CUDA, _CUDA_MANAGED = 2, 13  # DLDeviceType


class _Laid:
    """What device and pinned arrays share: C-contiguous, of a NumPy type."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pointer: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def _rows(self, start: int, stop: int) -> dict[str, Any]:
        if not self.shape or not 0 <= start <= stop <= self.shape[0]:
            raise BackendError(f"There are no rows {start}…{stop} in {self}.")
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        return {"shape": (stop - start, *self.shape[1:]), "pointer": self.pointer + start * row}

    def __str__(self) -> str:
        return f"{self.dtype.name} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, eq=False)
class DeviceArray(_Laid):
    """An array in device memory that PyTorch, CuPy, Numba and PyCUDA read where it is.

    Attributes:
        shape: Sizes; C-contiguous.
        dtype: NumPy type.
        pointer: Address of the first element.
        device: Where it is.
        owner: Kept alive: the buffer, or another library's array.
        stream: The one its last writer runs on. Other libraries' streams are made to wait for it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pointer: int
    device: ArrayDevice = field(repr=False)
    owner: Any = field(repr=False)
    stream: Stream | None = field(default=None, repr=False)

    def rows(self, start: int, stop: int) -> Self:
        """Rows `start`…`stop` of the first dimension, in the same memory."""
        return replace(self, **self._rows(start, stop))

    def on(self, stream: Stream) -> Self:
        """The same array, last written on `stream`."""
        return replace(self, stream=stream)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer if self.nbytes else 0, False),
            "strides": None,
            "version": 3,
        }
        # 0 is ambiguous and forbidden; the legacy default stream's number is 1.
        return interface if self.stream is None else {**interface, "stream": self.stream.handle or 1}

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self.device.ordinal

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        from cuda.core import Buffer
        from cuda.core.utils import StridedMemoryView

        if self.stream is not None and stream != -1:
            # None is the legacy default stream.
            self.device.wrap_stream(1 if stream is None else stream).wait(self.stream.record())
        buffer = Buffer.from_handle(self.pointer, self.nbytes, owner=self)
        return StridedMemoryView.from_buffer(buffer, self.shape, dtype=self.dtype).__dlpack__(stream=-1, **options)


@dataclass(frozen=True, eq=False)
class PinnedArray(_Laid):
    """An array in pinned host memory.

    Attributes:
        shape: Sizes; C-contiguous.
        dtype: NumPy type.
        pointer: Address of the first element.
        buffer: The memory.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pointer: int
    buffer: HostBuffer = field(repr=False)

    @property
    def array(self) -> Array:
        """A view of the pinned memory, of this type and shape, C-contiguous and writable.

        The host must have waited for copies from and to it. Ask anew for each use.
        """
        view = self.buffer.view(self.pointer - self.buffer.pointer, self.nbytes)
        return view.view(self.dtype).reshape(self.shape)

    def rows(self, start: int, stop: int) -> Self:
        """Rows `start`…`stop` of the first dimension, in the same memory."""
        return replace(self, **self._rows(start, stop))


def check_alike(destination: DeviceArray | PinnedArray | Array, source: DeviceArray | PinnedArray | Array) -> None:
    """Check that a copy between two arrays, of any shape, keeps every element where it is.

    Raises:
        BackendError: They differ in shape or type, or one in pageable memory is not C-contiguous.
    """
    if (destination.shape, destination.dtype) != (source.shape, source.dtype):
        raise BackendError(f"Cannot copy {_text(source)} to {_text(destination)}: shape and type must be the same.")
    for array in (destination, source):
        if isinstance(array, np.ndarray) and not array.flags.c_contiguous:
            raise BackendError(f"Cannot copy {_text(array)}: it is not contiguous. Use numpy.ascontiguousarray first.")


def is_device_array(array: Any) -> bool:
    """Whether an object offers device memory, to `as_device_array`."""
    if getattr(array, "__cuda_array_interface__", None) is not None:
        return True
    where = getattr(array, "__dlpack_device__", None)
    return where is not None and where()[0] in (_CUDA, _CUDA_MANAGED)


def as_device_array(array: Any, device: ArrayDevice, stream: Stream, *, what: str = "array") -> DeviceArray:
    """Another library's device array, without a copy.

    Args:
        array: Anything with `__cuda_array_interface__` (PyTorch, CuPy, Numba, PyCUDA) or `__dlpack__`; of any shape and
            type, C-contiguous.
        device: Where it must be.
        stream: Will read it; it is made to wait for the producer's stream, if the producer names one.
        what: Named in errors.

    Returns:
        The array, with the shape and type of `array`, which it keeps alive.

    Raises:
        BackendError: It offers neither interface, is not on this device, or not contiguous.
    """
    if isinstance(array, DeviceArray):
        if array.device.ordinal != device.ordinal:
            raise BackendError(_elsewhere(what, array.device.ordinal, device.ordinal))
        if array.stream is not None and array.stream.handle != stream.handle:
            stream.wait(array.stream.record())
        taken = array
    elif (interface := getattr(array, "__cuda_array_interface__", None)) is not None:
        taken = _from_interface(array, interface, device, stream, what)
    elif hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        taken = _from_dlpack(array, device, stream, what)
    else:
        raise BackendError(
            f"{what} is {type(array).__name__}, which offers neither __cuda_array_interface__ nor __dlpack__. "
            "Pass a GPU array of PyTorch, CuPy, Numba or PyCUDA."
        )
    return taken


def _from_interface(
    array: Any, interface: Mapping[str, Any], device: ArrayDevice, stream: Stream, what: str
) -> DeviceArray:
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    strides = interface.get("strides")
    _check_strides(what, shape, strides and [stride / dtype.itemsize for stride in strides])
    if interface.get("mask") is not None:
        raise BackendError(f"{what} has a mask. Fill it first, and pass the plain array.")
    where = getattr(array, "__dlpack_device__", None)
    if where is not None and (number := where()[1]) != device.ordinal:
        raise BackendError(_elsewhere(what, number, device.ordinal))
    producer = interface.get("stream")
    if producer is not None and producer != stream.handle:
        stream.wait(device.wrap_stream(producer).record())
    return DeviceArray(shape, dtype, interface["data"][0], device, array, stream)


def _from_dlpack(array: Any, device: ArrayDevice, stream: Stream, what: str) -> DeviceArray:
    kind, number = array.__dlpack_device__()
    if kind not in (_CUDA, _CUDA_MANAGED):
        raise BackendError(
            f"{what} is not in CUDA device memory (DLPack's device type {int(kind)}). Move it there first."
        )
    if number != device.ordinal:
        raise BackendError(_elsewhere(what, number, device.ordinal))
    from cuda.core.utils import StridedMemoryView

    try:
        # The producer makes our stream wait for its own.
        view = StridedMemoryView.from_dlpack(array, stream_ptr=stream.handle)
    except Exception as error:  # every producer raises its own
        raise BackendError(f"{what}: {type(array).__name__} does not give its memory: {error}.") from error
    if view.dtype is None:
        raise BackendError(f"{what} has an element type NumPy does not know. Convert it first.")
    _check_strides(what, view.shape, view.strides)
    return DeviceArray(tuple(view.shape), np.dtype(view.dtype), view.ptr, device, view, stream)


def _check_strides(what: str, shape: Sequence[int], strides: Sequence[float] | None) -> None:
    """Refuse what is not C-contiguous; `strides` are in elements, None where it is by definition."""
    if strides is None or 0 in shape:
        return
    expected = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    # The stride of a dimension of one element is never used.
    if any(size > 1 and stride != wanted for size, stride, wanted in zip(shape, strides, expected, strict=True)):
        raise BackendError(
            f"{what} has the strides {[int(stride) for stride in strides]} (elements), {expected} expected: it is not "
            "contiguous. Make a contiguous copy first."
        )


def _elsewhere(what: str, number: int, expected: int) -> str:
    return f"{what} is on GPU {number}, expected GPU {expected}. Copy it there, or open the bundle for GPU {number}."


def _text(array: DeviceArray | PinnedArray | Array) -> str:
    return f"{array.dtype.name} [{', '.join(map(str, array.shape))}]"
