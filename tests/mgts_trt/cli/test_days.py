import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from mgts_trt.cli.days import days, days_galleries, read_day, stored_days_mode
from mgts_trt.errors import MgtsError
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.gallery.partitions import PartitionedGallery
from tests.helpers.stored_people import SPACE
from tests.helpers.stored_sightings import followed

pytest.importorskip("lancedb")


def test_shows_days_and_erases_those_that_are_over(tmp_path: Path, capsys) -> None:
    now = dt.datetime.now(dt.UTC)
    with PartitionedGallery.create(tmp_path / "site", SPACE) as opened:
        for ago in (0, 40):
            opened.add(*followed("rtsp://a/1", start=(now - dt.timedelta(days=ago)).timestamp() - 60, sha256=""))
        old = min(part.name for part in opened.parts())
    days(str(tmp_path / "site"))
    assert old in capsys.readouterr().out
    days(str(tmp_path / "site"), keep="30d")
    assert not (tmp_path / "site" / old).exists()
    with pytest.raises(MgtsError, match="as a whole"):
        days(str(tmp_path / "site"), keep="1h")
    with pytest.raises(MgtsError, match="Say --partition day"):
        stored_days_mode(str(tmp_path / "site"), None)
    assert stored_days_mode(str(tmp_path / "site"), "day") == "box"


class Clock:
    """A clock that is set by hand."""

    def __init__(self, at: dt.datetime) -> None:
        self.now = at.timestamp()

    def time(self) -> float:
        return self.now


def begun(place: Path, monkeypatch, duration: float | None = None, recall: tuple[str, ...] = ()) -> tuple[Clock, Any]:
    """Ten to midnight, and where a camera is indexed from then on."""
    clock = Clock(dt.datetime(2026, 11, 29, 23, 50, tzinfo=dt.UTC))
    monkeypatch.setattr("mgts_trt.cli.days.time", clock)
    monkeypatch.setattr("mgts_trt.gallery.Space.of", lambda *_: SPACE)
    sources = find_sources(["rtsp://10.0.0.4/live"])
    return clock, days_galleries(str(place), None, "box", sources, duration, recall)


def test_a_camera_goes_on_in_the_next_day(tmp_path: Path, monkeypatch) -> None:
    clock, places = begun(tmp_path / "site", monkeypatch)
    assert next(places) == (str(tmp_path / "site" / "2026-11-29"), 600)
    clock.now += 600.5
    assert next(places) == (str(tmp_path / "site" / "2026-11-30"), pytest.approx(86399.5))
    clock.now += 3600
    assert next(places, None) is None, "its cameras ended before the day did"


def test_a_duration_ends_where_it_ends(tmp_path: Path, monkeypatch) -> None:
    clock, places = begun(tmp_path / "site", monkeypatch, duration=900)
    assert next(places)[1] == 600
    clock.now += 600
    assert next(places)[1] == 300
    clock.now += 300
    assert next(places, None) is None


def test_a_source_is_forgotten_in_all_days_and_let_in_again(tmp_path: Path, monkeypatch, run) -> None:
    place, now = tmp_path / "site", dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC).timestamp()
    name = "rtsp://10.0.0.4/live"

    def index(day: int) -> int:
        with PartitionedGallery.open(place) as opened:
            opened.add(*followed(name, start=now + day * 86400, sha256=""))
            return sum(opened.gallery(part).count() for part in opened.parts())

    PartitionedGallery.create(place, SPACE).close()
    held = [index(day) for day in range(3)][-1]
    assert held
    assert f"Forgot {held} people of {name}, on all days" in run("gallery", "forget", place, name)[1]
    assert index(0) == 0
    next(begun(place, monkeypatch, recall=(name,))[1])
    assert index(0) > 0
    code, _, told = run("gallery", "forget", place, "rtsp://10.0.0.5/live")
    assert code == 2
    assert "nothing of rtsp://10.0.0.5/live" in told


@pytest.mark.parametrize("command", ["info", "verify", "optimise", "upgrade"])
def test_a_command_for_one_gallery_names_a_day(tmp_path: Path, run, command: str) -> None:
    with PartitionedGallery.create(tmp_path / "site", SPACE) as opened:
        opened.make(dt.date(2026, 11, 29))
    code, _, told = run("gallery", command, tmp_path / "site")
    assert code == 2
    assert f"Name one of them, such as {tmp_path}/site/2026-11-29" in told


def test_days_are_dates() -> None:
    assert read_day("--since", "2026-11-29") == dt.date(2026, 11, 29)
    with pytest.raises(MgtsError, match="is no day"):
        read_day("--since", "yesterday")
