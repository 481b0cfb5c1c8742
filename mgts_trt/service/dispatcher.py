"""Many requests, one pipeline: pictures wait their turn, are decoded ahead, and are searched as one stream.

Where the pipeline takes batches, those are made of whatever pictures are there, whoever sent them.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from mgts_trt._typing import Floats, Image
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.stream import ReadAhead
from mgts_trt.service.passage import Passage

T = TypeVar("T")

DEPTH = 3
"""Pictures in flight on a GPU, where the pipeline was not opened for more; nor for fewer, which it keeps to."""
AHEAD = 2
"""Pictures decoded before their turn, where the pipeline takes no larger batches: more would only take memory."""


@dataclass
class Job(Generic[T]):
    """A picture to search, and what to make of the result.

    Attributes:
        load: Decodes the picture, in a thread of the dispatcher. What it raises becomes the result.
        finish: Makes the result, in another of its threads.
        boxes: xyxy [N, 4]: describes these people. None detects.
        result: Cancel it, and the job is dropped unless it is already being searched.
        passage: How long what of it took; it begins with the job.
    """

    load: Callable[[], Image]
    finish: Callable[[Image, People], T]
    boxes: Floats | None = None
    result: Future[T] = field(default_factory=Future)
    passage: Passage = field(default_factory=Passage)


class Dispatcher:
    """Feeds the pictures of all requests to one pipeline.

    Requests take turns, one picture each: a large one does not hold up a small one behind it. How many wait is bounded
    by whoever submits.

    Args:
        search: The pipeline; it stays open when the dispatcher is closed.
        on_passage: Told of every picture that was searched or failed, before whoever waits for it.
        prepare: Called before the first picture, in the thread that searches; given what says whether to leave it.
        depth: Most pictures in flight on a GPU.
    """

    def __init__(
        self,
        search: PersonSearch,
        on_passage: Callable[[Passage], None] = lambda _: None,
        prepare: Callable[[Callable[[], bool]], None] = lambda _: None,
        depth: int = DEPTH,
    ) -> None:
        self._depth = depth
        self._search, self._on_passage, self._prepare = search, on_passage, prepare
        self._changed = threading.Condition()
        self._requests: deque[deque[Job[Any]]] = deque()
        self._closed = False
        self._pool = ThreadPoolExecutor(2, "mgts-picture")
        self._thread = threading.Thread(target=self._work, name="mgts-dispatcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Pictures in the queue."""
        with self._changed:
            return sum(not job.result.cancelled() for request in self._requests for job in request)

    def submit(self, jobs: Sequence[Job[Any]]) -> None:
        """Queue a request's pictures; each job's `result` tells what became of it.

        After `close` they are cancelled at once.
        """
        with self._changed:
            if not self._closed:
                self._requests.append(deque(jobs))
                self._changed.notify()
                return
        for job in jobs:
            job.result.cancel()

    def close(self) -> None:
        """Finish what is being searched, cancel what waits, and end. Closing twice is harmless."""
        with self._changed:
            self._closed = True
            left = [job for request in self._requests for job in request]
            self._requests.clear()
            self._changed.notify()
        for job in left:
            job.result.cancel()
        self._thread.join()
        self._pool.shutdown()

    def _work(self) -> None:
        self._prepare(lambda: self._closed)
        while self._wait():
            self._burst()

    def _burst(self) -> None:
        """One stream, until nothing waits: it wants the next picture before it gives the last result."""
        ahead = max(AHEAD, self._search.batch_size)
        pictures = _Pictures(self._take, self._pool.submit, self._describe, self._fail, ahead)
        try:
            with closing(self._search.stream(pictures, depth=self._depth, errors="return")) as found:
                for people in found:
                    self._deliver(*pictures.flying.popleft(), people)
        except Exception as error:
            for job in pictures.jobs():
                self._fail(job, error)

    def _wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._requests or self._closed)
            return not self._closed

    def _take(self) -> Job[Any] | None:
        """The next request's next job, without waiting."""
        with self._changed:
            while self._requests:
                request = self._requests.popleft()
                job = request.popleft() if request else None
                if request:
                    self._requests.append(request)
                if job is not None and not job.result.cancelled():
                    return job
        return None

    def _describe(self, job: Job[Any], image: Image, boxes: Floats) -> None:
        self._deliver(job, image, self._embed(image, boxes))

    def _embed(self, image: Image, boxes: Floats) -> People | Exception:
        try:
            return self._search.embed(image, boxes)
        except Exception as error:
            return error

    def _deliver(self, job: Job[Any], image: Image, found: People | Exception) -> None:
        job.passage.ends("search")
        if isinstance(found, Exception):
            self._fail(job, found)
            return
        job.passage.people = found
        self._pool.submit(self._finish, job, image, found)

    def _finish(self, job: Job[Any], image: Image, people: People) -> None:
        try:
            with job.passage.during("answer"):
                result = job.finish(image, people)
        except Exception as error:
            self._fail(job, error)
            return
        self._tell(job.passage)
        job.result.set_result(result)

    def _fail(self, job: Job[Any], error: Exception) -> None:
        if job.result.running() or job.result.set_running_or_notify_cancel():
            job.passage.error = error
            self._tell(job.passage)
            job.result.set_exception(error)

    def _tell(self, passage: Passage) -> None:
        self._on_passage(passage)
        passage.over()


class _Pictures(ReadAhead):
    """Pictures to detect people in; those with boxes are described on the way.

    Args:
        take: Gives the next job, or None.
        submit: Has a function called in another thread.
        describe: Deals with a picture whose boxes are known.
        fail: Deals with one that cannot be decoded.
        ahead: How many to decode before their turn.

    Attributes:
        flying: Jobs whose pictures were given, with those; who takes results takes them from here, in order.
    """

    def __init__(
        self,
        take: Callable[[], Job[Any] | None],
        submit: Callable[[Callable[[], Image]], Future[Image]],
        describe: Callable[[Job[Any], Image, Floats], None],
        fail: Callable[[Job[Any], Exception], None],
        ahead: int,
    ) -> None:
        self.flying: deque[tuple[Job[Any], Image]] = deque()
        self._ahead: deque[tuple[Job[Any], Future[Image]]] = deque()
        self._take, self._submit, self._describe, self._fail, self._most = take, submit, describe, fail, ahead

    def jobs(self) -> list[Job[Any]]:
        """All that are under way."""
        return [job for job, _ in (*self.flying, *self._ahead)]

    def ready(self) -> bool:
        """Whether the next picture is decoded, and to detect people in."""
        self._decode()
        if not self._ahead:
            return False
        job, loading = self._ahead[0]
        return loading.done() and loading.exception() is None and job.boxes is None and not job.result.cancelled()

    def __next__(self) -> Image:
        while True:
            self._decode()
            if not self._ahead:
                raise StopIteration
            job, loading = self._ahead.popleft()
            try:
                image = loading.result()
            except Exception as error:
                self._fail(job, error)
                continue
            if not job.result.set_running_or_notify_cancel():
                continue
            job.passage.ends("hold")
            if job.boxes is not None:
                self._describe(job, image, job.boxes)
                continue
            self.flying.append((job, image))
            return image

    def _decode(self) -> None:
        while len(self._ahead) < self._most and (job := self._take()) is not None:
            self._ahead.append((job, self._submit(partial(_load, job))))


def _load(job: Job[Any]) -> Image:
    job.passage.ends("wait")
    with job.passage.during("decode"):
        return job.load()
