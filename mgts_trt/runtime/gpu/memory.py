"""The memory of the pictures in flight together."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mgts_trt._typing import Array
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.cuda.streams import Stream


def at(array: DeviceArray, row: int = 0) -> Pointer:
    """The address of a row of an array, whatever its shape and type, as a kernel takes it."""
    return Pointer(array.rows(row, array.shape[0]).pointer)


@dataclass(frozen=True)
class Mirrored:
    """An array on the device, and pinned memory of the same shape that it is copied to or from.

    Attributes:
        device: On the device.
        host: For the host, which must have waited for the copies.
    """

    device: DeviceArray
    host: PinnedArray

    def download(self, layer: DeviceLayer, stream: Stream, count: int) -> None:
        """Queue the copy of the first `count` rows to the host, if there are any."""
        if count:
            layer.copy(self.host.rows(0, count), self.device.rows(0, count), stream)

    def upload(self, layer: DeviceLayer, stream: Stream, rows: Array) -> None:
        """Write the first rows from host memory, and queue their copy to the device.

        Args:
            layer: The device.
            stream: Copies.
            rows: [count, …], as the array but for the number of rows: count ≤ its own.

        Raises:
            BackendError: There are more rows than the array has.
        """
        count = len(rows)
        self.host.rows(0, count).array[...] = rows
        layer.copy(self.device.rows(0, count), self.host.rows(0, count), stream)

    def read(self, start: int, stop: int) -> Array:
        """Some rows, [stop − start, …], a copy of the host's side; the host must have waited for the download."""
        return self.host.rows(start, stop).array.copy()


class Arena:
    """Device memory, and pinned memory beside it, that belongs together and is freed together.

    Args:
        device: Where it is.
    """

    def __init__(self, device: DeviceLayer) -> None:
        self._device = device
        self._owned: dict[int, tuple[Any, Stream]] = {}
        self._pinned: list[PinnedArray] = []

    def array(self, shape: Sequence[int], dtype: Any, stream: Stream, *, zero: bool = False) -> DeviceArray:
        """A new C-contiguous array of this shape, for use on `stream` and after it; uninitialised unless `zero`.

        Raises:
            BackendError: The device has no room for it.
        """
        array = self._device.array(shape, dtype, stream)
        self._owned[array.pointer] = array.owner, stream
        if zero:
            self._device.fill(array, 0, stream)
        return array

    def mirrored(self, shape: Sequence[int], dtype: Any, stream: Stream) -> Mirrored:
        """A new array and its pinned counterpart."""
        return Mirrored(self.array(shape, dtype, stream), self.pinned(shape, dtype))

    def pinned(self, shape: Sequence[int], dtype: Any) -> PinnedArray:
        """A new C-contiguous array of this shape in pinned host memory, freed by `close` alone.

        Freeing it waits for the device and breaks a capture; what is outgrown is kept meanwhile.

        Raises:
            BackendError: The host has no room for it.
        """
        array = self._device.pinned(shape, dtype)
        self._pinned.append(array)
        return array

    def free(self, array: DeviceArray) -> None:
        """Free one array that `array` or `mirrored` made, of any shape, after what is queued on its stream."""
        buffer, stream = self._owned.pop(array.pointer)
        buffer.free(stream)

    def close(self) -> None:
        """Free all: on the device after what is queued on the streams, pinned at once, so the streams must be empty."""
        for buffer, stream in self._owned.values():
            # A device that has failed refuses this, too.
            with suppress(BackendError):
                buffer.free(stream)
        self._owned.clear()
        for array in self._pinned:
            with suppress(BackendError):
                array.buffer.free()
        self._pinned.clear()
