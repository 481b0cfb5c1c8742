import os
import random
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.errors import GalleryError, SourceError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.indexing.index import ROOM, index
from mgts_trt.gallery.indexing.reading import LiveOptions
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.camera_scenes import camera, write_scenes, write_video
from tests.helpers.indexing_runs import indexing
from tests.helpers.stored_people import content
from tests.helpers.video_files import announcing, live_muxed, sounding_first, write_film
from tests.helpers.walkers import agree, sightings_held

pytest.importorskip("lancedb")


def test_the_pipeline_is_warm_before_the_first_picture_and_only_where_there_is_one(
    search: PersonSearch, gallery: Gallery, tmp_path: Path
) -> None:
    write_scenes(tmp_path / "in", range(3))
    sources = find_sources([str(tmp_path / "in")])
    told, done = [], []

    def on_warm_up(*step: int) -> None:
        told.append((*step, len(done)))

    with PersonSearch(search.bundle, mode="none", threads=1) as cold:
        report = index(cold, sources, gallery, on_progress=lambda now: done.append(now.frames), on_warm_up=on_warm_up)
        assert report.frames == 3
        assert told == [(1, 2, 0), (2, 2, 0)], "detector and IDNet, before any picture"
        write_scenes(tmp_path / "in", range(3, 5))
        assert index(cold, find_sources([str(tmp_path / "in")]), gallery, on_warm_up=on_warm_up).frames == 2
        assert len(told) == 2, "it is warm"
    with PersonSearch(search.bundle, mode="none", threads=1) as cold:
        assert index(cold, sources, gallery, on_warm_up=on_warm_up).skipped == 3
        assert len(told) == 2, "nothing was searched"


def test_a_folder_and_the_same_again(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    paths = write_scenes(tmp_path / "in", range(40))
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 none")
    sources = find_sources([str(tmp_path / "in")], camera="3")
    seen = []
    report = index(search, sources, gallery, on_progress=lambda now: seen.append((now.frames, now.expected)))
    rows = content(gallery)
    assert (report.frames, report.skipped, report.expected, report.interrupted) == (40, 0, 41, False)
    assert report.people == len(rows) == sum(len(search(image)) for image in map(_read, paths))
    assert [Path(failure.source).name for failure in report.failures] == ["broken.jpg"]
    assert seen[-1][1] == 41
    assert {row[4] for row in rows} == {"3"}
    person, embedding = next(iter(gallery.rows()))
    found = search(_read(Path(person.source)))
    assert any(np.array_equal(embedding, other) for other in found.embeddings)
    assert person.thumbnail.startswith(b"\xff\xd8")

    (tmp_path / "in" / "broken.jpg").write_bytes((tmp_path / "in" / "0001.png").read_bytes())
    again = index(search, sources, gallery, thumbnails=False)
    assert (again.frames, again.skipped, again.failures) == (1, 40, [])
    assert len(content(gallery)) == len(rows) + again.people
    assert {person.thumbnail for person, _ in gallery.rows() if person.source.endswith("broken.jpg")} == {b""}


def test_nothing_to_index_ends_at_once(search: PersonSearch, gallery: Gallery) -> None:
    done = []
    thread = threading.Thread(target=lambda: done.append(index(search, [], gallery)), daemon=True)
    thread.start()
    thread.join(60)
    assert [(report.frames, report.expected, report.failures) for report in done] == [(0, 0, [])]


def test_a_damaged_file_is_indexed_and_told(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    (path,) = write_scenes(tmp_path / "in", range(1))
    data = cv2.imencode(".jpg", _read(path)[..., ::-1])[1].tobytes()
    (tmp_path / "in" / "whole.jpg").write_bytes(data)
    (tmp_path / "in" / "harmed.jpg").write_bytes(data[:-40] + b"\xff\xd9")
    report = index(search, find_sources([str(tmp_path / "in")]), gallery)
    assert (report.frames, report.failures) == (3, [])
    (sentence,) = report.damaged
    assert f"{tmp_path / 'in' / 'harmed.jpg'} is damaged" in sentence


def test_a_changed_file_takes_the_place_of_the_old(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", range(3))
    write_video(tmp_path / "in" / "v.avi", range(20, 28))
    sources = find_sources([str(tmp_path / "in")])
    index(search, sources, gallery)
    before = content(gallery)
    (tmp_path / "in" / "0000.png").write_bytes((tmp_path / "in" / "0001.png").read_bytes())
    write_video(tmp_path / "in" / "v.avi", range(40, 43))
    report = index(search, sources, gallery)
    assert (report.frames, report.skipped) == (4, 2)
    after = content(gallery)
    kept = {row for row in before if row[1].endswith(("0001.png", "0002.png"))}
    assert kept == set(before) & set(after)
    assert len({row[5] for row in after}) == 3  # hashes: 0000 and 0001 have the same bytes now
    with Gallery.create(tmp_path / "fresh", gallery.space) as fresh:
        index(search, sources, fresh)
        assert content(fresh) == after


def test_a_video(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", range(20))
    sources = find_sources([str(tmp_path / "v.avi")])
    report = index(search, sources, gallery, every=4)
    assert (report.frames, report.expected) == (5, 5)
    assert {(person.number, person.time) for person, _ in gallery.rows()} == {
        (number, number / 10) for number in (0, 4, 8, 12, 16)
    }
    report = index(search, sources, gallery, every=2)
    assert (report.frames, report.skipped) == (5, 5)
    assert {person.number for person, _ in gallery.rows()} == set(range(0, 20, 2)) - {9}
    assert index(search, sources, gallery, every=2).skipped == 10


def test_another_camera_is_taken_over(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", range(40))
    write_video(tmp_path / "in" / "v.avi", range(20, 28))
    index(search, find_sources([str(tmp_path / "in")], camera="1"), gallery)
    before = content(gallery)
    write_scenes(tmp_path / "in", range(41))
    report = index(search, find_sources([str(tmp_path / "in")], camera="2"), gallery)
    assert (report.frames, report.skipped, report.corrected) == (1, 48, 48)
    assert {person.camera for person, _ in gallery.rows()} == {"2"}
    assert {row[:4] for row in before} <= {row[:4] for row in content(gallery)}
    report = index(search, find_sources([str(tmp_path / "in")]), gallery)  # none told: the last one stays
    assert (report.skipped, report.corrected) == (49, 0)
    assert {person.camera for person, _ in gallery.rows()} == {"2"}


def test_what_is_no_video(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    write_video(tmp_path / "cut.avi", range(60))
    data = (tmp_path / "cut.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.mp4").write_text("I am no video")
    report = index(search, find_sources([str(tmp_path)]), gallery)
    assert 0 < report.frames < 60
    faults = ("is cut short or damaged", "is not a video OpenCV can read")
    assert len(report.failures) == 2
    assert all(fault in str(failure.error) for fault, failure in zip(faults, report.failures, strict=True))


@pytest.mark.parametrize("kind", ["announcing", "live", "sounding", ".mp4", ".ts", ".wmv"])
def test_a_whole_video_is_decoded_once(
    search: PersonSearch, gallery: Gallery, tmp_path: Path, monkeypatch, kind: str
) -> None:
    from mgts_trt.gallery.indexing import reading

    file = tmp_path / (f"v{kind}" if kind.startswith(".") else "v.webm")
    film = write_film(file, range(30))
    if kind == "announcing":
        file.write_bytes(announcing(film, 60))
    elif not kind.startswith("."):
        live = live_muxed(film)
        file.write_bytes(live if kind == "live" else sounding_first(live, 5000))
    sources, decoded, decode = find_sources([str(file)]), [], reading.video_frames
    monkeypatch.setattr(reading, "video_frames", lambda path, *rest: (decoded.append(path), decode(path, *rest))[1])
    report = index(search, sources, gallery, every=3)
    assert (report.frames, report.skipped, report.expected, report.failures) == (10, 0, 10, [])
    again = index(search, sources, gallery, every=3)
    assert (again.frames, again.skipped, again.expected, again.failures) == (0, 10, 10, [])
    assert index(search, sources, gallery, every=6).skipped == 5
    assert len(decoded) == 1
    assert gallery.summary().frames == 10
    report = index(search, sources, gallery, every=2)  # of which every third is there
    assert (report.frames, report.skipped, len(decoded)) == (10, 5, 2)
    sha256 = content(gallery)[0][5]
    assert gallery.frames_done(sources[0].name, sha256)[1] == 30
    gallery.forget(sources[0].name)
    assert gallery.frames_done(sources[0].name, sha256) == (set(), None)


def test_a_video_of_unknown_length_goes_on(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    file, stop = tmp_path / "v.webm", threading.Event()
    file.write_bytes(live_muxed(write_film(file, range(40))))
    sources = find_sources([str(file)])
    report = index(search, sources, gallery, stop=stop, on_progress=lambda now: now.frames >= 5 and stop.set())
    assert 5 <= report.frames < 40
    rest = index(search, sources, gallery)
    assert (rest.frames, rest.skipped) == (40 - report.frames, report.frames)


def test_a_video_cut_short_is_reported_again(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    for name in ("a.webm", "b.mp4", "c.wmv", "d.mkv", "e.avi"):
        data = write_film(tmp_path / name, range(40))
        (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    data = write_film(tmp_path / "f.avi", range(40))  # and one with a gap
    (tmp_path / "f.avi").write_bytes(data[: len(data) // 3] + bytes(len(data) // 3) + data[len(data) // 3 * 2 :])
    write_video(tmp_path / "g.mp4", range(40), "mp4v")  # and one whose index came last
    os.truncate(tmp_path / "g.mp4", 9000)
    sources = find_sources([str(tmp_path)])
    first = index(search, sources, gallery)
    assert first.frames > 60
    again = index(search, sources, gallery)
    assert (again.frames, again.skipped) == (0, first.frames)
    for report in (first, again):
        assert [Path(failure.source) for failure in report.failures] == [Path(source.name) for source in sources]
        assert all("is cut short or damaged" in str(failure.error) for failure in report.failures)


def test_only_what_cannot_be_read(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    report = index(search, find_sources([str(tmp_path / "empty.jpg")]), gallery)
    assert (report.frames, len(report.failures)) == (0, 1)
    assert "empty" in str(report.failures[0].error)


@pytest.mark.slow
def test_killed_ten_times(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", range(110))
    write_video(tmp_path / "in" / "a.avi", range(200, 220))
    given, chance = (search.bundle.root, tmp_path / "in", tmp_path / "killed"), random.Random(0)
    kills = 0
    for _ in range(10):
        with indexing(*given) as run:
            # Told of each picture searched; most runs die between commits, in them, or between people and frames.
            assert run.read(chance.randint(1, 14))
            time.sleep(chance.uniform(0, 0.05))
            kills += run.kill() == -9
    assert kills == 10
    with indexing(*given) as run:
        assert run.end() == 0

    index(search, find_sources([str(tmp_path / "in")]), gallery)
    with Gallery.open(tmp_path / "killed", gallery.space) as killed:
        assert content(killed) == content(gallery)
        assert sightings_held(killed) == sightings_held(gallery)
        agree(killed, str(tmp_path / "in" / "a.avi"))
        assert killed.summary().frames == gallery.summary().frames == 130


KILLS = 3
"""Of a stream; twenty take some minutes."""


@pytest.mark.slow
def test_a_stream_killed_time_and_again(search: PersonSearch, tmp_path: Path) -> None:
    place, chance = tmp_path / "killed", random.Random(0)
    closed, people = dict[str, dict](), 0
    with camera(pause=0.02) as live:
        for _ in range(KILLS):
            with indexing(search.bundle.root, live.url, place, silence=0.2) as run:
                assert run.read(chance.randint(12, 40))
                time.sleep(chance.uniform(0, 0.1))
                assert run.kill() == -9
            with Gallery.open(place) as gallery:
                held, rows = sightings_held(gallery)
                assert len(rows) == gallery.count() >= people
                assert closed.items() <= held.items(), "never one that was closed"
                closed, people = {name: row for name, row in held.items() if row["closed"]}, len(rows)
        with Gallery.open(place) as gallery:
            index(search, find_sources([live.url]), gallery, live=LiveOptions(limit=8))
            agree(gallery, live.url)
            assert gallery.count() > people
            assert closed.items() <= sightings_held(gallery)[0].items()
    assert closed


def test_stopped_and_taken_up(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", range(60))
    sources, stop = find_sources([str(tmp_path / "in")]), threading.Event()
    report = index(search, sources, gallery, stop=stop, on_progress=lambda now: now.frames >= 5 and stop.set())
    assert report.interrupted
    assert 5 <= report.frames <= 6 + ROOM  # what was in flight is stored
    assert gallery.summary().frames == report.frames
    rest = index(search, sources, gallery)
    assert (rest.frames, rest.skipped) == (60 - report.frames, report.frames)


def test_commits_hold_many_frames(search: PersonSearch, gallery: Gallery, tmp_path: Path, monkeypatch) -> None:
    write_scenes(tmp_path / "in", range(20))
    sizes, add = [], gallery.add
    monkeypatch.setattr(gallery, "add", lambda entries, _: (sizes.append(len(entries)), add(entries)))
    index(search, find_sources([str(tmp_path / "in")]), gallery, batch=8, latency=600)
    assert sizes == [8, 8, 4]


def test_reading_waits_for_the_pipeline(search: PersonSearch, gallery: Gallery, tmp_path: Path, monkeypatch) -> None:
    from mgts_trt.gallery.indexing import reading

    write_scenes(tmp_path / "in", range(40))
    decoded, ahead, decode = [], [], reading.decode_picture
    monkeypatch.setattr(reading, "decode_picture", lambda *given: (decoded.append(1), decode(*given))[1])

    def slowly(report) -> None:
        time.sleep(0.01)
        ahead.append(len(decoded) - report.frames)

    index(search, find_sources([str(tmp_path / "in")]), gallery, on_progress=slowly)
    assert max(ahead) <= ROOM + 4 + 3  # waiting, being decoded, in hand


def test_what_cannot_be_written_ends_it(search: PersonSearch, gallery: Gallery, tmp_path: Path, monkeypatch) -> None:
    write_scenes(tmp_path / "in", range(30))

    def full(*_: object) -> None:
        raise GalleryError("No space left.")

    monkeypatch.setattr(gallery, "add", full)
    with pytest.raises(GalleryError, match="No space left"):
        index(search, find_sources([str(tmp_path / "in")]), gallery, batch=1)


def test_what_cannot_be_looked_up_ends_it(search: PersonSearch, gallery: Gallery, tmp_path: Path, monkeypatch) -> None:
    write_scenes(tmp_path / "in", range(3))
    monkeypatch.setattr(gallery, "done", lambda _: gallery.search(np.zeros(3, np.float32)))
    with pytest.raises(GalleryError, match="length"):
        index(search, find_sources([str(tmp_path / "in")]), gallery)


def test_another_models_gallery(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", range(1))
    with (
        PersonSearch.open(search.bundle.root, mode="box", threads=1) as other,
        pytest.raises(GalleryError, match=r"made otherwise.*mode none there, box here"),
    ):
        index(other, find_sources([str(tmp_path / "in")]), gallery)


def test_a_stream_that_breaks_is_opened_again(search: PersonSearch, gallery: Gallery) -> None:
    notes = []
    with camera(frames=6, pause=0.03) as live:
        sources = find_sources([live.url], camera="door")
        report = index(search, sources, gallery, live=LiveOptions(limit=14, pauses=(0.01,)), on_note=notes.append)
        assert live.connections >= 3
    assert (report.frames, report.expected, report.failures) == (14, None, [])
    assert "broke after 6 frames; trying again in 0.01 s" in notes[0]
    rows = [person for person, _ in gallery.rows()]
    assert {person.camera for person in rows} == {"door"}
    assert all(abs(person.time - time.time()) < 60 for person in rows)
    assert gallery.summary().frames == 14


def test_a_stream_is_watched_for_a_while(search: PersonSearch, gallery: Gallery) -> None:
    with camera(pause=0.005) as live:
        report = index(search, find_sources([live.url]), gallery, every=3, live=LiveOptions(duration=0.5))
    assert report.frames > 0
    assert (report.frames + report.dropped) * 3 <= live.sent + 3
    assert not report.failures


def test_a_stream_that_is_gone(search: PersonSearch, gallery: Gallery, tmp_path: Path) -> None:
    with camera() as live:
        url = live.url
    write_scenes(tmp_path / "in", range(3))
    notes = []
    sources = find_sources([url, str(tmp_path / "in")])
    report = index(search, sources, gallery, live=LiveOptions(pauses=(0.01, 0.01), attempts=3), on_note=notes.append)
    assert report.frames == 3
    assert len(notes) == 3
    assert notes[-1] == f"{url} is given up"
    (failure,) = report.failures
    assert isinstance(failure.error, SourceError)
    assert "cannot be opened (3 attempts)" in str(failure.error)


def _read(path: Path) -> np.ndarray:
    from mgts_trt.pictures.image import read_image

    return read_image(path)
