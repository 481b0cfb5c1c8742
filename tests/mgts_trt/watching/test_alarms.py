import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.reading import Picture
from mgts_trt.gallery.indexing.sources import Source, find_sources
from mgts_trt.gallery.question import Question
from mgts_trt.pictures.decoding import decode_image
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.watching.alarm_journal import AlarmJournal
from mgts_trt.watching.alarms import Alarms, Watched, watch
from tests.helpers.camera_scenes import scene, write_video
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PersonSearch]:
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    with PersonSearch.open(root, mode="net", threads=1) as opened:
        yield opened


def watched_of(search: PersonSearch, seed: int = 3) -> list[Watched]:
    return [Watched("Ann", Question(search(scene(seed)).embeddings[:1], np.zeros((0, 0), np.float32)))]


def add(alarms: Alarms, search: PersonSearch, source: Source, times: list[float]) -> None:
    people = search(scene(3))[:1]
    for number, time in enumerate(times):
        alarms.add(source, Picture(Frame(source.name, number, time=time, camera=source.camera), scene(3)), people)


def test_one_alarm_a_track_and_a_restart_repeats_none(search: PersonSearch, tmp_path: Path) -> None:
    write_video(tmp_path / "film.avi", [3, 3, 3, 3])
    sources = find_sources([str(tmp_path / "film.avi")], camera="door")
    told: list[dict] = []
    for _ in range(2):
        alarms = Alarms(watched_of(search), 0.95, AlarmJournal(tmp_path / "state.json"), told.append, cool_down=0)
        report = watch(search, sources, alarms)
        assert report.frames == 4
        assert not report.failures
    tracks = [alarm["track"] for alarm in told]
    assert tracks
    assert len(tracks) == len(set(tracks))
    first = told[0]
    assert (first["person"], first["camera"], first["number"]) == ("Ann", "door", 0)
    assert first["source"] == str(tmp_path / "film.avi")
    assert first["likeness"] >= 0.95
    x1, y1, x2, y2 = first["box"]
    height, width = decode_image(base64.b64decode(first["crop"]), "crop").shape[:2]
    assert (height, width) == pytest.approx((y2 - y1, x2 - x1), abs=2)
    write_video(tmp_path / "film.avi", [3, 3])  # another content is told anew
    watch(search, sources, Alarms(watched_of(search), 0.95, AlarmJournal(tmp_path / "state.json"), told.append))
    assert len(told) > len(tracks)


@pytest.mark.parametrize(("cool_down", "expected"), [(0, [0, 20, 70]), (60, [0, 70]), (1000, [0])])
def test_cool_down_of_a_live_camera_and_through_restarts(search, tmp_path: Path, cool_down, expected) -> None:
    """Tracks begin anew after 5 s of silence, and after a restart."""
    source = Source("rtsp://camera/live", "stream", "door")
    told: list[dict] = []
    for times in ([0.0, 0.1, 20.0, 20.1], [70.0, 70.1]):
        journal = AlarmJournal(tmp_path / "state.json")
        add(Alarms(watched_of(search), 0.9, journal, told.append, cool_down=cool_down), search, source, times)
    assert [alarm["time"] for alarm in told] == expected
    other = Source("rtsp://other/live", "stream", "gate")
    journal = AlarmJournal(tmp_path / "state.json")
    add(Alarms(watched_of(search), 0.9, journal, told.append, cool_down=cool_down), search, other, [70.2])
    assert told[-1]["camera"] == "gate"


def test_crops_in_files_and_nobody_below_the_threshold(search: PersonSearch, tmp_path: Path) -> None:
    source = Source("rtsp://camera/live", "stream")
    told: list[dict] = []
    add(Alarms(watched_of(search), 0.9, AlarmJournal(None), told.append, crops=tmp_path), search, source, [1.0])
    assert [str(path) for path in tmp_path.iterdir()] == [told[0]["crop_file"]]
    add(Alarms(watched_of(search), 1.01, AlarmJournal(None), told.append), search, source, [1.0])
    assert len(told) == 1
