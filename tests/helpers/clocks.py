"""Who touched which bytes of a simulated device when, and whether anything orders them.

A vector clock says, for each actor (the host, a stream, a branch of a launched graph), how much of what it did is known
to be over. An access happens before another one if the other's clock has reached its time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mgts_trt.errors import BackendError

HOST = "the host"


class SchedulingError(AssertionError):
    """Something a scheduler must not do. No `MgtsError`, so that nothing that handles those hides it."""


class RaceError(SchedulingError):
    """Two accesses to the same bytes, one of them a write, that nothing orders."""


class UseAfterFreeError(SchedulingError):
    """An address whose memory was freed."""


class BadAddressError(SchedulingError):
    """An address that never was, or reaches beyond its memory."""


class CaptureError(SchedulingError, BackendError):
    """What CUDA refuses during a capture; on a GPU it is a `BackendError`."""


@dataclass(eq=False)
class Memory:
    kind: str
    base: int
    data: np.ndarray
    freed: bool = False
    accesses: list["Access"] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.kind} memory {self.base:#x} ({self.data.size} bytes)"


@dataclass(frozen=True)
class Span:
    """Bytes `low`…`high` of a memory that an operation reads or writes."""

    memory: Memory
    low: int
    high: int
    write: bool

    def view(self) -> np.ndarray:
        view = self.memory.data[self.low : self.high]
        view.flags.writeable = self.write
        return view


@dataclass(frozen=True)
class Access:
    span: Span
    who: str
    actor: Any
    time: int


@dataclass(eq=False)
class Operation:
    """Something queued, or a node of a captured graph."""

    name: str
    run: Callable[[], None]
    spans: Sequence[Span]
    after: list["Operation"]
    actor: Any
    clock: dict[Any, int] = field(default_factory=dict)
    done: bool = False
    finished: int = 0


def record(access: Access, clock: dict[Any, int]) -> None:
    span, kept = access.span, []
    for other in span.memory.accesses:
        seen = clock.get(other.actor, 0) >= other.time
        apart = other.span.high <= span.low or span.high <= other.span.low
        if not seen and not apart and (span.write or other.span.write):
            verbs = ("reads", "writes")
            raise RaceError(
                f"{access.who} {verbs[span.write]} bytes {span.low}…{span.high} of {span.memory}, and {other.who} "
                f"{verbs[other.span.write]} {other.span.low}…{other.span.high}; nothing orders the two."
            )
        inside = span.low <= other.span.low and other.span.high <= span.high
        # Whoever is ordered after the new access is ordered after one it covers, too.
        if not (seen and inside and (span.write or not other.span.write)):
            kept.append(other)
    span.memory.accesses = [*kept, access]


def check_alive(span: Span, who: str) -> None:
    if span.memory.freed:
        raise UseAfterFreeError(f"{who} uses {span.memory}, which was freed.")


def join(clock: dict[Any, int], other: dict[Any, int]) -> None:
    for actor, time in other.items():
        clock[actor] = max(clock.get(actor, 0), time)
