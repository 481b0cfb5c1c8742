"""Warming up on the simulated device: what is slow the first time is done, whatever picture comes then."""

import threading

import numpy as np
import pytest

from mgts_trt.errors import BackendError
from mgts_trt.runtime.gpu.engines import BatchEngine
from tests.helpers.gpu_networks import Engine, assert_same, gpu_pipeline, reference, scene
from tests.helpers.simulated_engine import SimulatedContext
from tests.helpers.simulated_graph import SimulatedGraph


def warm_up(pipeline, depth=2, on_progress=lambda *_: None, stop=lambda: False):
    pipeline.warm_up(depth, on_progress, stop)


@pytest.fixture
def first_times(monkeypatch):
    """What a picture would wait for: contexts made, engines run outside a graph, buffers moved."""
    seen = []

    def watch(owner, name):
        plain = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda self, *a, **k: (seen.append(name), plain(self, *a, **k))[1])

    watch(Engine, "create_context")
    watch(SimulatedContext, "enqueue")
    watch(BatchEngine, "move")
    return seen


@pytest.mark.parametrize("mode", ["none", "net", "box"])
@pytest.mark.parametrize(("kernel", "together"), [(False, 1), (True, 1), (True, 3)])
def test_after_it_no_picture_does_anything_for_the_first_time(first_times, mode, kernel, together):
    if kernel and mode == "none":
        pytest.skip("IDNet has no operator")
    options = {"kernel": kernel, "pictures": together, "batch_size": together}
    pipeline, search = gpu_pipeline(mode, **options), reference(mode)
    warm_up(pipeline)
    assert "create_context" in first_times
    first_times.clear()
    images = [scene(people, seed=people) for people in (0, 1, 2, 3, 5, 9, 17, 33, 66)]
    for image, got in zip(images, pipeline.stream(images, depth=2, top=None, errors="raise"), strict=True):
        assert_same(got, search(image), embeddings=1e-6 if kernel else 0)
    for count in (1, 2, 3):
        pipeline.batch(images[:count], top=None, errors="raise")
    assert first_times == []


def test_without_it_pictures_do(first_times):
    gpu_pipeline("box").search(scene(5))
    assert {"create_context", "enqueue"} <= set(first_times)


def test_without_graphs_each_point_is_run_once(first_times, monkeypatch):
    launched = []
    monkeypatch.setattr(SimulatedGraph, "launch", lambda *_: launched.append(1))
    pipeline = gpu_pipeline("box", graphs=False)
    told = []
    warm_up(pipeline, 1, lambda *step: told.append(step))
    assert told == [(done, 8) for done in range(1, 9)]  # seven batches, and detection
    first_times.clear()
    pipeline.search(scene(40))
    assert "create_context" not in first_times
    assert launched == []


@pytest.mark.parametrize("depth", [1, 3])
def test_it_tells_how_far_it_is(depth):
    told = []
    warm_up(gpu_pipeline("net"), depth, lambda *step: told.append(step))
    assert told == [(done, 16 * depth) for done in range(1, 16 * depth + 1)]


def test_it_stops_when_it_is_told_to():
    pipeline, told = gpu_pipeline("net"), []
    warm_up(pipeline, 3, lambda *step: told.append(step), lambda: len(told) >= 4)
    assert len(told) == 4
    assert_same(pipeline.search(scene(3)), reference("net")(scene(3)))
    pipeline.close()
    assert not any(memory.kind == "device" and not memory.freed for memory in pipeline.device._memories)


def test_closing_does_not_wait_for_its_end():
    pipeline, begun, told = gpu_pipeline("net"), threading.Event(), []

    def on_progress(*step):
        told.append(step)
        begun.set()
        pipeline._closing.wait(20)

    thread = threading.Thread(target=warm_up, args=(pipeline, 3, on_progress))
    thread.start()
    assert begun.wait(20)
    pipeline.close()
    thread.join(20)
    assert not thread.is_alive()
    assert len(told) == 1
    with pytest.raises(BackendError, match="closed"):
        warm_up(pipeline)


def test_what_fails_is_raised_and_freed(monkeypatch):
    pipeline = gpu_pipeline("box")
    plain = SimulatedContext.enqueue

    def fail(self, stream):
        if self.engine.name == "mgts":
            raise BackendError("no kernel")
        plain(self, stream)

    monkeypatch.setattr(SimulatedContext, "enqueue", fail)
    with pytest.raises(BackendError, match="no kernel"):
        warm_up(pipeline)
    assert [engine.open_contexts for engine in pipeline.engines.values()] == [0, 0]
    monkeypatch.undo()
    assert len(pipeline.search(scene(2))) == 2


def test_caches_are_saved_by_no_thread_that_searches(monkeypatch):
    saved = []
    monkeypatch.setattr(Engine, "has_cache", property(lambda _: True, lambda *_: None))
    monkeypatch.setattr(Engine, "save_cache", lambda self: saved.append((self.name, threading.current_thread())))
    pipeline = gpu_pipeline("box")
    for people in (1, 9, 30):
        pipeline.search(scene(people))
    warm_up(pipeline)
    assert {name for name, _ in saved} == {"detector", "mgts"}, "and it returns when they are saved"
    assert threading.current_thread() not in {thread for _, thread in saved}
    saved.clear()
    for people in (1, 9, 64):
        np.testing.assert_array_equal(len(pipeline.search(scene(people))), people)
    pipeline.close()
    assert saved == [], "nothing new was compiled"
