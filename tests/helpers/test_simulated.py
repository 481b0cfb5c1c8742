"""That the simulated device finds each mistake a scheduler can make, and none in work that is right."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgts_trt.runtime.cuda.launch import Launch, Pointer
from tests.helpers.clocks import (
    BadAddressError,
    CaptureError,
    RaceError,
    SchedulingError,
    UseAfterFreeError,
)
from tests.helpers.simulated import SimulatedDevice

SIZE = 8


@pytest.fixture
def bench():
    """A device, two streams, and memory written on the first."""
    device = SimulatedDevice(seed=3)
    first, second = device.stream(), device.stream()
    array = device.array((SIZE,), np.uint8, first)
    device.fill(array, 1, first)
    pinned = device.pinned((SIZE,), np.uint8)
    return SimpleNamespace(device=device, first=first, second=second, array=array, pinned=pinned)


def double(device):
    """A kernel y = 2x on `n` bytes."""

    def function(x, y, n):
        y[:n] = 2 * x[:n]

    device.kernel(
        "double", function, reads=[0], writes=[1], extents=lambda each: dict.fromkeys((0, 1), each.arguments[2])
    )
    return lambda x, y: Launch("double", "x.cu", (1, 1, 1), (1, 1, 1), 0, (Pointer(x), Pointer(y), np.int32(SIZE)))


# Races: each pair of accesses that needs an event, without it.


def read_elsewhere(b):
    b.device.copy(b.pinned, b.array, b.second)


def write_elsewhere(b):
    b.device.fill(b.array, 2, b.second)


def kernel_elsewhere(b):
    other = b.device.array((SIZE,), np.uint8, b.second)
    b.device.launch(double(b.device)(b.array.pointer, other.pointer), b.second)


def free_elsewhere(b):
    b.array.owner.free(b.second)


def event_recorded_too_early(b):
    event = b.first.record()
    b.device.fill(b.array, 3, b.first)
    b.second.wait(event)
    read_elsewhere(b)


def event_never_recorded(b):
    b.second.wait(b.device.event())
    read_elsewhere(b)


def wait_after_the_use(b):
    done = b.first.record()
    read_elsewhere(b)
    b.second.wait(done)


def host_reads_results_too_early(b):
    b.device.copy(b.pinned, b.array, b.first)
    b.pinned.array.sum()


def host_waits_for_another_stream(b):
    b.device.copy(b.pinned, b.array, b.first)
    b.second.synchronize()
    b.pinned.array.sum()


def host_refills_staging_too_early(b):
    b.device.copy(b.array, b.pinned, b.first)
    b.pinned.array[:] = 2


def staging_of_two_images(b):
    b.device.copy(b.pinned, b.array, b.first)
    other = b.device.array((SIZE,), np.uint8, b.second)
    b.device.copy(other, b.pinned, b.second)


@pytest.mark.parametrize(
    "mistake",
    [
        read_elsewhere, write_elsewhere, kernel_elsewhere, free_elsewhere, event_recorded_too_early,
        event_never_recorded, wait_after_the_use, host_reads_results_too_early, host_waits_for_another_stream,
        host_refills_staging_too_early, staging_of_two_images,
    ],
)  # fmt: skip
def test_work_that_nothing_orders_is_a_race(bench, mistake):
    with pytest.raises(RaceError, match="nothing orders the two"):
        mistake(bench)


@pytest.mark.parametrize("mistake", [read_elsewhere, write_elsewhere, kernel_elsewhere, free_elsewhere])
@pytest.mark.parametrize("order", ["event", "chain", "host", "query", "same stream"])
def test_the_same_work_is_right_once_it_is_ordered(bench, mistake, order):
    if order == "event":
        bench.second.wait(bench.first.record())
    elif order == "chain":
        third = bench.device.stream()
        third.wait(bench.first.record())
        bench.second.wait(third.record())
    elif order == "host":
        bench.first.synchronize()
    elif order == "query":
        event = bench.first.record()
        while not event.done:
            pass
    else:
        bench.second = bench.first
    mistake(bench)
    bench.device.synchronize()


def test_streams_may_share_a_buffer_in_parts(bench):
    bench.second.wait(bench.first.record())
    bench.device.fill(bench.array.rows(0, 4), 2, bench.first)
    bench.device.fill(bench.array.rows(4, 8), 3, bench.second)
    with pytest.raises(RaceError):
        bench.device.fill(bench.array.rows(3, 5), 4, bench.first)


def test_streams_may_read_the_same_bytes(bench):
    bench.second.wait(bench.first.record())
    bench.device.copy(bench.pinned, bench.array, bench.first)
    bench.device.copy(bench.device.pinned((SIZE,), np.uint8), bench.array, bench.second)
    # A reader of long ago is not forgotten: the write is ordered after one of the two only.
    with pytest.raises(RaceError):
        bench.device.fill(bench.array, 2, bench.second)


def test_nothing_runs_before_the_host_waits_and_then_in_many_orders():
    def trace(seed):
        device, seen = SimulatedDevice(seed), []
        streams = [device.stream() for _ in range(3)]
        for step in range(3):
            for number, stream in enumerate(streams):
                device.submit(stream, "step", lambda number=number, step=step: seen.append((number, step)), [])
        assert seen == []
        device.synchronize()
        for number in range(3):
            assert [step for which, step in seen if which == number] == [0, 1, 2]
        return tuple(seen)

    assert trace(1) == trace(1)
    assert len({trace(seed) for seed in range(8)}) > 4


COPIES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3), st.booleans()).filter(lambda c: c[1] != c[2]),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150)
@given(copies=COPIES, seed=st.integers(0, 5))
def test_work_without_a_race_gives_one_result_in_every_order(copies, seed):
    """Copies between four buffers on three streams, each after all earlier work or after its own stream's only."""
    device = SimulatedDevice(seed)
    streams = [device.stream() for _ in range(3)]
    values = list(range(4))
    buffers = []
    for value in values:
        buffers.append(device.array((1,), np.uint8, streams[0]))
        device.fill(buffers[-1], value, streams[0])
    device.synchronize()
    try:
        for stream, source, target, ordered in copies:
            if ordered:
                for other in streams:
                    streams[stream].wait(other.record())
            device.copy(buffers[target], buffers[source], streams[stream])
            values[target] = values[source]
    except RaceError:
        assert not all(ordered for *_, ordered in copies)
        return
    device.synchronize()
    results = device.pinned((4,), np.uint8)
    for index, buffer in enumerate(buffers):
        device.copy(results.rows(index, index + 1), buffer, streams[0])
    streams[0].synchronize()
    assert results.array.tolist() == values


def test_memory_starts_as_garbage(bench):
    assert set(bench.device.pinned((4,), np.uint8).array) == {0xCD}
    fresh = bench.device.array((SIZE,), np.uint8, bench.first)
    bench.device.copy(bench.pinned, fresh, bench.first)
    bench.first.synchronize()
    assert set(bench.pinned.array) == {0xCD}


def test_memory_is_not_used_after_it_was_freed(bench):
    bench.array.owner.free()
    with pytest.raises(UseAfterFreeError, match="copy"):
        bench.device.copy(bench.pinned, bench.array, bench.first)
    with pytest.raises(UseAfterFreeError):
        bench.array.owner.free()


def test_memory_is_freed_with_its_last_reference(bench):
    kernel = double(bench.device)(bench.array.pointer, bench.array.pointer)
    bench.array = None
    with pytest.raises(UseAfterFreeError, match="double"):
        bench.device.launch(kernel, bench.first)


def test_memory_dropped_while_another_stream_uses_it_is_found_at_the_next_wait(bench):
    bench.second.wait(bench.first.record())
    read_elsewhere(bench)
    bench.array = None
    with pytest.raises(RaceError, match="free"):
        bench.device.synchronize()


@pytest.mark.parametrize("pointer", [16, None])
def test_an_address_that_is_none(bench, pointer):
    end = bench.array.pointer + SIZE - 1
    with pytest.raises(BadAddressError):
        bench.device.launch(double(bench.device)(pointer or end, bench.array.pointer), bench.first)


def test_a_kernel_writes_only_what_it_is_registered_to_write(bench):
    def scribble(x, nothing):
        assert nothing is None
        x[:] = 0

    bench.device.kernel("scribble", scribble, reads=[0], writes=[])
    arguments = (Pointer(bench.array.pointer), Pointer(0))
    bench.device.launch(Launch("scribble", "x.cu", (1, 1, 1), (1, 1, 1), 0, arguments), bench.first)
    with pytest.raises(ValueError, match="read-only"):
        bench.first.synchronize()
    arguments = (Pointer(bench.array.pointer), Pointer(bench.array.pointer))
    with pytest.raises(SchedulingError, match="Argument 1"):
        bench.device.launch(Launch("scribble", "x.cu", (1, 1, 1), (1, 1, 1), 0, arguments), bench.first)
    with pytest.raises(SchedulingError, match="no kernel triple"):
        bench.device.launch(Launch("triple", "x.cu", (1, 1, 1), (1, 1, 1), 0, ()), bench.first)


# Captures.


def capture_waits(b):
    b.first.synchronize()


def capture_waits_elsewhere(b):
    b.second.synchronize()


def capture_waits_for_the_device(b):
    b.device.synchronize()


def capture_asks_an_event(b):
    _ = b.first.record().done


def capture_copies_pageable(b):
    b.device.copy(b.array, np.zeros(SIZE, np.uint8), b.first)


def capture_allocates(b):
    b.device.allocate(8, b.second)


def capture_allocates_pinned(b):
    b.device.pinned((8,), np.uint8)


def capture_frees(b):
    b.array.owner.free()


def capture_waits_for_earlier_work(b):
    b.first.wait(b.before)


def capture_launches_a_graph(b):
    b.graph.launch(b.first)


def capture_forgets_to_join(b):
    b.second.wait(b.first.record())
    b.device.fill(b.array, 4, b.second)


@pytest.mark.parametrize(
    "mistake",
    [
        capture_waits, capture_waits_elsewhere, capture_waits_for_the_device, capture_asks_an_event,
        capture_copies_pageable, capture_allocates, capture_allocates_pinned, capture_frees,
        capture_waits_for_earlier_work, capture_launches_a_graph, capture_forgets_to_join,
    ],
)  # fmt: skip
@pytest.mark.parametrize("swallowed", [False, True])
def test_what_a_capture_refuses(bench, mistake, swallowed):
    with bench.device.capture(bench.first) as capture:
        bench.device.fill(bench.array, 2, bench.first)
    bench.graph, bench.before = capture.graph, bench.second.record()

    def fail():
        with bench.device.capture(bench.first):
            bench.device.fill(bench.array, 3, bench.first)
            try:
                mistake(bench)
            except CaptureError:
                if not swallowed:
                    raise

    with pytest.raises(CaptureError):
        fail()
    bench.second.wait(bench.first.record())
    bench.device.copy(bench.pinned, bench.array, bench.second)
    bench.second.synchronize()
    assert set(bench.pinned.array) == {1}


def test_a_graph_must_be_captured_again_when_memory_moves(bench):
    with bench.device.capture(bench.first) as capture:
        bench.device.fill(bench.array, 2, bench.first)
    capture.graph.launch(bench.first)
    bench.array = bench.device.array((2 * SIZE,), np.uint8, bench.first)
    with pytest.raises(UseAfterFreeError, match="in a captured graph"):
        capture.graph.launch(bench.first)


def test_a_graph_is_not_launched_after_it_was_closed(bench):
    with bench.device.capture(bench.first) as capture:
        bench.device.fill(bench.array, 2, bench.first)
    capture.graph.close()
    with pytest.raises(UseAfterFreeError, match="closed"):
        capture.graph.launch(bench.first)


def test_a_graph_races_with_other_streams_and_inside_itself(bench):
    with bench.device.capture(bench.first) as capture:
        bench.second.wait(bench.first.record())
        bench.device.fill(bench.array, 2, bench.first)
        bench.device.fill(bench.array, 3, bench.second)
        bench.first.wait(bench.second.record())
    with pytest.raises(RaceError, match=r"\(graph\)"):
        capture.graph.launch(bench.first)

    with bench.device.capture(bench.first) as capture:
        bench.device.fill(bench.array, 2, bench.first)
    with pytest.raises(RaceError):
        capture.graph.launch(bench.second)


def test_launches_of_one_graph_come_one_after_the_other(bench):
    with bench.device.capture(bench.first) as capture:
        bench.device.fill(bench.array, 2, bench.first)
    capture.graph.launch(bench.first)
    capture.graph.launch(bench.second)
    bench.second.synchronize()


def test_an_event_of_a_capture_means_nothing_outside(bench):
    with bench.device.capture(bench.first):
        event = bench.first.record()
    with pytest.raises(CaptureError, match="recorded in a capture"):
        bench.second.wait(event)
    with pytest.raises(CaptureError, match="recorded in a capture"):
        event.synchronize()


def test_another_threads_capture_does_not_hinder(bench):
    with bench.device.capture(bench.first):
        thread = threading.Thread(target=lambda: results.append(bench.device.pinned((4,), np.uint8)))
        results: list = []
        thread.start()
        thread.join()
    assert len(results) == 1
