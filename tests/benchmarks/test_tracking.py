import numpy as np
import pytest

from benchmarks.tracking import Sequence, Truth, count_passings, ours, score
from mgts_trt.tracking.tracker import TrackerOptions
from tests.helpers.tracked_walkers import Walker, seen


def sequence(*walkers: Walker, seconds: float, rate: float = 10.0) -> Sequence:
    times = [number / rate for number in range(round(seconds * rate))]
    people = [seen(walkers, time)[0] for time in times]
    truth = []
    for time in times:
        there = [walker for walker in walkers if walker.visible(time)]
        boxes = np.float32([walker.box(time) for walker in there]).reshape(-1, 4)
        truth.append(Truth(np.array([walker.look for walker in there], int), boxes))
    return Sequence("drawn", times, people, truth)


PASSING = sequence(
    Walker(1, (100, 200), (60, 0), since=1, until=4),
    Walker(2, (700, 200), (-60, 0), since=10, until=13),
    seconds=20,
)
FRAMES = [(10, 40), (100, 130)]


def none_of(sequence: Sequence) -> list:
    return [(np.zeros(0, int), np.zeros(0, int)) for _ in sequence.times]


@pytest.mark.parametrize("every", [1, 5])
def test_each_passing_has_a_track(every: int) -> None:
    thinned = PASSING.every(every)
    assert len(thinned.times) == 200 // every
    found = count_passings(thinned, "ours", every, ours(TrackerOptions())(thinned), FRAMES)
    assert (found.passings, found.missed, found.split, found.merged, found.tracks_of_nobody) == (2, 0, 0, 0, 0)
    assert found.late <= every / 10


def test_what_is_wrong_is_counted() -> None:
    tracks = ours(TrackerOptions())(PASSING)
    assert count_passings(PASSING, "x", 1, none_of(PASSING), FRAMES).missed == 2
    assert count_passings(PASSING, "x", 1, [(rows, names * 0) for rows, names in tracks], FRAMES).merged == 1
    broken = [(rows, names + 10 * (number > 115)) for number, (rows, names) in enumerate(tracks)]
    assert count_passings(PASSING, "x", 1, broken, FRAMES).split == 1
    assert count_passings(PASSING, "x", 1, tracks, FRAMES[:1]).tracks_of_nobody == 1
    later = [(rows[:0], names[:0]) if number < 12 else (rows, names) for number, (rows, names) in enumerate(tracks)]
    assert count_passings(PASSING, "x", 1, later, FRAMES).late == pytest.approx(0.2)


def test_scores_by_the_known_evaluator() -> None:
    pytest.importorskip("trackeval", reason="needs the extra tracking")
    perfect = score(PASSING, "ours", ours(TrackerOptions())(PASSING))
    assert (perfect.identities, perfect.tracks, perfect.switches) == (2, 2, 0)
    assert perfect.hota == perfect.idf1 == perfect.mota == 1
    assert score(PASSING, "none", none_of(PASSING)).mota == 0
