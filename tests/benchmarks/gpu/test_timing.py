import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gpu.report import Latency
from benchmarks.gpu.timing import Counts, Samples, in_turns, times_as_fast, words


def clock():
    """One more second at each look."""
    return itertools.count().__next__


def test_sides_take_turns_in_alternating_order() -> None:
    order: list[str] = []
    sides = {name: (lambda name=name: order.append(name)) for name in "AB"}
    in_turns(sides, Counts(rounds=2, repeats=2, warmup=1))
    assert "".join(order) == "BA" + "AABB" + "BBAA"


def test_warm_up_is_not_measured() -> None:
    samples = in_turns({"A": lambda: None}, Counts(rounds=3, repeats=2, warmup=5), clock=clock())
    assert samples["A"].total == [1e3] * 6


def test_a_side_that_fails_leaves_the_others_alone() -> None:
    calls = itertools.count()

    def failing() -> None:
        if next(calls) == 3:
            raise RuntimeError("out of\n  memory")

    samples = in_turns({"bad": failing, "good": lambda: None}, Counts(rounds=3, repeats=2, warmup=1))
    assert next(calls) == 4, "it was run again after it had failed"
    assert samples["bad"].result("bad").error == "out of memory"
    assert samples["bad"].result("bad").latency is None
    assert len(samples["good"].total) == 6


def test_stages_of_each_run_are_kept() -> None:
    runs = itertools.count(1)
    call = lambda: {"detector": float(next(runs)), "total": 0.0}  # noqa: E731
    result = in_turns({"A": call}, Counts(rounds=1, repeats=3, warmup=1), clock=clock())["A"].result("A")
    assert result.stages.keys() == {"detector"}
    assert result.stages["detector"].p50 == 3
    assert result.latency is not None
    assert result.latency.p50 == 1e3


def test_how_many_times_as_fast_is_told_round_by_round() -> None:
    slow, fast = Samples(total=[2, 2, 9, 40, 40, 41]), Samples(total=[1, 1, 1, 20, 20, 20])  # clocks that fell
    assert times_as_fast(fast, slow, 3) == pytest.approx(2.0)
    assert times_as_fast(slow, fast, 3) == pytest.approx(0.5)
    assert times_as_fast(Samples(error="no"), slow, 3) is None
    assert times_as_fast(fast, Samples(total=[1.0] * 6, error="no"), 3) is None


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=50))
def test_percentiles_are_in_order_and_within_the_samples(values: list[float]) -> None:
    latency = Latency.of(values)
    ordered = [min(values), latency.p50, latency.p90, latency.p99, max(values)]
    assert all(a <= b or a == pytest.approx(b) for a, b in itertools.pairwise(ordered))
    assert latency.runs == len(values)
    assert latency.mean == pytest.approx(np.mean(values))


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ValueError("a\n b"), "a b"), (KeyError(), "KeyError"), (ValueError("x" * 700), "x" * 600 + " …")],
)
def test_words(error: Exception, expected: str) -> None:
    assert words(error) == expected
