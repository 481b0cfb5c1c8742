"""Pictures in device memory, and their way down."""

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

from mgts_trt._typing import Image
from mgts_trt.runtime.cuda.array import DeviceArray


class DevicePicture:
    """A picture in device memory, which a pipeline on that device reads where it is.

    It is made when somebody first reads it: one that nobody reads costs nothing.

    Args:
        shape: H, W and 3.
        make: Gives the picture, uint8 [H, W, 3], RGB; written before, and never again. Called once, by any thread.
        download: Copies it into host memory, and waits for that; any thread may call it.
    """

    def __init__(
        self, shape: tuple[int, ...], make: Callable[[], DeviceArray], download: Callable[[DeviceArray], Image]
    ) -> None:
        self._shape, self._download = shape, download
        self._make: Callable[[], DeviceArray] | None = make
        self._lock = threading.RLock()

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W and 3."""
        return self._shape

    @property
    def pixels(self) -> Image:
        """The same in host memory: uint8 [H, W, 3], RGB. It is copied when it is first asked for."""
        with self._lock:
            return self._copied

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._array.__cuda_array_interface__

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    @property
    def _array(self) -> DeviceArray:
        with self._lock:
            return self._made

    @cached_property
    def _made(self) -> DeviceArray:
        assert self._make is not None
        made, self._make = self._make(), None  # what it was made of is let go
        return made

    @cached_property
    def _copied(self) -> Image:
        return self._download(self._array)


def on_host(image: Image | DevicePicture) -> Image:
    """A picture in host memory, wherever it was: uint8 [H, W, 3], RGB."""
    return image.pixels if isinstance(image, DevicePicture) else image
