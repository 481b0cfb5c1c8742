import random
from itertools import combinations

import pytest

from mgts_trt.runtime.session.workspace_layout import Room, lay_out


def random_rooms(seed, steps=9):
    chance = random.Random(seed)
    rooms = []
    for key in range(chance.randrange(14)):
        first = chance.randrange(steps)
        size = chance.choice([1, 255, 256, 257, 4096, chance.randrange(1, 100_000)])
        rooms.append(Room(key, size, first, chance.randrange(first, steps)))
    return rooms


def overlap(one, other, offsets):
    at_once = one.first <= other.last and other.first <= one.last
    return at_once and all(offsets[a.key] < offsets[b.key] + b.size for a, b in ((one, other), (other, one)))


@pytest.mark.parametrize("seed", range(300))
def test_what_is_needed_at_once_lies_apart(seed):
    rooms = random_rooms(seed)
    layout = lay_out(rooms, 256)
    assert layout.offsets.keys() == {room.key for room in rooms}
    assert all(offset % 256 == 0 for offset in layout.offsets.values())
    assert not [pair for pair in combinations(rooms, 2) if overlap(*pair, layout.offsets)]
    whole = {room.key: -(-room.size // 256) * 256 for room in rooms}
    assert layout.size == max((layout.offsets[key] + whole[key] for key in whole), default=0)
    fullest = max(sum(whole[r.key] for r in rooms if r.first <= step <= r.last) for step in range(9))
    assert fullest <= layout.size <= sum(whole.values())


def test_the_property_can_fail():
    both = [Room("a", 300, 0, 1), Room("b", 10, 1, 2)]
    assert overlap(*both, {"a": 0, "b": 256})
    assert not overlap(*both, {"a": 0, "b": 512})


def test_room_is_used_again_after_its_last_reader():
    chain = [Room(f"t{step}", 1000, step, step + 1) for step in range(10)]
    assert lay_out(chain, 256).size == 2048
    scratch = [Room(step, 5000, step, step) for step in range(10)]
    assert lay_out([*chain, *scratch], 256).size == 5120 + 2048


def test_nothing_takes_nothing():
    assert (lay_out([], 256).size, lay_out([], 256).offsets) == (0, {})
    assert lay_out([Room("empty", 0, 0, 3)], 256).size == 0
