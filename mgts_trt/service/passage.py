"""How long each step of a picture's way through the service took: for the metrics, and for traces of its request."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from mgts_trt.runtime.people import People

STEPS = ("wait", "decode", "hold", "search", "answer")
"""In order: until a thread decodes the picture, decoding it, until the pipeline takes it, in the pipeline, and making
the answer of what it found."""


class Step(NamedTuple):
    """A step that is over.

    Attributes:
        name: One of `STEPS`.
        begin: Nanoseconds of `time.perf_counter_ns`.
        end: Likewise.
    """

    name: str
    begin: int
    end: int


class Passage:
    """A picture's way. One thread at a time has the picture, and tells of it.

    Attributes:
        steps: Those that are over.
        people: What the pipeline found, as soon as it is known; never of a picture that fails before.
        error: What the picture failed of.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.people: People | None = None
        self.error: BaseException | None = None
        self._begin = time.perf_counter_ns()
        self._listener = LISTENER.get()

    def ends(self, step: str) -> None:
        """A step ends now, and the next begins."""
        now = time.perf_counter_ns()
        self.steps.append(Step(step, self._begin, now))
        self._begin = now

    @contextmanager
    def during(self, step: str) -> Iterator[None]:
        """The step that is done inside ends with it, whatever comes of it."""
        try:
            yield
        finally:
            self.ends(step)

    def over(self) -> None:
        """Nothing follows: whoever listens is told."""
        if self._listener is not None:
            self._listener(self)


LISTENER: ContextVar[Callable[[Passage], None] | None] = ContextVar("mgts_trt.passages", default=None)
"""Told of each passage that begins in a request, once it is over; in whichever thread it ends."""
