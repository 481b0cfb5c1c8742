from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgts_trt.errors import MgtsError
from mgts_trt.tracking.tracker import Tracker, TrackerOptions
from tests.helpers.tracked_walkers import Walker, look, people_of, seen

NOBODY = people_of([], [], [])


def tracks_of(walkers: Sequence[Walker], times: Iterable[float], tracker: Tracker | None = None) -> list[set[int]]:
    """The tracks that each walker got."""
    tracker = tracker or Tracker()
    tracks: list[set[int]] = [set() for _ in walkers]
    for time in times:
        people, who = seen(walkers, time)
        update = tracker.update(time, people)
        assert len(set(update.tracks.tolist())) == len(people)
        for track, each in zip(update.tracks.tolist(), who, strict=True):
            tracks[each].add(track)
    return tracks


def alone(tracks: Sequence[set[int]]) -> bool:
    """Whether each has one track, and no two the same."""
    return all(len(each) == 1 for each in tracks) and len(set.union(*tracks)) == len(tracks)


PASSING = [Walker(1, (50, 240), (80, 0)), Walker(2, (700, 250), (-60, 0)), Walker(3, (400, 200), (0, 15), height=120)]


@pytest.mark.parametrize("rate", [25, 10, 5, 2, 1])
def test_walkers_who_cross_keep_their_tracks_at_any_rate(rate: int) -> None:
    assert alone(tracks_of(PASSING, np.arange(0, 8, 1 / rate)))


@pytest.mark.parametrize("rate", [25, 10, 5])
def test_two_who_look_alike_cross_and_one_is_hidden_meanwhile(rate: int) -> None:
    """Of the one behind nothing is seen for a while; motion tells who comes out on which side."""
    front, behind = Walker(1, (100, 240), (90, 0)), Walker(2, (700, 240), (-90, 0), hidden=(2.9, 3.8))
    alike = [look(1), 0.6 * look(1) + 0.8 * look(2)]
    tracker, tracks = Tracker(), [set[int](), set[int]()]
    for time in np.arange(0, 6.5, 1 / rate):
        there = [i for i, each in enumerate((front, behind)) if each.visible(time)]
        boxes = [(front, behind)[i].box(time) for i in there]
        update = tracker.update(time, people_of(boxes, [0.95] * len(there), [alike[i] for i in there]))
        for track, i in zip(update.tracks.tolist(), there, strict=True):
            tracks[i].add(track)
    assert alone(tracks)


@st.composite
def walkers(draw: st.DrawFn) -> list[Walker]:
    """A few who are there from the start, cross as they like, and are hidden for up to three seconds."""
    within = st.tuples(st.floats(0, 800), st.floats(100, 400))
    speeds = st.tuples(st.floats(-100, 100), st.floats(-30, 30))
    people = []
    for number in range(draw(st.integers(1, 5))):
        begin = draw(st.floats(0.5, 6))
        height, hidden = draw(st.floats(100, 250)), (begin, begin + draw(st.floats(0, 3)))
        score = draw(st.floats(0.5, 1))
        people.append(Walker(number, draw(within), draw(speeds), hidden=hidden, height=height, score=score))
    return people


@settings(max_examples=50)
@given(walkers(), st.lists(st.floats(0, 0.9), min_size=2, max_size=30))
def test_walkers_keep_their_tracks_whatever_the_times_between_frames(there: list[Walker], lapses: list[float]) -> None:
    times = [0, *np.cumsum(lapses)]
    assert alone(tracks_of(there, times))


def test_whoever_returns_within_the_patience_has_the_track_of_before() -> None:
    away = [Walker(1, (300, 240), (20, 0), until=2), Walker(1, (300, 240), (20, 0), since=5)]
    first, second = tracks_of(away, np.arange(0, 8, 0.1))
    assert first == second == {0}


def test_whoever_returns_later_has_a_new_one() -> None:
    away = [Walker(1, (300, 240), (20, 0), until=2), Walker(1, (300, 240), (20, 0), since=5)]
    first, second = tracks_of(away, np.arange(0, 8, 0.1), Tracker(TrackerOptions(patience=2)))
    assert (first, second) == ({0}, {1})


def test_another_who_stands_in_the_same_place_after_a_cut_has_a_track_of_their_own() -> None:
    cut = [Walker(1, (300, 240), (0, 0), until=2), Walker(2, (300, 240), (0, 0), since=2.05)]
    assert alone(tracks_of(cut, np.arange(0, 4, 0.1)))


def test_a_still_that_repeats_is_one_track_and_goes_on() -> None:
    tracker, walker = Tracker(), Walker(1, (100, 240), (80, 0))
    times = [*np.arange(0, 2, 0.1), *[1.9] * 50, *np.arange(2, 4, 0.1)]
    tracks = {tracker.update(0.1 * i, seen([walker], time)[0]).tracks[0] for i, time in enumerate(times)}
    assert tracks == {0}


def test_after_a_clock_went_back_appearance_says_who_is_there() -> None:
    """The stream may have been away for any time: whoever stands in the place of another need not be them."""
    tracker = Tracker()
    assert tracker.update(100, seen([Walker(1, (300, 240), (0, 0))], 0)[0]).tracks == [0]
    vague = people_of([Walker(1, (300, 240), (0, 0)).box(0)], [1], [0.3 * look(1) + np.sqrt(1 - 0.3**2) * look(2)])
    assert tracker.update(5, vague[[]]).ended == []
    assert tracker.update(5.1, vague).tracks == [1]
    assert tracker.update(5.2, seen([Walker(1, (300, 240), (0, 0))], 0)[0]).tracks == [0]


def test_whoever_leaves_the_picture_keeps_the_track_to_the_last() -> None:
    """Of a person half outside, box and embedding change alike."""
    tracker = Tracker()
    whole = people_of([np.float32([560, 0, 760, 420])], [1], [look(0)])
    assert tracker.update(0, whole).tracks == [0]
    assert tracker.update(0.1, people_of([np.float32([620, 0, 768, 420])], [1], [look(0)])).tracks == [0]
    leg = people_of([np.float32([700, 250, 768, 430])], [1], [0.1 * look(0) + np.sqrt(1 - 0.1**2) * look(1)])
    assert tracker.update(0.2, leg).tracks == [0]


def test_a_clock_that_goes_back_ends_nothing() -> None:
    tracker, walkers = Tracker(), [Walker(1, (100, 240), (40, 0)), Walker(2, (600, 240), (0, 0))]
    tracks = [
        tracker.update(time - (3600 if time >= 2 else 0), seen(walkers, time)[0]) for time in np.arange(0, 4, 0.1)
    ]
    assert all(update.tracks.tolist() == [0, 1] and update.ended == [] for update in tracks)


def test_low_scores_take_what_is_left() -> None:
    """A shadow of somebody, nearly where they are, is no reason to lose their track."""
    walker = Walker(1, (100, 240), (80, 0))
    shadow = replace(walker, at=(125, 240), score=0.4)
    tracks = tracks_of([shadow, walker], np.arange(0, 4, 0.1))
    assert tracks[1] == {0}


@settings(max_examples=25)
@given(st.permutations(range(3)), st.integers(1, 5))
def test_the_order_of_people_in_a_frame_changes_nothing(order: list[int], rate: int) -> None:
    def partition(order: Sequence[int]) -> list[list[tuple[float, int]]]:
        tracker, tracks = Tracker(), dict[int, list[tuple[float, int]]]()
        for time in np.arange(0, 5, 1 / rate):
            people, _ = seen(PASSING, time)
            for place, track in zip(order, tracker.update(time, people[list(order)]).tracks.tolist(), strict=True):
                tracks.setdefault(track, []).append((time, place))
        return sorted(tracks.values())

    assert partition(order) == partition(range(3))


@settings(max_examples=25)
@given(st.lists(st.floats(0, 8), max_size=10))
def test_frames_with_nobody_change_nothing(empty: list[float]) -> None:
    times = [*np.arange(0, 3, 0.3), *np.arange(5, 8, 0.3)]
    with_people = [Tracker(), Tracker()]
    expected = [with_people[0].update(time, seen(PASSING, time)[0]).tracks.tolist() for time in times]
    got = [
        with_people[1].update(time, seen(PASSING, time)[0] if there else NOBODY).tracks.tolist()
        for time, there in sorted([*((time, True) for time in times), *((time, False) for time in empty)])
    ]
    assert [each for each in got if each] == expected


def test_ends_are_told_once_and_names_are_never_used_again() -> None:
    tracker = Tracker(TrackerOptions(patience=1))
    assert tracker.update(0, seen([Walker(1, (300, 240), (0, 0)), Walker(2, (600, 240), (0, 0))], 0)[0]).ended == []
    assert tracker.update(0.9, NOBODY).ended == []
    assert tracker.update(1.1, NOBODY).ended == [0, 1]
    update = tracker.update(1.2, seen([Walker(1, (300, 240), (0, 0))], 0)[0])
    assert (update.tracks.tolist(), update.ended) == ([2], [])
    assert tracker.finish() == [2]
    assert tracker.finish() == []
    assert tracker.update(0, seen([Walker(1, (300, 240), (0, 0))], 0)[0]).tracks.tolist() == [3]


@pytest.mark.parametrize("time", [np.nan, np.inf])
def test_a_time_that_is_none_is_refused(time: float) -> None:
    with pytest.raises(MgtsError, match="time of a frame"):
        Tracker().update(time, NOBODY)


def test_embeddings_of_another_length_are_refused() -> None:
    tracker = Tracker()
    tracker.update(0, people_of([np.float32([0, 0, 9, 9])], [1], [np.float32([1, 0])]))
    with pytest.raises(MgtsError, match="Embeddings of 2 numbers expected"):
        tracker.update(1, people_of([np.float32([0, 0, 9, 9])], [1], [np.float32([1, 0, 0])]))


@pytest.mark.parametrize(
    "options", [{"patience": 0}, {"patience": np.nan}, {"like": 1.5}, {"appearance": -0.1}, {"overlap": np.nan}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(MgtsError, match=next(iter(options))):
        TrackerOptions(**options)
