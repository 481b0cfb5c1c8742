"""Pictures in device memory, and their way down."""

import threading
from collections.abc import Callable
from typing import Any

from mgts_trt._typing import Image
from mgts_trt.runtime.cuda.array import DeviceArray


class DevicePicture:
    """A picture in device memory, which a pipeline on that device reads where it is.

    Args:
        array: uint8 [H, W, 3], RGB; written before it is handed over, and never again.
        download: Copies it into host memory, and waits for that; any thread may call it.
    """

    def __init__(self, array: DeviceArray, download: Callable[[DeviceArray], Image]) -> None:
        self._array, self._download = array, download
        self._pixels: Image | None = None
        self._copying = threading.Lock()

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W and 3."""
        return self._array.shape

    @property
    def pixels(self) -> Image:
        """The same in host memory: uint8 [H, W, 3], RGB. It is copied when it is first asked for."""
        with self._copying:
            if self._pixels is None:
                self._pixels = self._download(self._array)
            return self._pixels

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._array.__cuda_array_interface__

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)


def on_host(image: Image | DevicePicture) -> Image:
    """A picture in host memory, wherever it was: uint8 [H, W, 3], RGB."""
    return image.pixels if isinstance(image, DevicePicture) else image
