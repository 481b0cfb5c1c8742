import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.errors import BackendError, ImageError
from mgts_trt.runtime.stream import Deferred, PeopleStream, is_ready
from mgts_trt.service.dispatcher import Dispatcher, Job


class Search:
    """Finds what it is shown; waits for `go` first, and remembers in what order it was asked."""

    def __init__(self, depth: int = 1, batch_size: int = 1) -> None:
        self.go, self.seen, self._depth, self.batch_size = threading.Event(), [], depth, batch_size
        self.together: list[int] = []

    def __call__(self, image: object) -> object:
        assert self.go.wait(20)
        self.seen.append(image)
        if image == "bad":
            raise BackendError("bad")
        return f"people of {image}"

    def embed(self, image: object, boxes: np.ndarray) -> object:
        return f"{len(boxes)} of {self(image)}"

    def stream(self, images, *, depth: int, errors: str) -> PeopleStream:
        def begin(group: Sequence[object]) -> Deferred:
            self.together.append(len(group))
            time.sleep(0.05 * (self.batch_size > 1))  # as a network does: meanwhile others are decoded
            return Deferred(lambda: [self(image) for image in group], len(group))

        depth = min(depth, self._depth)
        return PeopleStream(images, begin, depth, errors, self.batch_size, lambda: is_ready(images))


@pytest.fixture(params=[1, 3], ids=["one in flight", "three in flight"])
def search(request) -> Search:
    return Search(request.param)


@pytest.fixture
def dispatcher(search: Search) -> Dispatcher:
    dispatcher = Dispatcher(search)
    yield dispatcher
    search.go.set()
    dispatcher.close()


def job(image: object, boxes: np.ndarray | None = None) -> Job:
    return Job(lambda: image, lambda image, people: (image, people), boxes)


def hold(dispatcher: Dispatcher) -> Job:
    """Keep the pipeline busy until `go`."""
    holding = job("holding")
    dispatcher.submit([holding])
    while not holding.result.running():
        pass
    return holding


def test_each_job_gets_its_own_result(search: Search, dispatcher: Dispatcher) -> None:
    jobs = [job(n, np.zeros((n, 4), np.float32) if n % 3 == 0 else None) for n in range(20)]
    dispatcher.submit(jobs[:12])
    dispatcher.submit(jobs[12:])
    search.go.set()
    for n, each in enumerate(jobs):
        expected = f"{n} of people of {n}" if n % 3 == 0 else f"people of {n}"
        assert each.result.result(20) == (n, expected)


def test_pictures_of_many_requests_go_in_batches() -> None:
    """Each gets its own, whatever else is among them: boxes that are given, what cannot be read, what was given up."""
    search = Search(batch_size=4)
    dispatcher = Dispatcher(search)
    first = hold(dispatcher)
    jobs = [job(n, np.zeros((n, 4), np.float32) if n == 5 else None) for n in range(12)]
    broken = Job(lambda: 1 // 0, lambda image, people: None)
    dropped = job("dropped")
    dropped.result.cancel()
    for each in (*jobs[:3], broken, *jobs[3:8], dropped, *jobs[8:]):
        dispatcher.submit([each])
    search.go.set()
    first.result.result(20)
    for n, each in enumerate(jobs):
        assert each.result.result(20) == (n, f"5 of people of {n}" if n == 5 else f"people of {n}")
    with pytest.raises(ZeroDivisionError):
        broken.result.result(20)
    assert "dropped" not in search.seen
    assert 1 < max(search.together) <= 4
    dispatcher.close()


def test_requests_take_turns(search: Search, dispatcher: Dispatcher) -> None:
    hold(dispatcher)
    long = [job(f"long {n}") for n in range(20)]
    short = job("short")
    dispatcher.submit(long)
    dispatcher.submit([short])
    search.go.set()
    short.result.result(20)
    long[-1].result.result(20)
    assert search.seen.index("short") <= 6  # behind what was in flight or decoded already


def test_who_does_not_wait_is_not_searched(search: Search, dispatcher: Dispatcher) -> None:
    hold(dispatcher)
    jobs = [job(n) for n in range(10)]
    dispatcher.submit(jobs)
    for each in jobs[:-1]:
        each.result.cancel()
    assert dispatcher.waiting <= 1
    search.go.set()
    assert jobs[-1].result.result(20) == (9, "people of 9")
    # Those that were in flight when they were cancelled are let go on.
    assert len(search.seen) <= 5


@pytest.mark.parametrize("stage", ["load", "search", "finish", "embed"])
def test_what_fails_costs_itself_alone(search: Search, dispatcher: Dispatcher, stage: str) -> None:
    def fail(*_: object) -> None:
        raise ImageError("no picture")

    failing = {
        "load": Job(fail, lambda *_: None),
        "search": job("bad"),
        "finish": Job(lambda: "fine", fail),
        "embed": job("bad", np.zeros((1, 4), np.float32)),
    }[stage]
    others = [job("before"), job("after")]
    dispatcher.submit([others[0], failing, others[1]])
    search.go.set()
    assert isinstance(failing.result.exception(20), ImageError | BackendError)
    assert [each.result.result(20)[0] for each in others] == ["before", "after"]


def test_closing_cancels_what_waits(search: Search, dispatcher: Dispatcher) -> None:
    holding = hold(dispatcher)
    waiting = [job(n) for n in range(10)]
    dispatcher.submit(waiting)
    closing = threading.Thread(target=dispatcher.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting[-1].result.result(20)
    search.go.set()
    closing.join(20)
    assert holding.result.result(20)
    late = job("late")
    dispatcher.submit([late])
    assert late.result.cancelled()


def test_a_stream_that_breaks_fails_what_it_holds_and_no_more(search: Search, dispatcher: Dispatcher) -> None:
    stream, broken = search.stream, []

    def break_once(images, **given: object) -> PeopleStream:
        if broken:
            return stream(images, **given)
        broken.append(next(images))
        raise BackendError("broken")

    search.stream = break_once
    search.go.set()
    jobs = [job(n) for n in range(6)]
    dispatcher.submit(jobs)
    outcomes = [each.result.exception(20) for each in jobs]
    assert isinstance(outcomes[0], BackendError)
    assert outcomes[-1] is None
