"""Every wait is needed: without it, the simulated device finds the race."""

import numpy as np
import pytest

from mgts_trt.errors import ImageError
from tests.helpers.clocks import RaceError
from tests.helpers.gpu_networks import assert_same, gpu_pipeline, noise, reference, scene
from tests.helpers.simulated import SimulatedEvent, SimulatedStream

WAITS = {
    "the mask net for the canvas": (SimulatedStream, "wait", 0),
    "separation for the instance map": (SimulatedStream, "wait", 1),
    "the end for the map's copy": (SimulatedStream, "wait", 2),
    "the host for the count": (SimulatedEvent, "synchronize", 0),
    "the host for the results": (SimulatedEvent, "synchronize", 1),
}


def without(monkeypatch, kind, method, which):
    """Leave out one of the calls of a method; returns the list of calls."""
    calls, original = [], getattr(kind, method)

    def call(self, *arguments):
        calls.append(self)
        if len(calls) - 1 != which:
            original(self, *arguments)

    monkeypatch.setattr(kind, method, call)
    return calls


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("guard", WAITS)
def test_each_wait_is_needed(monkeypatch, guard, graphs):
    pipeline = gpu_pipeline("net", graphs=graphs)
    for _ in range(3):
        pipeline.search(scene(9))
    without(monkeypatch, *WAITS[guard])
    with pytest.raises(RaceError, match="nothing orders the two"):
        pipeline.search(scene(9))


@pytest.mark.parametrize("kernel", [False, True])
def test_no_other_waits_are_there(monkeypatch, kernel):
    pipeline = gpu_pipeline("net", kernel=kernel)
    pipeline.search(scene(9))
    for kind, method in ((SimulatedStream, "wait"), (SimulatedEvent, "synchronize")):
        with monkeypatch.context() as patch:
            calls = without(patch, kind, method, None)
            pipeline.search(scene(9))
        assert len(calls) == sum(entry[:2] == (kind, method) for entry in WAITS.values())


def on_device(pipeline, image):
    """A picture in device memory that a stream of the caller's is still writing, and that stream."""
    theirs = pipeline.device.stream()
    source = pipeline.device.pinned(image.shape, image.dtype)
    source.array[...] = image
    array = pipeline.device.array(image.shape, image.dtype, theirs)
    pipeline.device.copy(array, source, theirs)
    return array, theirs


class Foreign:
    """Another library's array, which does not name its stream."""

    def __init__(self, array, **changes):
        self.owner = array
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **changes}
        del self.__cuda_array_interface__["stream"]


@pytest.mark.parametrize("seed", range(4))
def test_a_callers_stream_is_waited_for_on_the_device(seed):
    pipeline, search, image = gpu_pipeline("net", seed), reference("net"), noise(60, 70)
    array, theirs = on_device(pipeline, image)
    assert_same(pipeline.search(Foreign(array), stream=theirs), search(image))
    array, theirs = on_device(pipeline, image)
    boxes = np.array([[3.0, 4, 20, 40]])
    assert_same(pipeline.embed(Foreign(array), boxes, stream=theirs), search.embed(image, boxes))
    array, theirs = on_device(pipeline, image)
    assert_same(pipeline.search(array.on(theirs)), search(image))
    array, _ = on_device(pipeline, image)
    with pytest.raises(RaceError):
        pipeline.search(Foreign(array))


def test_a_picture_on_the_device_goes_through_no_host(monkeypatch):
    pipeline = gpu_pipeline("box")
    array, theirs = on_device(pipeline, noise(40, 40))
    copies = []
    copy = pipeline.device.copy
    monkeypatch.setattr(
        pipeline.device, "copy", lambda to, source, stream: (copies.append((to, source)), copy(to, source, stream))
    )
    pipeline.search(array, stream=theirs)
    assert all(to.pointer != array.pointer and source.pointer != array.pointer for to, source in copies)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (8, 4)}, r"uint8 \[8, 4\], but an image is uint8 \[H, W, 3\]"),
        ({"typestr": "<f4", "shape": (2, 2, 3)}, r"float32 \[2, 2, 3\], but an image is uint8"),
        ({"shape": (0, 4, 3)}, "with at least one pixel"),
        ({"strides": (1, 8, 64)}, "not contiguous"),
    ],
)
def test_arrays_on_the_device_that_are_no_pictures_are_refused(changes, message):
    pipeline = gpu_pipeline("box")
    array, theirs = on_device(pipeline, noise(8, 8))
    with pytest.raises(ImageError, match=message):
        pipeline.search(Foreign(array, **changes), stream=theirs)
    assert len(pipeline.search(scene(8))) == 8
