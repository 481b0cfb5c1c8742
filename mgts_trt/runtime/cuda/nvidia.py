"""The GPU, through NVIDIA's `cuda.core`."""

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray, check_alike
from mgts_trt.runtime.cuda.device import Capture, DeviceLayer, Graph, Memory
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
        self._core, self._driver = core, driver
        with _cuda_errors(f"opening GPU {ordinal}"):
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
        with _cuda_errors("creating a stream"):
            return CudaStream(self, self._device.create_stream(options=self._core.StreamOptions(priority=priority)))

    def wrap_stream(self, foreign: Any) -> "CudaStream":
        """See `DeviceLayer.wrap_stream`."""
        if isinstance(foreign, CudaStream):
            return foreign
        handle = stream_handle(foreign)
        self.make_current()
        with _cuda_errors("wrapping a stream"):
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
        with _cuda_errors("creating an event"):
            return CudaEvent(self._device.create_event(options=self._core.EventOptions(timing_enabled=timed)))

    def allocate(self, size: int, stream: Stream) -> "CudaBuffer":
        """See `DeviceLayer.allocate`."""
        self.make_current()
        with _cuda_errors(f"allocating {size / 2**20:.1f} MiB of GPU memory"):
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
        with _cuda_errors(f"allocating {size / 2**20:.1f} MiB of pinned memory"):
            buffer = CudaHostBuffer(self._pinned_memory.allocate(max(size, 1)), size)
        return PinnedArray(sizes, kind, buffer.pointer, buffer)

    def copy(self, destination: Memory, source: Memory, stream: Stream) -> None:
        """See `DeviceLayer.copy`."""
        check_alike(destination, source)
        pageable = isinstance(destination, np.ndarray) or isinstance(source, np.ndarray)
        if pageable and self._capturing(stream):
            raise BackendError("A copy from or to pageable memory cannot be captured. Use `pinned` memory.")
        self.make_current()
        with _cuda_errors(f"copying {destination.nbytes:,} bytes"):
            if destination.nbytes:
                self._check(
                    self._driver.cuMemcpyAsync(
                        _address(destination), _address(source), destination.nbytes, stream.handle
                    )
                )
        if pageable:
            stream.synchronize()

    def fill(self, destination: DeviceArray, byte: int, stream: Stream) -> None:
        """See `DeviceLayer.fill`."""
        self.make_current()
        with _cuda_errors(f"filling {destination.nbytes:,} bytes"):
            if destination.nbytes:
                self._check(self._driver.cuMemsetD8Async(destination.pointer, byte, destination.nbytes, stream.handle))

    def launch(self, launch: Launch, stream: Stream) -> None:
        """See `DeviceLayer.launch`."""
        if launch.shared_bytes > _STATIC_SHARED_BYTES:
            raise BackendError(
                f"The kernel {launch.kernel} asks for {launch.shared_bytes:,} bytes of shared memory; "
                f"{_STATIC_SHARED_BYTES:,} is what every GPU grants."
            )
        self.make_current()
        kernel = self._kernel(launch.source, launch.kernel)
        with _cuda_errors(f"launching {launch.kernel}"):
            config = self._core.LaunchConfig(grid=launch.grid, block=launch.block, shmem_size=launch.shared_bytes)
            arguments = (_argument(argument) for argument in launch.arguments)
            self._core.launch(_native(stream), config, kernel, *arguments)

    @contextmanager
    def capture(self, stream: Stream) -> Iterator["CudaCapture"]:
        """See `DeviceLayer.capture`."""
        self.make_current()
        capture = CudaCapture()
        with _cuda_errors("starting to capture a graph"):
            builder = _native(stream).create_graph_builder()
        try:
            with _cuda_errors("starting to capture a graph"):
                # Other threads may go on allocating.
                builder.begin_building("thread_local")
            yield capture
            with _cuda_errors("ending the capture of a graph"):
                builder.end_building()
                capture.finished = CudaGraph(builder.complete())
        finally:
            with suppress(Exception):
                builder.close()
            self._abandon(stream)

    def synchronize(self) -> None:
        """See `DeviceLayer.synchronize`."""
        self.make_current()
        with _cuda_errors("waiting for the GPU"):
            self._device.sync()

    def _kernel(self, source: str, name: str) -> Any:
        """A kernel of a source, which is compiled and loaded once."""
        with self._compiling:
            if (source, name) in self._kernels:
                return self._kernels[source, name]
            if source not in self._modules:
                from mgts_trt.runtime.cuda.nvrtc import compile_kernels

                cubin = compile_kernels(source, int(self._sm.removeprefix("sm_")), cache=self._kernel_cache)
                with _cuda_errors(f"loading the kernels of {source}"):
                    self._modules[source] = self._core.ObjectCode.from_cubin(cubin, name=source)
            with _cuda_errors(f"loading {name} of {source}"):
                self._kernels[source, name] = self._modules[source].get_kernel(name)
            return self._kernels[source, name]

    def _capturing(self, stream: Stream) -> bool:
        status = self._check(self._driver.cuStreamIsCapturing(stream.handle))
        return bool(status != self._driver.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE)

    def _abandon(self, stream: Stream) -> None:
        """End a capture that failed: until then the stream refuses everything."""
        with suppress(Exception):
            if self._capturing(stream):
                _, graph = self._driver.cuStreamEndCapture(stream.handle)
                if int(graph):
                    self._driver.cuGraphDestroy(graph)

    def _check(self, answer: tuple[Any, ...]) -> Any:
        """The value of a driver call."""
        error, *values = answer
        if error != self._driver.CUresult.CUDA_SUCCESS:
            _, text = self._driver.cuGetErrorString(error)
            raise RuntimeError(f"{error.name}: {text.decode() if text else 'no text'}")
        return values[0] if values else None


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
        with _cuda_errors("recording an event"):
            self.native.record(mine.native)
        return mine

    def wait(self, event: Event) -> None:
        """See `Stream.wait`."""
        self.device.make_current()
        with _cuda_errors("waiting for an event"):
            self.native.wait(_native(event))

    def synchronize(self) -> None:
        """See `Stream.synchronize`."""
        self.device.make_current()
        with _cuda_errors("waiting for a stream"):
            self.native.sync()


class CudaEvent(Event):
    """See `Event`."""

    def __init__(self, native: Any) -> None:
        self.native = native

    @property
    def done(self) -> bool:
        """See `Event.done`."""
        with _cuda_errors("asking for an event"):
            return bool(self.native.is_done)

    def synchronize(self) -> None:
        """See `Event.synchronize`."""
        with _cuda_errors("waiting for an event"):
            self.native.sync()

    def elapsed_ms(self, start: Event) -> float:
        """See `Event.elapsed_ms`."""
        with _cuda_errors("timing two events"):
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
        with _cuda_errors("freeing GPU memory"):
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


class CudaGraph(Graph):
    """See `Graph`."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def launch(self, stream: Stream) -> None:
        """See `Graph.launch`."""
        with _cuda_errors("launching a graph"):
            self._native.launch(_native(stream))

    def close(self) -> None:
        """See `Graph.close`."""
        self._native.close()


class CudaCapture(Capture):
    """See `Capture`."""

    def __init__(self) -> None:
        self.finished: CudaGraph | None = None

    @property
    def graph(self) -> CudaGraph:
        """See `Capture.graph`."""
        if self.finished is None:
            raise BackendError("The capture has not ended, or has failed; there is no graph.")
        return self.finished


@contextmanager
def _cuda_errors(doing: str) -> Iterator[None]:
    """Say what was being done when CUDA failed."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # cuda.core's own, the loader's, ctypes'
        text = str(error).strip().splitlines()
        raise BackendError(
            f"CUDA failed in {doing}: {text[0].rstrip('.') if text else type(error).__name__}. "
            "`mgts-trt doctor` says what this machine can run."
        ) from error


def _native(wrapper: Any) -> Any:
    return wrapper.native


def _address(memory: Memory) -> int:
    return memory.ctypes.data if isinstance(memory, np.ndarray) else memory.pointer


def _argument(argument: Any) -> Any:
    """A kernel argument as `cuda.core` takes it: typed NumPy scalars as they are, addresses as int."""
    return argument if isinstance(argument, np.generic) else argument.address
