"""What is planned is what is taken, what cannot fit is refused, and pinned memory is freed in order."""

import gc

import numpy as np
import pytest

from mgts_trt.errors import BackendError
from mgts_trt.runtime.gpu import pool
from mgts_trt.runtime.gpu.engines import Shared
from mgts_trt.runtime.gpu.memory_plan import PICTURE
from tests.helpers.gpu_networks import assert_same, gpu_pipeline, reference, scene
from tests.helpers.simulated import SimulatedDevice


def live(pipeline, kind="device"):
    return sum(each.data.size for each in pipeline.device._memories if not each.freed and each.kind == kind)


@pytest.mark.parametrize("mode", ["none", "net", "box"])
@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize(("people", "size"), [(None, 1), (1, 1), (3, 2), (8, 4), (20, 4)])
def test_the_plan_is_what_pictures_take(mode, people, kernel, size):
    """But for rows of people and counters, which are small, and the picture itself, which has any size."""
    if kernel and mode == "none":
        pytest.skip("IDNet has no operator")
    options = {"pictures": min(size + 1, 4), "batch_size": size}  # the plans may take more
    pipeline = gpu_pipeline(mode, max_people=people, pictures_in_flight=2, kernel=kernel, **options)
    plan, loaded = pipeline.memory, live(pipeline)
    pipeline.warm_up(2, lambda *_: None, lambda: False)
    taken = live(pipeline) - loaded - 2 * size * scene(0).nbytes
    planned = plan.in_flight - 2 * size * PICTURE
    rows = 2 * (size * 80 + 64) * (4 * 4 * 3 + 4 * 2)
    assert planned <= taken <= planned + rows + 64 * size
    assert (plan.people, plan.pictures) == (people or 64, size)
    pipeline.close()


@pytest.mark.parametrize("people", [1, 3, 8])
def test_fewer_people_at_once_find_the_same_people_with_less_memory(people):
    small, whole = (gpu_pipeline("net", max_people=each) for each in (people, None))
    for pictured in (0, 1, 4, 9, 66):
        image = scene(pictured, seed=pictured)
        assert_same(small.search(image), reference("net")(image))
        whole.search(image)
    assert small.memory.workspace < whole.memory.workspace
    assert live(small) < live(whole)


def test_a_workspace_that_is_too_small_would_be_found_out(monkeypatch):
    monkeypatch.setattr(Shared, "workspace_bytes", {"detector": 1024, "mgts": 1024})
    with pytest.raises(BackendError, match="no workspace"):
        gpu_pipeline("box", max_people=32).search(scene(30))


def test_what_cannot_fit_is_refused_in_a_sentence_before_anything_is_allocated(monkeypatch):
    allocated = []
    allocate = SimulatedDevice.allocate
    monkeypatch.setattr(
        SimulatedDevice,
        "allocate",
        lambda self, size, stream: (allocated.append(size), allocate(self, size, stream))[1],
    )
    needed = gpu_pipeline("net", pictures_in_flight=3).memory.in_flight
    assert allocated == []
    with pytest.raises(BackendError, match=r"does not fit.*are free: .*plans 15 MiB.*each of 3 in flight"):
        gpu_pipeline("net", pictures_in_flight=3, available=needed - 1)
    assert allocated == []
    with pytest.raises(BackendError, match="fewer pictures_in_flight than 3 or a smaller max_people than 64"):
        gpu_pipeline("net", pictures_in_flight=3, available=needed - 1)
    for fits in ({"pictures_in_flight": 3, "available": needed}, {"pictures_in_flight": 2, "available": needed - 1}):
        assert len(gpu_pipeline("net", **fits).search(scene(2))) == 2


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_pictures_are_in_flight_than_were_asked_for(most):
    pipeline = gpu_pipeline("box", pictures_in_flight=most)
    images = [scene(people, seed=people) for people in (2, 0, 5, 3, 1)]
    stream = pipeline.stream(images, depth=9, top=None, errors="raise")
    # Between pictures of a stream there is room for a call.
    for image, got in zip(images, stream, strict=True):
        assert_same(got, reference("box")(image))
        assert len(pipeline.search(scene(4))) == 4
    assert len(pipeline._pool._free) == most


def test_a_stream_that_nobody_reads_is_named(monkeypatch):
    monkeypatch.setattr(pool, "PATIENCE", 0.05)
    pipeline = gpu_pipeline("box", pictures_in_flight=1)
    slot = pipeline._pool.take()
    with pytest.raises(BackendError, match=r"All 1 pictures in flight have been taken.*Take the results of streams"):
        pipeline.search(scene(1))
    pipeline._pool.give(slot)
    assert len(pipeline.search(scene(1))) == 1


def test_pinned_memory_is_freed_in_order_and_never_by_the_garbage_collector():
    pipeline = gpu_pipeline("net")
    for people, scale in ((3, 1), (70, 2), (5, 4), (1, 5)):  # crowds and pictures that outgrow what was there
        pipeline.search(scene(people, scale=scale))
        gc.collect()
    assert pipeline.device.unfreed == 0
    assert live(pipeline, "pinned") > 0
    boxes = np.tile(np.array([[0, 0, 8, 8]], np.float32), (200, 1))
    assert len(pipeline.embed(scene(1), boxes)) == 200
    pipeline.close()
    gc.collect()
    assert (live(pipeline, "pinned"), pipeline.device.unfreed) == (0, 0)


def test_results_outlive_the_memory_they_came_from():
    pipeline, wanted = gpu_pipeline("net"), reference("net")(scene(5))
    people = pipeline.search(scene(5))
    pipeline.close()
    assert_same(people, wanted)
