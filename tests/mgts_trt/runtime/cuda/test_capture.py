"""Captures through the driver's calls, on a driver that refuses; the simulated device and a GPU are in test_device."""

import inspect
from types import SimpleNamespace

import pytest

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.driver import Driver
from mgts_trt.runtime.cuda.nvidia import CudaDevice, CudaStream
from tests.helpers.refusing_driver import NONE, Code, RefusingDriver


class Crash(BaseException):
    """Where the process would end."""


class CoreStream:
    """A stream of `cuda.core` 1.2, whose graph builder takes the process down with it when a capture is refused."""

    handle = 7

    def create_graph_builder(self):
        raise Crash


@pytest.fixture
def driver():
    return RefusingDriver()


@pytest.fixture
def device(driver):
    """The GPU's device layer on that driver, made without asking for a GPU."""
    device = object.__new__(CudaDevice)
    device._core = SimpleNamespace(Device=lambda ordinal: SimpleNamespace(set_current=lambda: None))
    device._ordinal, device._driver = 0, Driver(driver)
    return device


@pytest.fixture
def stream(device):
    return CudaStream(device, CoreStream())


def test_what_is_captured_is_launched_and_freed(device, stream, driver):
    with device.capture(stream) as capture, pytest.raises(BackendError, match="not ended"):
        _ = capture.graph
    graph = capture.graph
    graph.launch(stream)
    graph.launch(stream)
    assert driver.launched == ["executable 2"] * 2
    graph.close()
    graph.close()
    assert driver.alive == []
    with pytest.raises(BackendError, match="closed; capture it again"):
        graph.launch(stream)


REFUSALS = {
    "begin": ("cuStreamBeginCapture", "starting to capture a graph: CUDA_ERROR_.*: text of CUDA_ERROR"),
    "instantiate": ("cuGraphInstantiate", "making a captured graph ready: CUDA_ERROR_"),
    "inside": (None, "ending the capture of a graph: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
}


@pytest.mark.parametrize("where", REFUSALS)
def test_a_refused_capture_is_an_error_and_leaves_the_stream_usable(device, stream, driver, where):
    call, message = REFUSALS[where]
    if call:
        driver.refuse[call] = Code("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
    with pytest.raises(BackendError, match=message), device.capture(stream):
        _ = where == "inside" and driver.forbidden_call()
    assert (driver.state, driver.alive) == (NONE, [])
    driver.refuse.clear()
    with device.capture(stream) as capture:
        pass
    assert capture.graph


@pytest.mark.parametrize("invalid", [False, True])
def test_the_blocks_own_error_is_the_one_that_is_told(device, stream, driver, invalid):
    def work():
        if invalid:
            driver.forbidden_call()
        raise BackendError("mine")

    with pytest.raises(BackendError, match="mine"), device.capture(stream):
        work()
    assert (driver.state, driver.alive) == (NONE, [])


def test_the_real_driver_has_these_calls_with_as_many_arguments():
    real = pytest.importorskip("cuda.bindings.driver")
    for name, fake in vars(RefusingDriver).items():
        if not name.startswith("cu") or name == "cuGetErrorString":
            continue
        # The first line of a binding's docstring is its signature.
        signature = getattr(real, name).__doc__.splitlines()[0]
        assert signature.count(",") + 1 == len(inspect.signature(fake).parameters) - 1, signature
    for enum in ("CUresult", "CUstreamCaptureMode", "CUstreamCaptureStatus"):
        assert set(vars(getattr(RefusingDriver, enum))) <= set(dir(getattr(real, enum))), enum
