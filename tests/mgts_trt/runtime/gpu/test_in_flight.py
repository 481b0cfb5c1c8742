"""Several pictures at once: order, back-pressure, pictures that fail, threads, and endings at any time."""

import gc
import itertools
import threading

import numpy as np
import pytest

from mgts_trt.errors import BackendError, ImageError
from mgts_trt.runtime.gpu.gpu_pipeline import CALLS
from mgts_trt.runtime.gpu.slot import Slot
from tests.helpers.gpu_networks import CANVAS, Context, assert_same, gpu_pipeline, noise, reference, scene

PICTURES = [scene(people, seed=people, scale=1 + people % 3) for people in (3, 0, 9, 1, 66, 4, 12, 5)]


@pytest.fixture(scope="module")
def wanted():
    search = reference("net")
    return [search(image) for image in PICTURES]


def stream(pipeline, images, depth=2, top=None, errors="raise"):
    return pipeline.stream(images, depth=depth, top=top, errors=errors)


def live_memory(pipeline):
    return sum(memory.data.size for memory in pipeline.device._memories if not memory.freed and memory.kind == "device")


def all_is_over(pipeline):
    """Nothing runs on the device, all of its memory is free, and no context is open."""
    pipeline.close()
    for plan in pipeline.engines.values():
        plan.close()
    assert not pipeline.device._pending
    assert live_memory(pipeline) == 0
    engines = [engine for plan in pipeline.engines.values() for engine in getattr(plan, "engines", (plan,))]
    assert [engine.open_contexts for engine in engines] == [0] * len(engines)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("seed", range(3))
def test_results_come_in_order_at_any_depth(wanted, depth, seed):
    pipeline = gpu_pipeline("net", seed)
    results = list(stream(pipeline, PICTURES * 2, depth))
    assert len(results) == 16
    for got, expected in zip(results, wanted * 2, strict=True):
        assert_same(got, expected)
    all_is_over(pipeline)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_source_is_read_as_far_as_pictures_are_in_flight(depth):
    read = []
    pipeline = gpu_pipeline("box")
    results = stream(pipeline, (read.append(i) or scene(2) for i in range(12)), depth)
    assert read == []
    for done in range(1, 13):
        next(results)
        assert len(read) == min(done - 1 + depth, 12)
    assert list(results) == []
    assert len(pipeline._pool._free) == depth


def test_pictures_overlap():
    """With two in flight, the second's upload is queued before the first's result is waited for."""
    pipeline = gpu_pipeline("net")
    log = []
    load, wait = Slot.load, Slot.wait
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slot, "load", lambda self, *a: (log.append("load"), load(self, *a))[1])
        patch.setattr(Slot, "wait", lambda self: (log.append("wait"), wait(self))[1])
        list(stream(pipeline, PICTURES[:3], 2))
    assert log == ["load", "load", "wait", "load", "wait", "wait"]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_picture_that_fails_fails_alone(wanted, depth):
    pipeline = gpu_pipeline("net")
    images = [PICTURES[0], np.zeros((3, 3)), PICTURES[2], "no picture", PICTURES[3]]
    returned = list(stream(pipeline, images, depth, errors="return"))
    assert [type(each).__name__ for each in returned] == ["People", "ImageError", "People", "ImageError", "People"]
    for place in (0, 2, 4):
        assert_same(returned[place], wanted[(0, None, 2, None, 3)[place]])
    results = stream(pipeline, images, depth)
    for place in range(5):
        if place % 2:
            with pytest.raises(ImageError):
                next(results)
        else:
            next(results)
    assert list(results) == []
    all_is_over(pipeline)


@pytest.mark.parametrize("errors", ["raise", "return"])
def test_what_the_source_raises_is_raised_at_its_place(errors):
    class Source:
        def __init__(self):
            self.items = iter([scene(1), OSError("camera"), scene(2)])

        def __iter__(self):
            return self

        def __next__(self):
            item = next(self.items)
            if isinstance(item, Exception):
                raise item
            return item

    results = stream(gpu_pipeline("box"), Source(), 3, errors=errors)
    assert len(next(results)) == 1
    with pytest.raises(OSError, match="camera"):
        next(results)
    assert len(next(results)) == 2
    assert list(results) == []


@pytest.mark.parametrize("where", ["detector", "masknet", "mgts", "headless", "se_head_embed"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_device_that_fails_once_costs_one_picture(monkeypatch, wanted, where, depth):
    in_chain = where in ("headless", "se_head_embed")
    pipeline = gpu_pipeline("net", graphs=False, kernel=in_chain)
    enqueue, launch, calls = Context.enqueue, pipeline.device.launch, []

    def count(name):
        if name == where:
            calls.append(name)
            if len(calls) == 2:
                raise BackendError("out of memory")

    monkeypatch.setattr(Context, "enqueue", lambda self, queue: (count(self.engine.name), enqueue(self, queue)))
    monkeypatch.setattr(pipeline.device, "launch", lambda each, queue: (count(each.kernel), launch(each, queue)))
    images, expected = (list(itertools.islice(each, 0, 4)) for each in (PICTURES[2:], wanted[2:]))
    results = list(stream(pipeline, images, depth, errors="return"))
    failed = [place for place, each in enumerate(results) if isinstance(each, BackendError)]
    assert len(failed) == 1
    for place, (got, good) in enumerate(zip(results, expected, strict=True)):
        if place not in failed:
            assert_same(got, good, embeddings=1e-6 if in_chain else 0)
    all_is_over(pipeline)


@pytest.mark.parametrize(("options", "message"), [({"depth": 0}, "depth is 0"), ({"errors": "skip"}, "'skip'")])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(BackendError, match=message):
        stream(gpu_pipeline("box"), [], **options)


# Endings.


def close_stream(pipeline, results):
    results.close()
    results.close()
    assert list(results) == []


def drop_stream(pipeline, results):
    pass


def close_pipeline(pipeline, results):
    pipeline.close()
    with pytest.raises(BackendError, match="closed while it was in use"):
        next(results)
    assert list(results) == []


def close_elsewhere(pipeline, results):
    thread = threading.Thread(target=pipeline.close)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    with pytest.raises(BackendError, match="closed while it was in use"):
        list(results)


def interrupt(pipeline, results):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slot, "wait", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            next(results)
    assert list(results) == []


@pytest.mark.parametrize("end", [close_stream, drop_stream, close_pipeline, close_elsewhere, interrupt])
@pytest.mark.parametrize("taken", [1, 3])
def test_an_end_in_mid_flight_leaves_nothing_running(end, taken):
    pipeline = gpu_pipeline("net", seed=taken)
    results = stream(pipeline, itertools.cycle(PICTURES), 3)
    for _ in range(taken):
        next(results)
    end(pipeline, results)
    del results
    gc.collect()
    if end in (close_stream, drop_stream):
        assert len(pipeline.search(scene(4))) == 4
    all_is_over(pipeline)


@pytest.mark.parametrize("stage", ["load", "detect", "describe", "wait", "people"])
def test_ctrl_c_in_a_call_leaves_nothing_running(monkeypatch, stage):
    pipeline = gpu_pipeline("net")
    pipeline.search(scene(3))
    original = getattr(Slot, stage)

    def interrupted(self, *arguments):
        original(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Slot, stage, interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.search(scene(9))
    assert not pipeline.device._pending
    assert len(pipeline.search(scene(9))) == 9
    all_is_over(pipeline)


def test_a_closed_pipeline_refuses():
    pipeline = gpu_pipeline("box")
    all_is_over(pipeline)
    all_is_over(pipeline)
    with pytest.raises(BackendError, match="closed"):
        pipeline.search(scene(1))
    with pytest.raises(BackendError, match="closed"):
        next(stream(pipeline, [scene(1)]))


def test_a_slot_that_cannot_be_made_leaves_no_memory(monkeypatch):
    pipeline = gpu_pipeline("net")
    pipeline.search(scene(1))
    used = live_memory(pipeline)
    engine = pipeline.engines["masknet"]
    with monkeypatch.context() as patch:
        patch.setattr(engine, "create_context", lambda: (_ for _ in ()).throw(BackendError("out of memory")))
        first, second = stream(pipeline, [scene(1), scene(2)], 2, errors="return")
    assert len(first) == 1
    assert "out of memory" in str(second)
    pipeline.device.synchronize()
    assert live_memory(pipeline) == used
    all_is_over(pipeline)


# Threads.


def in_threads(count, work):
    failures = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    return failures


@pytest.mark.parametrize("kernel", [False, True])
def test_eight_threads_share_a_pipeline(wanted, kernel):
    pipeline, most, near = gpu_pipeline("net", kernel=kernel), [], 1e-6 if kernel else 0

    def work(number):
        for place in range(number, number + 4):
            assert_same(pipeline.search(PICTURES[place % 8]), wanted[place % 8], embeddings=near)
            most.append(pipeline._pool._taken)
        if number % 4 == 0:
            # Calls inside a stream do not wait for its slots.
            for got, expected in zip(stream(pipeline, PICTURES[:3], 2), wanted, strict=False):
                assert_same(got, expected, embeddings=near)
                pipeline.search(PICTURES[0])

    assert in_threads(8, work) == []
    # Calls, and two streams of two.
    assert max(most) <= CALLS + 4
    all_is_over(pipeline)


def test_closing_waits_for_the_calls_of_others():
    pipeline = gpu_pipeline("net")
    begun = threading.Event()

    def work(number):
        if number == 0:
            begun.wait(60)
            pipeline.close()
            return
        while True:
            pipeline.search(scene(9))
            begun.set()

    failures = in_threads(4, work)
    assert [type(error) for error in failures] == [BackendError] * 3
    assert all("closed" in str(error) for error in failures)
    all_is_over(pipeline)


@pytest.mark.slow
def test_memory_is_flat_over_300_pictures():
    pipeline = gpu_pipeline("net")
    random = np.random.default_rng(0)
    pictures = [scene(int(people), seed=i) for i, people in enumerate(random.integers(0, 20, 20))]
    pictures += [noise(int(h), int(w)) for h, w in random.integers(1, 60, (5, 2))] + [scene(70), noise(60, 60)]
    used = []
    source = (pictures[i % len(pictures)] for i in range(300))
    for done, _ in enumerate(stream(pipeline, source, 2), 1):
        if done in (100, 299):
            pipeline.device.synchronize()
            used.append((live_memory(pipeline), [engine.open_contexts for engine in pipeline.engines.values()]))
    assert used[0] == used[1]
    assert CANVAS[0] < used[0][0]
    all_is_over(pipeline)
