import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.gallery import Gallery, Sighting, store
from mgts_trt.gallery.indexing.following import Followers
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.reading import LiveOptions
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.gallery.retracking import retrack
from mgts_trt.gallery.sightings import frames_of, search_sightings, sightings_of
from mgts_trt.gallery.verifying import verify
from mgts_trt.machine.files import file_sha256
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.camera_scenes import camera, scene, write_scenes
from tests.helpers.stored_people import SPACE, content, entry
from tests.helpers.walkers import agree, sightings_held, stored_in_batches, walk

pytest.importorskip("lancedb")

STREAM = "rtsp://camera/1"
ALONE = 11
"""Of a scene with one person."""


def write_still(path: Path, seeds: list[int], each: int) -> None:
    """Every scene for some frames, 10 a second: whoever is in it stays there."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    for seed in seeds:
        for _ in range(each):
            writer.write(scene(seed)[..., ::-1])
    writer.release()


def test_a_video_has_a_sighting_a_person_and_photos_have_none(
    search: PersonSearch, gallery: Gallery, tmp_path: Path
) -> None:
    write_scenes(tmp_path / "in", range(3))
    write_still(tmp_path / "in" / "a.avi", [1], 12)
    write_still(tmp_path / "in" / "b.avi", [9, 2], 5)  # nobody is in the first
    report = index(search, find_sources([str(tmp_path / "in")], camera="7"), gallery, batch=4)
    assert report.frames == 3 + 12 + 10
    for name, seed, first, frames in (("a.avi", 1, 0, 12), ("b.avi", 2, 5, 5)):
        agree(gallery, str(tmp_path / "in" / name))
        there = [each for each in sightings_of(gallery).sightings if each.source.endswith(name)]
        assert len(there) == len(search(scene(seed)))
        assert {(each.first, each.frames, each.camera, each.closed) for each in there} == {(first, frames, "7", True)}
        assert {len(frames_of(gallery, each.id)) for each in there} == {frames}
    of_people = sightings_held(gallery)[1]
    photos = [person for person, _ in gallery.rows() if person.source.endswith(".png")]
    assert photos
    assert {of_people[person.id] for person in photos} == {None}
    probe = search(scene(1))
    found = search_sightings(gallery, probe.embeddings[0], top=2)
    assert {type(each) is Sighting for each in found} == {True, False}, "the photo of the scene, and its video"
    assert index(search, find_sources([str(tmp_path / "in")]), gallery).skipped == 25


def test_interrupted_and_of_other_steps_it_ends_the_same(
    search: PersonSearch, gallery: Gallery, tmp_path: Path
) -> None:
    write_still(tmp_path / "v.avi", [1, 2, 3, 4], 10)
    sources, stop = find_sources([str(tmp_path / "v.avi")]), threading.Event()
    index(search, sources, gallery, batch=4, stop=stop, on_progress=lambda now: now.frames >= 5 and stop.set())
    agree(gallery, sources[0].name)
    index(search, sources, gallery, every=3)
    agree(gallery, sources[0].name)
    index(search, sources, gallery)
    agree(gallery, sources[0].name)
    with Gallery.create(tmp_path / "at once", gallery.space) as other:
        index(search, sources, other)
        assert sightings_held(other) == sightings_held(gallery)


def write_cut(path: Path, background: tuple[int, int, int]) -> None:
    """Somebody for ten frames, and then, one step aside, ten more: before a wall of this colour."""
    image = scene(ALONE)
    aside = np.roll(image, 16, axis=1)
    aside = np.where(aside.min(axis=2, keepdims=True) >= 190, aside, np.uint8(background))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    for picture in [image] * 10 + [aside] * 10:
        writer.write(picture[..., ::-1])
    writer.release()


def _index_some(search: PersonSearch, sources: list, gallery: Gallery) -> None:
    stop = threading.Event()
    index(search, sources, gallery, batch=2, stop=stop, on_progress=lambda now: now.frames >= 4 and stop.set())


def test_a_cut_ends_all_sightings_however_often_it_is_interrupted(
    search: PersonSearch, gallery: Gallery, tmp_path: Path
) -> None:
    for name, background in (("one.avi", (60, 60, 60)), ("cut.avi", (20, 110, 20))):
        write_cut(tmp_path / name, background)
    sources = find_sources([str(tmp_path / "one.avi"), str(tmp_path / "cut.avi")])
    for frames in (13, 24, 33):
        _index_some(search, sources, gallery)
        assert gallery.summary().frames < frames
    index(search, sources, gallery)
    assert gallery.summary().frames == 40
    for source, spans in ((sources[0].name, [(0, 19)]), (sources[1].name, [(0, 9), (10, 19)])):
        agree(gallery, source)
        assert [(each.first, each.last) for each in sightings_of(gallery).sightings if each.source == source] == spans
    before = sightings_held(gallery)
    retrack(gallery, sources[1].name, file_sha256(tmp_path / "cut.avi"))
    assert sightings_held(gallery) == before
    with Gallery.create(tmp_path / "at once", gallery.space) as other:
        index(search, sources, other)
        assert sightings_held(other) == before
        assert verify(other.url).clean


def test_cut_off_after_the_last_frame_it_is_made_good_next_time(
    search: PersonSearch, gallery: Gallery, tmp_path: Path, monkeypatch
) -> None:
    write_still(tmp_path / "v.avi", [1, 2], 10)
    sources = find_sources([str(tmp_path / "v.avi")])
    monkeypatch.setattr(Followers, "finish", lambda self: None)  # as if killed before
    index(search, sources, gallery)
    monkeypatch.undo()
    assert not all(each.closed for each in sightings_of(gallery).sightings)
    report = index(search, sources, gallery)
    assert (report.frames, report.skipped) == (0, 20)
    agree(gallery, sources[0].name)
    assert all(each.closed for each in sightings_of(gallery).sightings)


def test_a_stream_has_sightings_as_it_goes(search: PersonSearch, gallery: Gallery) -> None:
    told, stop = [], threading.Event()

    def look(_: object) -> None:
        page = sightings_of(gallery)
        if page.sightings:
            told.append({each.closed for each in page.sightings})
            stop.set()

    with camera(pause=0.02) as live:
        index(
            search,
            find_sources([live.url]),
            gallery,
            batch=4,
            live=LiveOptions(silence=60),
            stop=stop,
            on_progress=look,
        )
    assert False in told[0], "committed while it was open"
    agree(gallery, live.url)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_ends_the_sightings_of_a_stream(tmp_path: Path) -> None:
    clock = Clock()
    entries = walk(0, source=STREAM, sha256="", start=1.7e9)
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        followers = Followers(gallery, 30.0, clock)
        assert followers.due() is None
        stored_in_batches(gallery, followers, entries[:20])
        assert followers.due() == 30
        clock.now += 29
        followers.end_silent()
        assert followers.due() == 1
        assert followers.changed() == []
        clock.now += 1
        followers.end_silent()
        assert followers.due() is None
        gallery.store_sightings(followers.changed())
        agree(gallery, STREAM, closed=True)
        before = sightings_held(gallery)[0]
        stored_in_batches(gallery, followers, entries[20:])
        agree(gallery, STREAM, closed=None)
        assert before.items() <= sightings_held(gallery)[0].items(), "who comes afterwards is seen anew"
        followers.finish()
        gallery.store_sightings(followers.changed())
        agree(gallery, STREAM)


def test_another_run_settles_what_one_left_open(tmp_path: Path) -> None:
    entries = walk(3, source=STREAM, sha256="", start=1.7e9)
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        stored_in_batches(gallery, Followers(gallery, 5.0), entries[:30])  # and was killed
        assert not all(row["closed"] for row in sightings_held(gallery)[0].values())
        followers = Followers(gallery, 5.0)
        followers.name(entries[40])
        agree(gallery, STREAM)


class KilledError(Exception):
    """As a process is: nothing that comes afterwards is done."""


@pytest.mark.parametrize("commit", ["people", "sightings", "frames"])
@pytest.mark.parametrize("live", [False, True])
def test_killed_before_each_commit(tmp_path: Path, monkeypatch, commit: str, live: bool) -> None:
    name = STREAM if live else "/walk.mp4"
    entries = walk(9, source=name, **({"sha256": "", "start": 1.7e9} if live else {}))
    merge_by = store.merge_by

    def cut(key: str, table: object) -> object:
        if table.name == commit:
            raise KilledError
        return merge_by(key, table)

    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        followers = Followers(gallery, 5.0)
        stored_in_batches(gallery, followers, entries[:40])
        closed = {name: row for name, row in sightings_held(gallery)[0].items() if row["closed"]}
        assert closed
        monkeypatch.setattr(store, "merge_by", cut)
        with pytest.raises(KilledError):
            stored_in_batches(gallery, followers, entries[40:48])
        monkeypatch.undo()
        kept = content(gallery)
        # A stream goes on with what comes next; of a video, what is not done is read again.
        done = gallery.done([each.frame.key for each in entries])
        followers = Followers(gallery, 5.0)
        stored_in_batches(gallery, followers, entries[48:] if live else [e for e in entries if e.frame.key not in done])
        followers.finish()
        stored_in_batches(gallery, followers, [])
        agree(gallery, name)
        assert set(kept) <= set(content(gallery)), "nothing is lost"
        assert len({row[0] for row in content(gallery)}) == gallery.count(), "nothing is there twice"
        assert closed.items() <= sightings_held(gallery)[0].items(), "never one that was closed"
        if not live:
            assert gallery.summary().frames == len(entries)
            online = sightings_held(gallery)
            retrack(gallery, name, "9" * 64)
            assert sightings_held(gallery) == online


def test_several_sources_are_followed_apart(tmp_path: Path) -> None:
    other = "rtsp://camera/2"
    mine = walk(1, source=STREAM, sha256="", start=1.7e9)
    theirs = [replace(each, frame=replace(each.frame, source=other)) for each in mine]
    mixed = [each for both in zip(mine, theirs, strict=True) for each in both]
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        followers = Followers(gallery, 5.0)
        stored_in_batches(gallery, followers, [*mixed[:60], entry(1, source="/a.jpg"), *mixed[60:]], size=7)
        followers.finish()
        gallery.store_sightings(followers.changed())
        agree(gallery, STREAM)
        agree(gallery, other)
        held = sightings_held(gallery)[0].values()
        counts = [[row["frames"] for row in held if row["source"] == name] for name in (STREAM, other)]
        assert sorted(counts[0]) == sorted(counts[1])
