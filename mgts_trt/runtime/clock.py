"""How long each stage of a search takes on the host."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Wall-clock milliseconds by stage."""

    def __init__(self) -> None:
        self._timings: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what happens inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings[stage] = self._timings.get(stage, 0.0) + (time.perf_counter() - start) * 1e3

    def stop(self, pictures: int) -> dict[str, float]:
        """A picture's share of the time so far."""
        timings = {**self._timings, "total": (time.perf_counter() - self._start) * 1e3}
        return {stage: milliseconds / max(pictures, 1) for stage, milliseconds in timings.items()}
