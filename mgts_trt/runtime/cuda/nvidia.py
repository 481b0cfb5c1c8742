"""The GPU, through NVIDIA's `cuda.core`."""

import ctypes
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.errors import BackendError
from mgts_trt.machine.main_memory import available_memory
from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray, check_alike
from mgts_trt.runtime.cuda.capture import capture, capturing
from mgts_trt.runtime.cuda.device import Capture, DeviceLayer, Memory
from mgts_trt.runtime.cuda.driver import Driver, cuda_errors
from mgts_trt.runtime.cuda.launch import Launch
from mgts_trt.runtime.cuda.streams import Buffer, Event, Stream, stream_handle

_LEGACY_DEFAULT, _PER_THREAD_DEFAULT = 1, 2
_STATIC_SHARED_BYTES = 48 << 10


class CudaDevice(DeviceLayer):
    """One NVIDIA GPU, in its primary context: the one PyTorch, CuPy and Numba use.

    PyCUDA uses it too if `pycuda.autoprimaryctx` is imported rather than `pycuda.autoinit`.

    Args:
        ordinal: CUDA's number of the GPU, after `CUDA_VISIBLE_DEVICES`.
        kernel_cache: Folder of compiled kernels; None means `kernels` in the user's cache folder.

    Raises:
        BackendError: `cuda.core` is missing, or there is no such GPU.
    """

    def __init__(self, ordinal: int = 0, *, kernel_cache: Path | None = None) -> None:
        try:
            from cuda import core
            from cuda.bindings import driver
        except ImportError as error:
            raise BackendError(
                f"cuda.core does not load: {error}. Install it with `pip install cuda-core cuda-bindings`."
            ) from error
        self._core, self._driver = core, Driver(driver)
        with cuda_errors(f"opening GPU {ordinal}"):
            device = core.Device(ordinal)
            device.set_current()
            major, minor = device.compute_capability
        self._ordinal, self._sm = ordinal, f"sm_{major}{minor}"
        self._pinned_memory = core.LegacyPinnedMemoryResource()
        self._kernel_cache = kernel_cache
        self._modules: dict[str, Any] = {}
        self._kernels: dict[tuple[str, str], Any] = {}
        self._compiling = threading.Lock()

    @property
    def ordinal(self) -> int:
        """See `DeviceLayer.ordinal`."""
        return self._ordinal

    @property
    def sm(self) -> str:
        """See `DeviceLayer.sm`."""
        return self._sm

    @property
    def context(self) -> int:
        """See `DeviceLayer.context`."""
        self.make_current()
        with cuda_errors("asking for the GPU's context"):
            return int(self._driver("cuCtxGetCurrent"))

    def available_memory(self) -> int | None:
        """See `DeviceLayer.available_memory`."""
        self.make_current()
        with cuda_errors("asking for the GPU's memory"):
            if self._device.properties.integrated:
                return available_memory()
            return int(self._driver("cuMemGetInfo"))  # what is free; what there is comes second

    def make_current(self) -> None:
        """See `DeviceLayer.make_current`."""
        self._device.set_current()

    @property
    def _device(self) -> Any:
        """`cuda.core`'s device, of which each thread has its own."""
        return self._core.Device(self._ordinal)

    def stream(self, *, priority: int | None = None) -> "CudaStream":
        """See `DeviceLayer.stream`."""
        self.make_current()
        with cuda_errors("creating a stream"):
            return CudaStream(self, self._device.create_stream(options=self._core.StreamOptions(priority=priority)))

    def wrap_stream(self, foreign: Any) -> "CudaStream":
        """See `DeviceLayer.wrap_stream`."""
        if isinstance(foreign, CudaStream):
            return foreign
        handle = stream_handle(foreign)
        self.make_current()
        with cuda_errors("wrapping a stream"):
            if handle in (0, _LEGACY_DEFAULT):
                native = self._core.LEGACY_DEFAULT_STREAM
            elif handle == _PER_THREAD_DEFAULT:
                native = self._core.PER_THREAD_DEFAULT_STREAM
            else:
                native = self._core.Stream.from_handle(handle)
        return CudaStream(self, native, owner=foreign)

    def event(self, *, timed: bool = False) -> "CudaEvent":
        """See `DeviceLayer.event`."""
        self.make_current()
        with cuda_errors("creating an event"):
            return CudaEvent(self._device.create_event(options=self._core.EventOptions(timing_enabled=timed)))

    def allocate(self, size: int, stream: Stream) -> "CudaBuffer":
        """See `DeviceLayer.allocate`."""
        self.make_current()
        with cuda_errors(f"allocating {size / 2**20:.1f} MiB of GPU memory"):
            # The driver has no memory of zero bytes.
            return CudaBuffer(self._device.allocate(max(size, 1), stream=_native(stream)), size)

    def array(self, shape: Sequence[int], dtype: Any, stream: Stream) -> DeviceArray:
        """See `DeviceLayer.array`."""
        sizes, kind = tuple(shape), np.dtype(dtype)
        buffer = self.allocate(int(np.prod(sizes, dtype=np.int64)) * kind.itemsize, stream)
        return DeviceArray(sizes, kind, buffer.pointer, self, buffer, stream)

    def pinned(self, shape: Sequence[int], dtype: Any) -> PinnedArray:
        """See `DeviceLayer.pinned`."""
        sizes, kind = tuple(shape), np.dtype(dtype)
        size = int(np.prod(sizes, dtype=np.int64)) * kind.itemsize
        self.make_current()
        with cuda_errors(f"allocating {size / 2**20:.1f} MiB of pinned memory"):
            buffer = CudaHostBuffer(self._pinned_memory.allocate(max(size, 1)), size)
        return PinnedArray(sizes, kind, buffer.pointer, buffer)

    def copy(self, destination: Memory, source: Memory, stream: Stream) -> None:
        """See `DeviceLayer.copy`."""
        check_alike(destination, source)
        pageable = isinstance(destination, np.ndarray) or isinstance(source, np.ndarray)
        if pageable and capturing(self._driver, stream):
            raise BackendError("A copy from or to pageable memory cannot be captured. Use `pinned` memory.")
        self.make_current()
        with cuda_errors(f"copying {destination.nbytes:,} bytes"):
            if destination.nbytes:
                self._driver(
                    "cuMemcpyAsync", _address(destination), _address(source), destination.nbytes, stream.handle
                )
        if pageable:
            stream.synchronize()

    def fill(self, destination: DeviceArray, byte: int, stream: Stream) -> None:
        """See `DeviceLayer.fill`."""
        self.make_current()
        with cuda_errors(f"filling {destination.nbytes:,} bytes"):
            if destination.nbytes:
                self._driver("cuMemsetD8Async", destination.pointer, byte, destination.nbytes, stream.handle)

    def launch(self, launch: Launch, stream: Stream) -> None:
        """See `DeviceLayer.launch`."""
        if launch.shared_bytes > _STATIC_SHARED_BYTES:
            raise BackendError(
                f"The kernel {launch.kernel} asks for {launch.shared_bytes:,} bytes of shared memory; "
                f"{_STATIC_SHARED_BYTES:,} is what every GPU grants."
            )
        self.make_current()
        kernel = self._kernel(launch.source, launch.kernel)
        with cuda_errors(f"launching {launch.kernel}"):
            config = self._core.LaunchConfig(grid=launch.grid, block=launch.block, shmem_size=launch.shared_bytes)
            arguments = (_argument(argument) for argument in launch.arguments)
            self._core.launch(_native(stream), config, kernel, *arguments)

    def capture(self, stream: Stream) -> AbstractContextManager[Capture]:
        """See `DeviceLayer.capture`."""
        self.make_current()
        return capture(self._driver, stream)

    def synchronize(self) -> None:
        """See `DeviceLayer.synchronize`."""
        self.make_current()
        with cuda_errors("waiting for the GPU"):
            self._device.sync()

    def _kernel(self, source: str, name: str) -> Any:
        """A kernel of a source, which is compiled and loaded once."""
        with self._compiling:
            if (source, name) in self._kernels:
                return self._kernels[source, name]
            if source not in self._modules:
                from mgts_trt.runtime.cuda.nvrtc import compile_kernels

                cubin = compile_kernels(source, int(self._sm.removeprefix("sm_")), cache=self._kernel_cache)
                with cuda_errors(f"loading the kernels of {source}"):
                    self._modules[source] = self._core.ObjectCode.from_cubin(cubin, name=source)
            with cuda_errors(f"loading {name} of {source}"):
                self._kernels[source, name] = self._modules[source].get_kernel(name)
            return self._kernels[source, name]


class CudaStream(Stream):
    """See `Stream`."""

    def __init__(self, device: CudaDevice, native: Any, owner: Any = None) -> None:
        self.device, self.native, self._owner = device, native, owner
        self._handle = int(native.handle)

    @property
    def handle(self) -> int:
        """See `Stream.handle`."""
        return self._handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def record(self, event: Event | None = None) -> "CudaEvent":
        """See `Stream.record`."""
        mine = event if isinstance(event, CudaEvent) else self.device.event()
        self.device.make_current()
        with cuda_errors("recording an event"):
            self.native.record(mine.native)
        return mine

    def wait(self, event: Event) -> None:
        """See `Stream.wait`."""
        self.device.make_current()
        with cuda_errors("waiting for an event"):
            self.native.wait(_native(event))

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        self.device.make_current()
        with cuda_errors("waiting for a stream"):
            self.native.sync()


class CudaEvent(Event):
    """See `Event`."""

    def __init__(self, native: Any) -> None:
        self.native = native

    @property
    def done(self) -> bool:
        """See `Event.done`."""
        with cuda_errors("asking for an event"):
            return bool(self.native.is_done)

    def synchronize(self) -> None:
        """See `Event.synchronize`."""
        with cuda_errors("waiting for an event"):
            self.native.sync()

    def elapsed_ms(self, start: Event) -> float:
        """See `Event.elapsed_ms`."""
        with cuda_errors("timing two events"):
            return float(self.native - _native(start))


class CudaBuffer(Buffer):
    """See `Buffer`."""

    def __init__(self, native: Any, size: int) -> None:
        self.native, self._size, self._pointer = native, size, int(native.handle)

    @property
    def pointer(self) -> int:
        """See `Buffer.pointer`."""
        return self._pointer

    @property
    def size(self) -> int:
        """See `Buffer.size`."""
        return self._size

    def free(self, stream: Stream | None = None) -> None:
        """See `Buffer.free`."""
        with cuda_errors("freeing GPU memory"):
            self.native.close(_native(stream) if stream is not None else None)


class CudaHostBuffer:
    """See `mgts_trt.runtime.cuda.device.HostBuffer`."""

    def __init__(self, native: Any, size: int) -> None:
        self._native, self.size, self.pointer = native, size, int(native.handle)

    def view(self, offset: int, nbytes: int) -> Array:
        """See `HostBuffer.view`."""
        memory: Any = (ctypes.c_uint8 * nbytes).from_address(self.pointer + offset)
        memory.owner = self  # the pinned memory lives as long as any view of it
        return np.ctypeslib.as_array(memory)

    def free(self) -> None:
        """See `HostBuffer.free`."""
        self._native.close()


def _native(wrapper: Any) -> Any:
    return wrapper.native


def _address(memory: Memory) -> int:
    return memory.ctypes.data if isinstance(memory, np.ndarray) else memory.pointer


def _argument(argument: Any) -> Any:
    """A kernel argument as `cuda.core` takes it: typed NumPy scalars as they are, addresses as int."""
    return argument if isinstance(argument, np.generic) else argument.address
