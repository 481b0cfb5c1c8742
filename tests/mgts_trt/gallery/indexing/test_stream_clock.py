from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgts_trt.gallery.indexing.stream_clock import StreamClock

START = 1_700_000_000.0


class Machine:
    """A clock that is set, and one that is not."""

    def __init__(self) -> None:
        self.wall, self.steady = START, 50.0
        self.clock = StreamClock(lambda: self.wall, lambda: self.steady)

    def after(self, seconds: float, jump: float = 0.0) -> float:
        self.steady += seconds
        self.wall += seconds + jump
        return self.clock.now()


def test_times_follow_the_clock() -> None:
    machine = Machine()
    assert [machine.after(0.04) for _ in range(3)] == [START + 0.04, START + 0.08, START + 0.12]


def test_a_clock_set_forward_is_followed_at_once() -> None:
    machine = Machine()
    machine.after(1.0)
    assert machine.after(0.5, jump=3600.0) == machine.wall
    assert machine.after(0.5) == machine.wall


def test_a_clock_set_back_is_met_again_at_half_speed() -> None:
    machine = Machine()
    machine.after(1.0)
    before = machine.clock.now()
    told = [machine.after(1.0, jump=-100.0 if second == 0 else 0.0) for second in range(300)]
    assert told[0] == pytest.approx(before + 0.5)
    assert told[198] - told[100] == pytest.approx(98 / 2, abs=2.0)
    assert told[-1] == pytest.approx(machine.wall, abs=1.0)
    assert told[-1] - told[-2] == pytest.approx(1.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 1000.0), st.one_of(st.just(0.0), st.floats(-1e6, 1e6))), min_size=1, max_size=50)
)
def test_times_never_go_back_nor_stand_still(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    told = [machine.after(*step) for step in steps]
    assert all(later > earlier for earlier, later in pairwise(told))
    assert all(time == round(time, 3) for time in told)
