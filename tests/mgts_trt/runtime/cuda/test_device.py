"""What every device layer keeps to: the same tests on the simulated device and, where there is one, on a GPU."""

from dataclasses import replace

import numpy as np
import pytest

from mgts_trt.errors import BackendError
from tests.helpers.simulated import SimulatedDevice


def gpu():
    from mgts_trt.runtime.cuda.nvidia import CudaDevice

    return CudaDevice()


@pytest.fixture(params=[0, 1, 2, pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    return gpu() if request.param == "gpu" else SimulatedDevice(request.param)


def upload(device, values, stream):
    """A device array of these values, through pinned memory that the caller must keep until it waits."""
    values = np.asarray(values)
    staged = device.pinned(values.shape, values.dtype)
    staged.array[...] = values
    array = device.array(values.shape, values.dtype, stream)
    device.copy(array, staged, stream)
    return array, staged


def download(device, array, stream):
    staged = device.pinned(array.shape, array.dtype)
    device.copy(staged, array, stream)
    stream.synchronize()
    return staged.array.copy()


def test_values_travel_to_the_device_and_back(device):
    stream = device.stream()
    values = np.arange(24, dtype=np.float32).reshape(6, 4)
    array, _staged = upload(device, values, stream)
    other = device.array(array.shape, array.dtype, stream)
    device.fill(other, 0, stream)
    device.copy(other.rows(2, 5), array.rows(0, 3), stream)
    assert array.pointer % 256 == 0
    np.testing.assert_array_equal(download(device, array, stream), values)
    np.testing.assert_array_equal(download(device, other, stream)[:, 0], [0, 0, 0, 4, 8, 0])
    np.testing.assert_array_equal(download(device, array.rows(4, 6), stream), values[4:])


def test_pageable_memory_is_copied_before_the_call_returns(device):
    stream = device.stream()
    values = np.arange(5, dtype=np.int32)
    array = device.array((5,), np.int32, stream)
    device.copy(array, values, stream)
    values[:] = -1
    back = np.empty(5, np.int32)
    device.copy(back, array, stream)
    assert back.tolist() == [0, 1, 2, 3, 4]


def test_an_empty_array_is_no_special_case(device):
    stream = device.stream()
    array, _staged = upload(device, np.empty((0, 4), np.float32), stream)
    device.fill(array, 1, stream)
    assert download(device, array, stream).shape == (0, 4)


def test_an_event_orders_two_streams(device):
    first, second = device.stream(), device.stream()
    array, _staged = upload(device, np.arange(8), first)
    second.wait(first.record())
    np.testing.assert_array_equal(download(device, array, second), np.arange(8))


def test_an_event_that_was_never_recorded_holds_nobody_up(device):
    stream, event = device.stream(), device.event()
    stream.wait(event)
    stream.synchronize()
    assert event.done


def test_an_event_is_done_at_some_time(device):
    stream = device.stream()
    array = device.array((1 << 16,), np.uint8, stream)
    start, end = device.event(timed=True), device.event(timed=True)
    stream.record(start)
    device.fill(array, 1, stream)
    stream.record(end)
    while not end.done:
        pass
    assert end.elapsed_ms(start) >= 0


@pytest.mark.parametrize("wrap", ["handle", "protocol", "self"])
def test_a_callers_stream_is_used_as_it_is(device, wrap):
    mine = device.stream()
    theirs = {
        "handle": mine.handle,
        "protocol": type("Theirs", (), {"__cuda_stream__": lambda self: (0, mine.handle)})(),
        "self": mine,
    }[wrap]
    wrapped = device.wrap_stream(theirs)
    array, _staged = upload(device, np.arange(3), wrapped)
    assert wrapped.handle == mine.handle == wrapped.__cuda_stream__()[1]
    assert download(device, array, mine).tolist() == [0, 1, 2]


def test_a_graph_repeats_two_streams_work_on_the_same_memory(device):
    main, side = device.stream(), device.stream()
    first, staged = upload(device, np.array([1, 2], np.int32), main)
    second = device.array((2,), np.int32, main)
    third = device.array((2,), np.int32, main)
    result = device.pinned((2, 2), np.int32)
    main.synchronize()
    with device.capture(main) as capture:
        device.copy(first, staged, main)
        side.wait(main.record())
        device.copy(second, first, side)
        device.copy(third, first, main)
        main.wait(side.record())
        device.copy(result.rows(0, 1), _as_row(second), main)
        device.copy(result.rows(1, 2), _as_row(third), main)
    for values in ([3, 4], [5, 6]):
        staged.array[:] = values
        capture.graph.launch(main)
        main.synchronize()
        assert result.array.tolist() == [values, values]
    capture.graph.close()
    capture.graph.close()


def _as_row(array):
    return replace(array, shape=(1, *array.shape))


@pytest.mark.parametrize("mistake", ["own error", "host waits", "pageable"])
def test_a_capture_that_fails_leaves_the_stream_usable(device, mistake):
    stream = device.stream()
    array = device.array((4,), np.uint8, stream)
    stream.synchronize()

    def fail():
        with device.capture(stream) as capture:
            device.fill(array, 7, stream)
            if mistake == "host waits":
                stream.synchronize()
            elif mistake == "pageable":
                device.copy(array, np.zeros(4, np.uint8), stream)
            else:
                raise BackendError("mine")
        return capture

    with pytest.raises(BackendError):
        fail()
    device.fill(array, 9, stream)
    assert download(device, array, stream).tolist() == [9] * 4
    with device.capture(stream) as capture:
        device.fill(array, 5, stream)
    capture.graph.launch(stream)
    assert download(device, array, stream).tolist() == [5] * 4


def test_a_capture_has_no_graph_before_it_ends(device):
    stream = device.stream()
    with device.capture(stream) as capture, pytest.raises(BackendError, match="not ended"):
        _ = capture.graph


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 3), np.float32), ((3, 2), np.float32), ((6,), np.float32), ((3, 3), np.float16)],
)
def test_a_copy_that_does_not_fit_is_refused(device, shape, dtype):
    stream = device.stream()
    array = device.array((3, 3), np.float32, stream)
    with pytest.raises(BackendError, match=r"to float32 \[3, 3\]: shape and type must be the same"):
        device.copy(array, np.zeros(shape, dtype), stream)


def test_a_host_array_with_gaps_is_refused(device):
    stream = device.stream()
    with pytest.raises(BackendError, match="not contiguous"):
        device.copy(device.array((3,), np.uint8, stream), np.zeros(6, np.uint8)[::2], stream)


def test_rows_beyond_the_end_are_refused(device):
    with pytest.raises(BackendError, match=r"rows 2…5 in float32 \[4, 2\]"):
        device.array((4, 2), np.float32, device.stream()).rows(2, 5)


@pytest.mark.gpu
def test_a_kernel_of_this_package_runs_on_the_gpu(public_photos):
    from mgts_trt.pictures.image import read_image
    from mgts_trt.runtime.cuda.launch import Pointer
    from mgts_trt.runtime.gpu.kernels import letterbox
    from mgts_trt.stages.letterbox import Letterbox

    device = gpu()
    stream = device.stream()
    picture = read_image(public_photos[0])
    geometry = Letterbox(picture.shape[:2], (320, 480))
    image, _staged = upload(device, picture, stream)
    canvas = device.array((320, 480, 3), np.uint8, stream)
    device.launch(letterbox(geometry, Pointer(image.pointer), 3 * picture.shape[1], Pointer(canvas.pointer)), stream)
    difference = download(device, canvas, stream).astype(int) - geometry.apply(picture, (0, 0, 0))
    assert np.abs(difference).max() <= 1


@pytest.mark.gpu
def test_a_gpu_that_is_not_there():
    from mgts_trt.runtime.cuda.nvidia import CudaDevice

    with pytest.raises(BackendError, match="opening GPU 99"):
        CudaDevice(99)
