import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery, parse_filter
from mgts_trt.gallery.day_part import day_of, is_partitioned
from mgts_trt.gallery.partitions import PartitionedGallery
from mgts_trt.gallery.question import Question
from tests.helpers.stored_people import SPACE, entry, unit
from tests.helpers.stored_sightings import followed

pytest.importorskip("lancedb")

DAY = 86400.0
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC).timestamp()
FIRST = dt.date(2026, 11, 20)


def asked(seed: int) -> Question:
    return Question(unit(seed, rows=1), np.zeros((0, 0), np.float32))


def stream(day: int, who: tuple[int, ...], camera: str = "door", at: float = 0.0) -> tuple[list, list]:
    return followed(f"rtsp://{camera}/1", who, start=NOON + day * DAY + at, sha256="", camera=camera)


def fill(days: PartitionedGallery) -> None:
    """Three days of two cameras, person `10 * day + 1` at the door and `+ 2` in the yard; and a photo."""
    for day in range(3):
        days.add(*stream(day, (10 * day + 1,)))
        days.add(*stream(day, (10 * day + 2,), "yard"))
    days.add([entry(50, 1, source="/photo.jpg", time=None, camera=None)])


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "site"
    with PartitionedGallery.create(folder, SPACE) as opened:
        fill(opened)
    return folder


@pytest.fixture
def days(filled: Path, tmp_path: Path):
    """A copy of its own."""
    with PartitionedGallery.open(shutil.copytree(filled, tmp_path / "site")) as opened:
        yield opened


def best(days: PartitionedGallery, seed: int, **asking: object) -> float:
    return max((match.likeness for match in days.rank(asked(seed), **asking).matches), default=-1.0)


def test_each_day_is_a_gallery(days: PartitionedGallery) -> None:
    assert [part.name for part in days.parts()] == ["2026-11-22", "2026-11-21", "2026-11-20", "undated"]
    with Gallery.open(Path(days.url) / "2026-11-21") as one:
        assert one.count() == 6
        assert {day_of(person.time) for person, _ in one.rows()} == {dt.date(2026, 11, 21)}
    assert all(found.clean for found in days.verify().values())


def test_searches_the_days_asked_for(days: PartitionedGallery) -> None:
    ranking = days.rank(asked(11), top=3)
    assert ranking.matches[0].likeness == pytest.approx(1, abs=1e-4)
    assert [match.likeness for match in ranking.matches] == sorted((m.likeness for m in ranking.matches), reverse=True)
    assert (ranking.sightings, ranking.people) == (6, 1)
    one = days.rank(asked(11), since=FIRST, until=FIRST)
    assert one.sightings == 2
    assert one.matches[0].likeness < 0.99
    assert best(days, 11, since=dt.date(2026, 11, 21)) == pytest.approx(1, abs=1e-4)
    assert best(days, 50) == pytest.approx(1, abs=1e-4)
    assert best(days, 50, since=FIRST) < 0.99
    assert best(days, 1, camera="yard") < 0.99 < best(days, 1, camera="door")
    assert best(days, 1, where=parse_filter("camera=yard")) < 0.99
    assert days.rank(asked(1), since=dt.date(2027, 1, 1)).matches == []
    assert days.rank(asked(1), least=0.99).matches[0].likeness > 0.99
    assert len(days.rank(asked(1), least=0.99)[0]) == 1


def test_the_same_as_in_one_gallery(days: PartitionedGallery, tmp_path: Path) -> None:
    from mgts_trt.gallery.ranking import rank_gallery

    with Gallery.create(tmp_path / "one", SPACE) as one:
        fill(one)
        for seed in (1, 12, 50, 99):
            for frames in (False, True):
                wanted = rank_gallery(one, asked(seed), top=5, frames=frames)
                found = days.rank(asked(seed), top=5, frames=frames)
                assert found[1:] == wanted[1:]
                assert [m.likeness for m in found.matches] == pytest.approx([m.likeness for m in wanted.matches])


def test_who_is_there_at_midnight_is_found_once_and_on_both_days(tmp_path: Path) -> None:
    with PartitionedGallery.create(tmp_path / "site", SPACE) as days:
        days.add(*stream(0, (7,), at=DAY / 2 - 1))
        assert len(days.parts()) == 2
        assert len(days.rank(asked(7)).matches) == 1
        for day in (FIRST, FIRST + dt.timedelta(days=1)):
            assert len(days.rank(asked(7), since=day, until=day).matches) == 1
        assert all(found.clean for found in days.verify().values())
        days.erase_before(FIRST + dt.timedelta(days=1))
        assert all(found.clean for found in days.verify().values())


def test_added_again_nothing_is_twice(days: PartitionedGallery) -> None:
    before = {part.name: days.gallery(part).count() for part in days.parts()}
    fill(days)
    assert {part.name: days.gallery(part).count() for part in days.parts()} == before


def test_a_day_goes_with_every_byte(days: PartitionedGallery) -> None:
    gone = unit(1, rows=1).tobytes()
    files = [file for file in Path(days.url).rglob("*") if file.is_file()]
    assert any(gone in file.read_bytes() for file in files)
    assert days.erase_before(dt.date(2026, 11, 21)) == (["2026-11-20"], 6)
    left = [file for file in Path(days.url).rglob("*") if file.is_file()]
    assert not any(gone in file.read_bytes() for file in left)
    assert best(days, 1) < 0.99 < best(days, 11)
    assert best(days, 50) > 0.99, "what has no day stays"
    days.add(*stream(0, (1,)))
    assert best(days, 1) > 0.99


def test_a_removal_that_was_cut_off_is_finished(days: PartitionedGallery, monkeypatch) -> None:
    monkeypatch.setattr("mgts_trt.gallery.partitions.shutil.rmtree", lambda folder: (_ for _ in ()).throw(OSError(28)))
    with pytest.raises(GalleryError, match="erase a day"):
        days.erase_before(dt.date(2026, 11, 21))
    monkeypatch.undo()
    assert "2026-11-20" not in [part.name for part in days.parts()]
    assert any(Path(days.url).glob("_gone/*"))
    PartitionedGallery.open(days.url).close()
    assert not any(Path(days.url).glob("_gone*"))


def test_what_was_forgotten_stays_out_of_days_to_come(days: PartitionedGallery) -> None:
    assert days.forget("rtsp://door/1") == 9
    days.add(*stream(0, (1,)))
    days.add(*stream(5, (1,)))
    new = days.make(dt.date(2026, 12, 1))
    new.add(*stream(11, (1,)))
    assert new.count() == 0
    assert best(days, 1) < 0.99
    assert best(days, 2) > 0.99


def test_groups_of_cameras(tmp_path: Path) -> None:
    with PartitionedGallery.create(tmp_path / "site", SPACE, groups=4) as days:
        fill(days)
        names = [part.name for part in days.parts(camera="door")]
        assert len(names) == 3
        assert all(name[:11] in ("2026-11-20.", "2026-11-21.", "2026-11-22.") for name in names)
        assert len({part.group for part in days.parts(since=FIRST)}) == 2
        assert best(days, 1, camera="door") > 0.99 > best(days, 1, camera="yard")
        assert best(days, 1) > 0.99
    assert PartitionedGallery.create(tmp_path / "site", SPACE).groups == 4


def test_refused(tmp_path: Path, days: PartitionedGallery) -> None:
    Gallery.create(tmp_path / "one", SPACE).close()
    assert is_partitioned(days.url)
    assert not is_partitioned(tmp_path / "one")
    with pytest.raises(GalleryError, match="is one gallery, not a folder"):
        PartitionedGallery.create(tmp_path / "one", SPACE)
    with pytest.raises(GalleryError, match="holds galleries by day, and one is expected"):
        Gallery.create(days.url, SPACE)
    with pytest.raises(GalleryError, match="no galleries by day"):
        PartitionedGallery.open(tmp_path / "none")
    with pytest.raises(GalleryError, match="expected 1"):
        PartitionedGallery.create(tmp_path / "two", SPACE, groups=0)
    with pytest.raises(GalleryError, match="in a folder"):
        PartitionedGallery.create("s3://bucket/site", SPACE)
    with pytest.raises(GalleryError):
        PartitionedGallery.create(days.url, SPACE.model_copy(update={"weights": "b" * 64}))
    (Path(days.url) / "partitions.json").write_text("{")
    with pytest.raises(GalleryError, match="is damaged"):
        PartitionedGallery.open(days.url)
