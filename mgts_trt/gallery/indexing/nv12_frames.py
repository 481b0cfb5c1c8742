"""From a decoder's frames, NV12 in memory that it uses again, to pictures on the same GPU."""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mgts_trt._typing import Image, Self
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.cuda.picture import DevicePicture
from mgts_trt.runtime.cuda.streams import Event, Stream
from mgts_trt.runtime.gpu import kernels
from mgts_trt.stages.nv12 import YuvMatrix


class _Plane(NamedTuple):
    pointer: int
    height: int
    width: int
    pitch: int
    owner: Any

    @classmethod
    def of(cls, view: Any) -> Self:
        interface = view.__cuda_array_interface__
        height, width = interface["shape"][:2]
        return cls(interface["data"][0], height, width, interface["strides"][0], view)


class Nv12Frame(NamedTuple):
    """A frame as it was decoded."""

    luma: _Plane
    chroma: _Plane
    matrix: YuvMatrix
    turns: int
    """Quarters it is to be turned by, clockwise."""

    @classmethod
    def of(cls, planes: Sequence[Any], matrix: YuvMatrix, turns: int) -> Self:
        """A frame of luma and colours, both with `__cuda_array_interface__`."""
        luma, chroma = (_Plane.of(view) for view in planes)
        return cls(luma, chroma, matrix, turns)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the picture."""
        height, width = self.luma.height, self.luma.width
        return (width, height, 3) if self.turns % 2 else (height, width, 3)


class Nv12Pictures:
    """Makes pictures of frames. Any number of threads may ask.

    Args:
        device: Where the frames are.
    """

    def __init__(self, device: DeviceLayer) -> None:
        self._device = device
        # A stream belongs to one thread at a time; this one to whoever has the lock.
        self._lock, self._stream = threading.Lock(), device.stream()

    def now(self, frame: Nv12Frame, stream: Stream) -> DevicePicture:
        """Turn a frame into RGB at once: it is left with one pass over it.

        Args:
            frame: The frame.
            stream: It was written on; it is waited for.
        """
        made = self._convert(frame, stream)
        return DevicePicture(made.shape, lambda: made, self._download)

    def later(self, frame: Nv12Frame, stream: Stream) -> DevicePicture:
        """Keep a copy of a frame, which is turned into RGB when somebody first reads it; nothing is waited for."""
        held = frame._replace(luma=self._copied(frame.luma, stream), chroma=self._copied(frame.chroma, stream))
        return DevicePicture(frame.shape, partial(self._convert_later, held, stream.record()), self._download)

    def _copied(self, plane: _Plane, stream: Stream) -> _Plane:
        size = (plane.height * plane.pitch,)
        copied = self._device.array(size, np.uint8, stream)
        self._device.copy(copied, DeviceArray(size, copied.dtype, plane.pointer, self._device, plane.owner), stream)
        return plane._replace(pointer=copied.pointer, owner=copied)

    def _convert_later(self, frame: Nv12Frame, written: Event) -> DeviceArray:
        with self._lock:
            self._stream.wait(written)
            return self._convert(frame, self._stream)

    def _convert(self, frame: Nv12Frame, stream: Stream) -> DeviceArray:
        luma, chroma = frame.luma, frame.chroma
        rgb = self._device.array(frame.shape, np.uint8, stream)
        launch = kernels.nv12_to_rgb(
            (luma.height, luma.width),
            Pointer(luma.pointer),
            luma.pitch,
            Pointer(chroma.pointer),
            chroma.pitch,
            frame.matrix,
            frame.turns,
            Pointer(rgb.pointer),
        )
        self._device.launch(launch, stream)
        stream.synchronize()  # so that whoever reads it needs no stream of another thread
        return DeviceArray(rgb.shape, rgb.dtype, rgb.pointer, self._device, rgb.owner)

    def _download(self, array: DeviceArray) -> Image:
        pixels = np.empty(array.shape, np.uint8)
        with self._lock:
            self._device.copy(pixels, array, self._stream)
        return pixels
