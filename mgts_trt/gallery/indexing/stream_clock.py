"""The time of a live stream's frames: Unix seconds that never go back, whatever is done to the machine's clock."""

import time
from collections.abc import Callable

_APART = 1.0
"""Seconds the machine's clock may differ before it is followed: what lies below is its usual regulation."""

_STEP = 0.001
"""Seconds between two frames, at least: times are stored in milliseconds, and tell frames apart."""


class StreamClock:
    """Unix seconds from the machine's clock at the start, and from then on by a clock that is never set.

    A machine's clock is set while it runs: at its first contact with a time server, by hand, after a sleep. One set
    forward by more than a second is followed at once. One set back is followed at half speed, until both agree again:
    the order of frames is kept, an hour's error is gone after two.

    Args:
        wall: Unix seconds, which may jump.
        steady: Seconds that never jump.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._then, self._now = steady(), wall()
        self._told = -float("inf")

    def now(self) -> float:
        """Unix seconds, in whole milliseconds, later than all told before."""
        then, wall = self._steady(), self._wall()
        elapsed, self._then = then - self._then, then
        ahead = self._now + elapsed - wall
        if ahead < -_APART:
            self._now = wall
        elif ahead > _APART:
            self._now += elapsed / 2
        else:
            self._now += elapsed
        self._told = round(max(self._now, self._told + _STEP), 3)
        return self._told
