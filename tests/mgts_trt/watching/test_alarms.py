from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.reading import Picture
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.gallery.question import Question
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.watching.alarm_journal import AlarmJournal
from mgts_trt.watching.alarms import Alarms, Watched
from mgts_trt.watching.tracks import Tracks
from tests.helpers.camera_scenes import scene
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PersonSearch]:
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    with PersonSearch.open(root, mode="net", threads=1) as opened:
        yield opened


def watched_of(search: PersonSearch, seed: int = 3) -> list[Watched]:
    return [Watched("Ann", Question(search(scene(seed)).embeddings[:1], np.zeros((0, 0), np.float32)))]


class Camera:
    """One source whose frames all show the first person of scene 3, followed as `watch` does."""

    def __init__(self, search: PersonSearch, source: Source, sha256: str = "") -> None:
        self.source, self.sha256, self.tracks = source, sha256, Tracks(5.0)
        self.people, self.image = search(scene(3))[:1], scene(3)

    def show(self, alarms: Alarms, times: list[float], first: int = 0) -> None:
        for number, time in enumerate(times, first):
            frame = Frame(self.source.name, number, self.sha256, time, self.source.camera)
            sightings = self.tracks.name(frame, self.people, self.source.kind)
            live = self.source.kind == "stream"
            alarms.tell(alarms.find(Picture(frame, self.image), self.people, sightings, live=live))


def add(alarms: Alarms, search: PersonSearch, source: Source, times: list[float]) -> None:
    Camera(search, source).show(alarms, times)


@pytest.mark.parametrize(("cool_down", "expected"), [(0, [0, 20, 70]), (60, [0, 70]), (1000, [0])])
def test_cool_down_of_a_live_camera_and_through_restarts(search, tmp_path: Path, cool_down, expected) -> None:
    """Tracks begin anew after 5 s of silence, and after a restart."""
    source = Source("rtsp://camera/live", "stream", "door")
    told: list[dict] = []
    for times in ([0.0, 0.1, 20.0, 20.1], [70.0, 70.1]):
        journal = AlarmJournal(tmp_path / "state.json")
        add(Alarms(watched_of(search), 0.9, journal, told.append, cool_down=cool_down), search, source, times)
        journal.close()
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


@pytest.mark.parametrize(("cool_down", "expected"), [(0, [0.0, 20.0, 22.0]), (60, [0.0])])
def test_a_video_taken_up_again_tells_of_nobody_within_the_cool_down(search, tmp_path, cool_down, expected) -> None:
    """As a gallery has it: its frames up to some moment are there, and reading goes on behind them."""
    film, told = Source("/film.avi", "video"), []
    for first, times in enumerate(([0.0, 0.1, 20.0, 20.1], [22.0, 22.1])):
        journal = AlarmJournal(tmp_path / "state.json")
        alarms = Alarms(watched_of(search), 0.9, journal, told.append, cool_down=cool_down)
        Camera(search, film, "abc").show(alarms, times, first=4 * first)
        journal.close()
    assert [alarm["time"] for alarm in told] == expected


def test_a_photo_is_told_of_once_and_has_no_sighting(search: PersonSearch) -> None:
    told: list[dict] = []
    alarms = Alarms(watched_of(search), -1.0, AlarmJournal(None), told.append)
    for path in ("/a.jpg", "/b.jpg"):
        people = search(scene(3))
        assert len(people) > 1
        alarms.tell(alarms.find(Picture(Frame(path, sha256="abc"), scene(3)), people, [], live=False))
    assert [(alarm["source"], alarm["sighting"]) for alarm in told] == [("/a.jpg", None), ("/b.jpg", None)]


def test_what_is_over_is_forgotten(search: PersonSearch) -> None:
    """A week of cameras and a million files leave nothing behind: not of files that are over, nor of sightings."""
    alarms, told = Alarms(watched_of(search), 0.9, AlarmJournal(None), lambda _: None, cool_down=0), []
    camera = Camera(search, Source("rtsp://camera/live", "stream"))
    for hour in range(50):
        Camera(search, Source(f"/{hour}.avi", "video"), f"{hour}").show(alarms, [0.0, 0.1])
        camera.show(alarms, [3600.0 * hour, 3600.0 * hour + 1], first=2 * hour)
        told.append(sum(len(place.decided) for place in (alarms._file, *alarms._cameras.values())))
        told.append(len(alarms._cameras))
        told.append(len(camera.tracks._of(camera.source.name, "stream").names))
    assert alarms.raised == 100
    assert max(told) <= 2
