from dataclasses import replace
from pathlib import Path

import pytest

from mgts_trt.gallery import Entry, Gallery, Person, Sighting, retracking, upgrading
from mgts_trt.gallery.indexing.following import Followers
from mgts_trt.gallery.sightings import frames_of, search_sightings, sighting, sightings_of
from mgts_trt.gallery.upgrading import upgrade
from mgts_trt.gallery.watched import told_beside
from tests.helpers.old_galleries import write_format_2
from tests.helpers.stored_people import SPACE, content, entry, unit
from tests.helpers.walkers import agree, sightings_held, stored_in_batches, walk

pytest.importorskip("lancedb")

VIDEO, STREAM = "/walk.mp4", "rtsp://camera/1"


def held() -> list[Entry]:
    """Of a video, a stream, a photo, and a picture over HTTP that bears the name of a video."""
    return [
        *walk(1, 40, VIDEO),
        *walk(2, 40, STREAM, "", start=1.7e9),
        entry(0, 2, source="/a.jpg", sha256="7" * 64, time=None, camera=None),
        entry(0, 1, source="clip.mp4", sha256="6" * 64, time=1.7e9, camera="3"),
    ]


@pytest.fixture
def place(tmp_path) -> Path:
    write_format_2(tmp_path / "g", SPACE, held())
    return tmp_path / "g"


def test_an_older_gallery_is_read_and_written_frame_by_frame(place: Path) -> None:
    with Gallery.create(place, SPACE) as gallery:
        assert (gallery.format, gallery.sightings) == (2, None)
        summary = gallery.summary()
        assert (summary.format, summary.sightings, summary.frames, summary.sources) == (2, None, 82, 4)
        probe = unit(1, rows=1)[0]
        found = search_sightings(gallery, probe, top=5)
        assert [each.id for each in found] == [each.id for each in gallery.search(probe, top=5)]
        assert all(isinstance(each, Person) for each in found)
        assert sightings_of(gallery) == ([], 0)
        assert sighting(gallery, "s-1") is None
        assert frames_of(gallery, "s-1") == []
        followers = Followers(gallery, 5.0)
        stored_in_batches(gallery, followers, walk(1, 50, VIDEO))
        followers.finish()
        assert gallery.summary().frames == 92
        gallery.end_video(VIDEO, "9" * 64, 50)
        assert gallery.frames_done(VIDEO, "9" * 64) == (set(range(50)), 50)
        gallery.optimise()
        assert gallery.forget("/a.jpg") == 2
        assert gallery.remove_changed({"clip.mp4": "1" * 64}) == 1


def test_it_is_upgraded_and_nothing_is_lost(place: Path, tmp_path: Path) -> None:
    with Gallery.open(place) as old:
        before = content(old)
    steps = []
    made = upgrade(place, on_progress=lambda *step: steps.append(step))
    assert (made.before, made.sources, steps) == (2, 2, [(1, 2), (2, 2)])
    with Gallery.create(place, SPACE) as gallery, Gallery.create(tmp_path / "new", SPACE) as new:
        assert content(gallery) == before
        assert gallery.format == 3
        assert gallery.summary().sightings == made.sightings > 4
        agree(gallery, VIDEO)
        agree(gallery, STREAM)
        followers = Followers(new, 5.0)
        for entries in (held()[:40], held()[40:-1]):
            stored_in_batches(new, followers, entries)
        followers.finish()
        new.add(held()[-1:])
        new.store_sightings(followers.changed())
        assert sightings_held(gallery) == sightings_held(new), "as if it had been indexed today"
        assert {type(each) for each in search_sightings(gallery, unit(1, rows=1)[0], top=99)} == {Person, Sighting}
        agree_again = sightings_held(gallery)
    assert upgrade(place)[:2] == (3, 0)
    with Gallery.open(place) as gallery:
        assert sightings_held(gallery) == agree_again
        assert gallery.done([each.frame.key for each in held()]) == {each.frame.key for each in held()}


class KilledError(Exception):
    pass


@pytest.mark.parametrize("step", [1, 2, 3, 6, 7, 8, 11, 12])
def test_killed_on_the_way_it_goes_on(place: Path, tmp_path: Path, monkeypatch, step: int) -> None:
    calls = []

    def cut(call):
        calls.append(1)
        if len(calls) == step:
            raise KilledError
        return call()

    for module in (upgrading, retracking):
        monkeypatch.setattr(module, "retried", cut)
    with pytest.raises(KilledError):
        upgrade(place)
    monkeypatch.undo()
    with Gallery.open(place) as gallery:
        assert len(content(gallery)) == gallery.count() == sum(len(each.people) for each in held())
        gallery.search(unit(1, rows=1)[0])
    upgrade(place)
    with Gallery.open(place) as gallery:
        agree(gallery, VIDEO)
        agree(gallery, STREAM)
        assert upgrade(place).sources == 0


def test_who_opened_it_before_goes_on_writing(place: Path) -> None:
    with Gallery.open(place) as old:
        upgrade(place)
        more = [replace(each, frame=replace(each.frame, source="/late.mp4")) for each in walk(3, 10)]
        old.add(more)
        old.add([entry(0, 1, source="/late.jpg", sha256="8" * 64)])
    assert upgrade(place).sources == 1
    with Gallery.open(place) as gallery:
        agree(gallery, "/late.mp4")
        agree(gallery, VIDEO)


def test_a_stream_that_is_being_indexed_is_left_to_who_indexes_it(tmp_path: Path) -> None:
    place = tmp_path / "g"
    with Gallery.create(place, SPACE) as gallery:
        followers = Followers(gallery, 5.0)
        stored_in_batches(gallery, followers, walk(2, 40, STREAM, "", start=1.7e9))

        def still_open() -> int:
            return sum(not row["closed"] for row in sightings_held(gallery)[0].values())

        before = still_open()
        assert before
        with told_beside(place, lambda: [{"source": STREAM}]):
            upgrade(place)
            assert still_open() == before
        upgrade(place)
        assert still_open() == 0
