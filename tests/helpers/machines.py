"""What runs a kernel's launches in the tests: the host, or a GPU."""

from typing import Any

import numpy as np

from mgts_trt.runtime.cuda.launch import Launch, Pointer
from tests.helpers import host_kernels


class Host:
    """Kernels as C++ on host memory.

    Attributes:
        arrays: Address → array, of what was put there.
    """

    def __init__(self) -> None:
        self.arrays: dict[int, np.ndarray] = {}

    def put(self, array: np.ndarray) -> Pointer:
        array = np.array(array, order="C")
        pointer = host_kernels.pointer(array)
        self.arrays[pointer.address] = array
        return pointer

    def get(self, pointer: Pointer) -> np.ndarray:
        return self.arrays[pointer.address]

    def run(self, *launches: Launch) -> None:
        host_kernels.run(*launches)


class Gpu:
    """Kernels on a device: on the first GPU, or on a simulated one."""

    def __init__(self, device: Any = None) -> None:
        if device is None:
            from mgts_trt.runtime.cuda.nvidia import CudaDevice

            device = CudaDevice()
        self._device = device
        self._stream = self._device.stream()
        self._arrays: dict[int, object] = {}

    def put(self, array: np.ndarray) -> Pointer:
        array = np.array(array, order="C")
        there = self._device.array(array.shape, array.dtype, self._stream)
        self._device.copy(there, array, self._stream)
        self._arrays[there.pointer] = there
        return Pointer(there.pointer)

    def get(self, pointer: Pointer) -> np.ndarray:
        there = self._arrays[pointer.address]
        here = np.empty(there.shape, there.dtype)
        self._device.copy(here, there, self._stream)
        self._stream.synchronize()
        return here

    def run(self, *launches: Launch) -> None:
        for launch in launches:
            self._device.launch(launch, self._stream)


def junk(shape, dtype):
    """An output before it is written: whatever is left over shows."""
    return np.full(shape, 77, dtype)
