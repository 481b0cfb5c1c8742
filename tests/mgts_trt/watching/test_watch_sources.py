"""Sources watched to their end, alone and into a gallery."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.sightings import frames_of, sighting
from mgts_trt.pictures.decoding import decode_image
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.watching.alarm_journal import AlarmJournal
from mgts_trt.watching.alarms import Alarms, Watched
from mgts_trt.watching.watch_sources import watch, watch_into
from tests.helpers.camera_scenes import scene, write_video
from tests.helpers.old_galleries import write_format_2
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PersonSearch]:
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    with PersonSearch.open(root, mode="net", threads=1) as opened:
        yield opened


@pytest.fixture
def ann(search: PersonSearch) -> list[Watched]:
    return [Watched("Ann", Question(search(scene(3)).embeddings[:1], np.zeros((0, 0), np.float32)))]


def test_one_alarm_a_track_and_a_restart_repeats_none(search, ann, tmp_path: Path) -> None:
    write_video(tmp_path / "film.avi", [3, 3, 3, 3])
    sources = find_sources([str(tmp_path / "film.avi")], camera="door")
    told: list[dict] = []

    def once() -> None:
        journal = AlarmJournal(tmp_path / "state")
        report = watch(search, sources, Alarms(ann, 0.95, journal, told.append, cool_down=0))
        journal.close()
        assert not report.failures
        assert report.frames

    once()
    once()
    sightings = [alarm["sighting"] for alarm in told]
    assert sightings
    assert len(sightings) == len(set(sightings))
    first = told[0]
    assert (first["person"], first["camera"], first["number"], first["gallery"]) == ("Ann", "door", 0, None)
    assert first["source"] == str(tmp_path / "film.avi")
    assert first["likeness"] >= 0.95
    x1, y1, x2, y2 = first["box"]
    height, width = decode_image(base64.b64decode(first["crop"]), "crop").shape[:2]
    assert (height, width) == pytest.approx((y2 - y1, x2 - x1), abs=2)
    write_video(tmp_path / "film.avi", [3, 3])  # another content is told anew
    once()
    assert len(told) > len(sightings)


def test_an_alarm_names_what_the_gallery_has_when_it_is_told(search, ann, tmp_path: Path) -> None:
    write_video(tmp_path / "film.avi", [1, 1, 3, 3])
    sources = find_sources([str(tmp_path / "film.avi")], camera="door")
    alone: list[dict] = []
    watch(search, sources, Alarms(ann, 0.95, AlarmJournal(None), alone.append))
    there = []
    with Gallery.create(tmp_path / "gallery", Space.of(search.bundle, search.mode)) as gallery:

        def look(alarm: dict) -> None:
            rows = {person.id: person for person in frames_of(gallery, alarm["sighting"])}
            there.append((alarm, rows[alarm["row"]], sighting(gallery, alarm["sighting"])))

        alarms = Alarms(ann, 0.95, AlarmJournal(None), look, gallery=gallery.url)
        report = watch_into(gallery, search, sources, alarms)
        assert (report.frames, report.skipped, report.people) == (4, 0, gallery.summary().people)
        assert there
        for alarm, row, found in there:
            assert found is not None
            assert (row.source, row.number, row.camera) == (alarm["source"], alarm["number"], "door")
            assert list(row.box) == pytest.approx(alarm["box"], abs=0.01)
            assert alarm["gallery"] == gallery.url
        # Without a gallery the ids are those it would have.
        assert [{**alarm, "gallery": None} for alarm, _, _ in there] == alone
        count = len(there)
        report = watch_into(gallery, search, sources, alarms)
        assert (report.frames, report.skipped, len(there)) == (0, 4, count)


def test_a_gallery_without_sightings_is_refused(search, ann, tmp_path: Path) -> None:
    write_format_2(tmp_path / "gallery", Space.of(search.bundle, search.mode), [])
    with (
        Gallery.open(tmp_path / "gallery") as gallery,
        pytest.raises(GalleryError, match="gallery upgrade"),
    ):
        watch_into(gallery, search, [], Alarms(ann, 0.9, AlarmJournal(None), lambda _: None))


def test_an_alarm_that_cannot_be_written_ends_it(search, ann, tmp_path: Path) -> None:
    write_video(tmp_path / "film.avi", [3, 3])
    sources = find_sources([str(tmp_path / "film.avi")])

    def full(_: object) -> None:
        raise OSError("the disk is full")

    with Gallery.create(tmp_path / "gallery", Space.of(search.bundle, search.mode)) as gallery:
        with pytest.raises(OSError, match="full"):
            watch_into(gallery, search, sources, Alarms(ann, 0.9, AlarmJournal(None), full))
        report = index(search, sources, gallery)  # what was stored is whole
        assert report.frames + report.skipped == 2
