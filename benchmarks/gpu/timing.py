"""Several things in turns, A B … B A: whatever the clocks do, or the machine beside it, falls on all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.gpu.report import Latency, SideResult

Call = Callable[[], Mapping[str, float] | None]
"""One run, which returns when its results are there; it may say what its stages took, in milliseconds."""


@dataclass(frozen=True)
class Counts:
    """How often things are done.

    Attributes:
        rounds: Turns of each side.
        repeats: Runs a turn.
        warmup: Runs before the first turn that are not measured.
        stream: Pictures a measurement of throughput takes.
        soak: Pictures of the soak.
        parity: Pictures compared, at most.
    """

    rounds: int = 20
    repeats: int = 10
    warmup: int = 10
    stream: int = 200
    soak: int = 10_000
    parity: int = 50

    def __str__(self) -> str:
        return f"{self.rounds} turns of {self.repeats} runs, {self.warmup} to warm up"


QUICK = Counts(rounds=3, repeats=2, warmup=2, stream=12, soak=200, parity=4)


@dataclass
class Samples:
    """What one side gave.

    Attributes:
        total: Milliseconds of each run.
        stages: Stage → milliseconds of each run.
        error: What ended it, if anything did.
    """

    total: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    error: str | None = None

    def result(self, label: str) -> SideResult:
        """As the report has it; of a side that failed, the error alone."""
        if self.error is not None or not self.total:
            return SideResult(label=label, error=self.error or "it was never run")
        stages = {name: Latency.of(values) for name, values in self.stages.items() if name != "total"}
        return SideResult(label=label, latency=Latency.of(self.total), stages=stages)


def in_turns(
    sides: Mapping[str, Call],
    counts: Counts,
    *,
    clock: Callable[[], float] = time.perf_counter,
    on_turn: Callable[[str], None] = lambda _: None,
) -> dict[str, Samples]:
    """Measure every side in every round, in alternating order.

    A side that raises is out from then on; the others go on.

    Args:
        sides: Label → what to run.
        counts: How often.
        clock: Seconds.
        on_turn: Told whose turn begins.
    """
    samples = {label: Samples() for label in sides}
    for turn in range(-1, counts.rounds):
        for label in list(sides)[:: -1 if turn % 2 else 1]:
            mine = samples[label]
            if mine.error is not None:
                continue
            on_turn(label)
            try:
                _turn(sides[label], counts.warmup if turn < 0 else counts.repeats, mine if turn >= 0 else None, clock)
            except Exception as error:  # of any library: it is a result, too
                mine.error = words(error)
    return samples


def _turn(call: Call, runs: int, samples: Samples | None, clock: Callable[[], float]) -> None:
    for _ in range(runs):
        start = clock()
        stages = call()
        total = (clock() - start) * 1e3
        if samples is not None:
            samples.total.append(total)
            for name, value in (stages or {}).items():
                samples.stages.setdefault(name, []).append(value)


def times_as_fast(side: Samples, baseline: Samples, repeats: int) -> float | None:
    """How many times as fast a side is: the median of the rounds, in each of which both had their turn.

    Args:
        side: Measured in turns with the other.
        baseline: The other.
        repeats: Runs a turn.

    Returns:
        None where one of them failed.
    """
    if side.error is not None or baseline.error is not None or not side.total:
        return None
    mine, theirs = (np.median(np.reshape(each.total, (-1, repeats)), axis=1) for each in (side, baseline))
    return float(np.median(theirs / mine))


def words(error: BaseException) -> str:
    """An error's own words on one line, cut where they become a book."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 600 else f"{text[:600]} …"
