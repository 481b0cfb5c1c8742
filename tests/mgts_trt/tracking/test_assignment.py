import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgts_trt.tracking.assignment import assign

optimize = pytest.importorskip("scipy.optimize")

SHAPES = st.tuples(st.integers(0, 7), st.integers(0, 7))


@given(SHAPES, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_the_sum_is_the_greatest_there_is(shape: tuple[int, int], seed: int, empty: float) -> None:
    random = np.random.default_rng(seed)
    gains = random.integers(1, 9, shape) * (random.random(shape) >= empty) / 8
    pairs = assign(gains)
    rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
    assert rows == sorted(set(rows))
    assert len(set(columns)) == len(columns)
    assert all(gains[pair] > 0 for pair in pairs)
    best = optimize.linear_sum_assignment(gains, maximize=True)
    assert sum(gains[pair] for pair in pairs) == pytest.approx(gains[best].sum())


def test_greed_would_take_the_wrong_pair() -> None:
    assert assign(np.array([[0.9, 0.8], [0.8, 0.1]])) == [(0, 1), (1, 0)]
