import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgts_trt.gallery.indexing.channel import Channel


def test_the_newest_take_the_place_of_the_oldest() -> None:
    channel = Channel[int](4)
    assert [channel.put_newest(number, "a", room=2) for number in range(5)] == [0, 0, 1, 1, 1]
    assert [channel.get(0), channel.get(0), channel.get(0)] == [3, 4, None]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=200), st.integers(1, 3))
def test_order_within_a_lane_and_no_item_counted_twice_or_never(steps: list[tuple[str, bool]], room: int) -> None:
    channel = Channel[tuple[str, int]](4)
    put, gone, got = Counter[str](), Counter[str](), list[tuple[str, int]]()
    for lane, take in steps:
        left = channel.put_newest((lane, put[lane]), lane, room)
        assert left is not None
        put[lane] += 1
        gone[lane] += left
        if take and (item := channel.get(0)) is not None:
            got.append(item)
    while (item := channel.get(0)) is not None:
        got.append(item)
    for lane in "abcd":
        numbers = [number for name, number in got if name == lane]
        assert numbers == sorted(set(numbers))
        assert len(numbers) + gone[lane] == put[lane]
        assert numbers[-1:] == [put[lane] - 1] * bool(put[lane]), "the newest always comes out"


@pytest.mark.parametrize("lanes", [2, 4])
def test_a_lane_that_is_always_full_starves_no_other(lanes: int) -> None:
    channel = Channel[str](2)
    got = Counter[str]()
    for turn in range(100):
        for _ in range(50):
            channel.put_newest("busy", "busy", room=4)
        for lane in range(1, lanes):
            channel.put_newest(f"calm {lane}", lane)
        if turn % 2:
            channel.tell("note")
        for _ in range(lanes + turn % 2):
            got[channel.get(0)] += 1
    assert all(got[f"calm {lane}"] == 100 for lane in range(1, lanes))
    assert got["note"] == 50
    assert got["busy"] == 100


def test_what_waits_for_room_waits_for_no_lane_and_notes_do_not_wait() -> None:
    channel = Channel[int](1)
    assert channel.put(1)
    waiting = threading.Thread(target=channel.put, args=(2,))
    waiting.start()
    assert channel.put_newest(3, "camera") == 0
    assert channel.tell(4)
    assert sorted(channel.get(10) for _ in range(4)) == [1, 2, 3, 4]
    waiting.join(10)
    assert not waiting.is_alive()


def test_nothing_goes_in_at_the_end_and_what_is_in_comes_out() -> None:
    channel = Channel[int](1)
    channel.put_newest(1, "camera")
    channel.close()
    assert channel.put_newest(2, "camera") is None
    assert not channel.tell(3)
    assert not channel.put(4)
    assert list(channel) == [1]
    assert channel.empty
