"""The way of pictures from the host to the device."""

from collections.abc import Sequence

import numpy as np

from mgts_trt._typing import Image
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.gpu.memory import Arena, Mirrored

_ALIGNMENT = 256


class Uploads:
    """Pinned memory that pictures go up through, and memory on the device where they then lie.

    Args:
        device: Where it is.
        arena: Holds both.
        stream: Copies.
    """

    def __init__(self, device: DeviceLayer, arena: Arena, stream: Stream) -> None:
        self._device, self._arena, self._stream = device, arena, stream
        self._memory: Mirrored | None = None

    def upload(self, pictures: Sequence[Image]) -> list[DeviceArray]:
        """Queue the copies of pictures, one after the other; those uploaded before must have been read.

        Args:
            pictures: uint8 [H, W, 3] each, contiguous.

        Returns:
            The same on the device.
        """
        offsets, end = [], 0
        for picture in pictures:
            offsets.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
            end = offsets[-1] + picture.nbytes
        if not pictures:
            return []
        memory = self._reserve(end)
        there = []
        for picture, offset in zip(pictures, offsets, strict=True):
            end = offset + picture.nbytes
            pinned, on_device = memory.host.rows(offset, end), memory.device.rows(offset, end)
            pinned.array[...] = picture.reshape(-1)
            self._device.copy(on_device, pinned, self._stream)
            # A view of the shape the picture has.
            pointer, owner = on_device.pointer, on_device.owner
            there.append(DeviceArray(picture.shape, on_device.dtype, pointer, self._device, owner, self._stream))
        return there

    def _reserve(self, size: int) -> Mirrored:
        if self._memory is None or self._memory.host.nbytes < size:
            # At least twice as much each time: what was outgrown stays pinned, and is less than what is in use.
            most = max(size, 2 * self._memory.host.nbytes if self._memory is not None else 0)
            if self._memory is not None:
                self._arena.free(self._memory.device)
            self._memory = self._arena.mirrored((most,), np.uint8, self._stream)
        return self._memory
