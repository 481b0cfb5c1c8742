from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.training_scenes import Streets
from training.data.datasets.mix import Mixed, Order
from training.data.files import DataError

parts = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=1, max_size=4)


@settings(max_examples=50)
@given(parts, st.integers(0, 5), st.integers(1, 20))
def test_every_round_has_its_shares_and_every_epoch_every_scene(
    sizes: list[tuple[int, int]], seed: int, rounds: int
) -> None:
    order, each = Order(sizes, seed), sum(count for _, count in sizes)
    starts = np.cumsum([0, *(size for size, _ in sizes)])
    shown = [order(place) for place in range(rounds * each)]
    assert shown == [Order(sizes, seed)(place) for place in range(rounds * each)], "by seed and place alone"
    for part, (size, count) in enumerate(sizes):
        inside = [[starts[part] <= number < starts[part + 1] for number in shown[i : i + each]]
                  for i in range(0, len(shown), each)]  # fmt: skip
        assert all(sum(row) == count for row in inside)
        ours = [number for number in shown if starts[part] <= number < starts[part + 1]]
        for epoch in range(len(ours) // size):
            assert sorted(ours[epoch * size : (epoch + 1) * size]) == list(range(*starts[part : part + 2]))


def test_parts_are_spread_over_a_round() -> None:
    order = Order([(100, 4), (100, 2), (100, 2)], 0)
    for half in range(10):
        kinds = Counter(order(place) // 100 for place in range(4 * half, 4 * half + 4))
        assert kinds == {0: 2, 1: 1, 2: 1}


def test_the_order_is_new_each_epoch_and_for_each_seed() -> None:
    first, second = ([Order([(30, 1)], 0)(place) for place in range(start, start + 30)] for start in (0, 30))
    assert first != second
    assert first != [Order([(30, 1)], 1)(place) for place in range(30)]


def test_a_mix_leaves_out_what_is_empty() -> None:
    mixed = Mixed((Streets(3), 2), (Streets(0), 5), (Streets(2), 1))
    assert len(mixed) == 5
    assert mixed.shares == [(3, 2), (2, 1)]
    assert mixed[3].name == Streets(2)[0].name
    order = Order.of(mixed, 0)
    assert [order(place) >= 3 for place in range(6)].count(True) == 2
    assert sorted(Order.of(Streets(4), 0)(place) for place in range(4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("given_", [[], [(0, 1)], [(2, 0)], [(2, 1), (2, -1)]])
def test_what_is_no_mix(given_: list[tuple[int, int]]) -> None:
    with pytest.raises(DataError, match="A mix needs scenes"):
        Mixed(*((Streets(size), count) for size, count in given_))
