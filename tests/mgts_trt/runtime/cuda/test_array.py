"""Arrays of other libraries in, and ours out."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.array import as_device_array, is_device_array
from mgts_trt.runtime.cuda.streams import stream_handle
from tests.helpers.clocks import RaceError
from tests.helpers.simulated import SimulatedDevice


class Foreign:
    """Another library's array in device memory."""

    def __init__(self, array, where=(2, 0), **changes):
        self.memory = array
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **changes}
        self._where = where

    def __dlpack_device__(self):
        return self._where


@pytest.fixture
def device():
    return SimulatedDevice()


@pytest.mark.parametrize(
    ("stream", "handle"),
    [
        (7, 7),
        (SimpleNamespace(cuda_stream=8), 8),
        (SimpleNamespace(ptr=9), 9),
        (SimpleNamespace(handle=10), 10),
        (SimpleNamespace(__cuda_stream__=lambda: (0, 11)), 11),
        (SimpleNamespace(__cuda_stream__=(0, 12)), 12),
    ],
)
def test_streams_of_every_library_have_a_handle(stream, handle):
    assert stream_handle(stream) == handle


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("default", "str is not a CUDA stream"),
        (None, "NoneType is not a CUDA stream"),
        (True, "bool is not"),
        (SimpleNamespace(handle=print), "is not a CUDA stream"),
        (SimpleNamespace(__cuda_stream__=lambda: (3, 1)), "version 3"),
    ],
)
def test_what_is_no_stream_is_refused(stream, message):
    with pytest.raises(BackendError, match=message):
        stream_handle(stream)


def test_a_foreign_array_is_used_where_it_is_and_kept_alive(device):
    stream = device.stream()
    foreign = Foreign(device.array((2, 3), np.float32, stream), strides=(12, 4))
    alive = weakref.ref(foreign)
    taken = as_device_array(foreign, device, stream)
    assert (taken.pointer, taken.shape, taken.dtype) == (foreign.memory.pointer, (2, 3), np.float32)
    assert is_device_array(foreign)
    del foreign
    gc.collect()
    assert alive() is not None
    del taken
    gc.collect()
    assert alive() is None


def test_the_producers_stream_is_waited_for(device):
    producer, consumer = device.stream(), device.stream()
    array = device.array((4,), np.uint8, producer)
    device.fill(array, 3, producer)
    back = device.pinned((4,), np.uint8)
    with pytest.raises(RaceError):
        device.copy(back, array, consumer)
    for source in (Foreign(array), array):
        device.fill(array, 3, producer)
        taken = as_device_array(source, device, consumer)
        device.copy(back, taken, consumer)
        producer.wait(consumer.record())
    consumer.synchronize()
    assert set(back.array) == {3}


def test_an_array_tells_other_libraries_its_stream(device):
    stream = device.stream()
    array = device.array((2,), np.float16, stream)
    interface = array.__cuda_array_interface__
    assert (interface["stream"], interface["typestr"], interface["version"]) == (stream.handle, "<f2", 3)
    assert array.on(device.wrap_stream(0)).__cuda_array_interface__["stream"] == 1
    assert array.rows(0, 0).__cuda_array_interface__["data"] == (0, False)
    assert array.__dlpack_device__() == (2, 0)


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"strides": (24, 8)}, (2, 0), r"picture has the strides \[6, 2\] \(elements\), \[3, 1\] expected"),
        ({"strides": (4, 8)}, (2, 0), "not contiguous"),
        ({"mask": object()}, (2, 0), "has a mask"),
        ({}, (2, 1), "picture is on GPU 1, expected GPU 0"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_by_name(device, changes, where, message):
    stream = device.stream()
    foreign = Foreign(device.array((2, 3), np.float32, stream), where, **changes)
    with pytest.raises(BackendError, match=message):
        as_device_array(foreign, device, stream, what="picture")


@pytest.mark.parametrize("strides", [(99, 4), (12, 4)])
def test_the_stride_of_a_single_row_does_not_matter(device, strides):
    stream = device.stream()
    foreign = Foreign(device.array((1, 3), np.float32, stream), strides=strides)
    assert as_device_array(foreign, device, stream).shape == (1, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.zeros(3), r"not in CUDA device memory \(DLPack's device type 1\)"), ([1, 2], "list, which offers neither")],
)
def test_host_memory_is_refused(device, array, message):
    assert not is_device_array(array)
    with pytest.raises(BackendError, match=message):
        as_device_array(array, device, device.stream())


@pytest.mark.gpu
@pytest.mark.parametrize("library", ["torch", "cupy", "pycuda.gpuarray"])
def test_other_libraries_read_and_write_the_same_memory(library):
    module = pytest.importorskip(library)
    if library == "pycuda.gpuarray":
        pytest.importorskip("pycuda.autoprimaryctx")
    from mgts_trt.runtime.cuda.nvidia import CudaDevice

    gpu = CudaDevice()
    stream = gpu.stream()
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    theirs = {
        "torch": lambda: module.from_numpy(values).cuda(),
        "cupy": lambda: module.asarray(values),
        "pycuda.gpuarray": lambda: module.to_gpu(values),
    }[library]()
    taken = as_device_array(theirs, gpu, stream)
    back = np.empty_like(values)
    gpu.copy(back, taken, stream)
    np.testing.assert_array_equal(back, values)

    ours = gpu.array((2, 3), np.float32, stream)
    gpu.copy(ours, values + 1, stream)
    if library == "torch":
        for seen in (module.as_tensor(ours, device="cuda"), module.from_dlpack(ours)):
            np.testing.assert_array_equal(seen.cpu().numpy(), values + 1)
    elif library == "cupy":
        for seen in (module.asarray(ours), module.from_dlpack(ours)):
            np.testing.assert_array_equal(module.asnumpy(seen), values + 1)
