from pathlib import Path

import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.disk import steps
from mgts_trt.gallery.disk.manifests import latest
from mgts_trt.gallery.verifying import verify
from tests.helpers.stored_people import SPACE, contents, entry, expected

pytest.importorskip("lancedb")

ENTRIES = [entry(number, people=2) for number in range(8)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A gallery into which the disk was full when half of the people were added."""
    table = tmp_path / "g/people.lance"

    def cut(step: str) -> None:
        if step == "add frames":
            newest = max((table / file for file in latest(table).files if file.startswith("data/")), key=os_time)
            newest.write_bytes(newest.read_bytes()[:100])

    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        gallery.add(ENTRIES[:4])
        monkeypatch.setattr(steps, "on_step", cut)
        with pytest.raises(GalleryError, match="cut short"):
            gallery.add(ENTRIES[4:])
        monkeypatch.undo()
        yield gallery


def os_time(path: Path) -> int:
    return path.stat().st_mtime_ns


def test_who_writes_next_clears_up_after_a_full_disk(place) -> None:
    with Gallery.open(place.url) as following:
        following.add(ENTRIES[4:])
        assert contents(following) == expected(ENTRIES)
    assert verify(place.url).clean


def test_and_so_does_the_process_itself(place) -> None:
    place.add(ENTRIES[4:])
    assert contents(place) == expected(ENTRIES)
    assert verify(place.url).clean


def test_what_a_killed_process_had_not_named_yet_is_told_and_goes(tmp_path) -> None:
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        gallery.add(ENTRIES)
    left = tmp_path / "g/_keeping/.1f.erasure.2e"
    left.write_text("of whom it is")
    assert verify(tmp_path / "g").orphans == ["_keeping/.1f.erasure.2e"]
    with Gallery.open(tmp_path / "g") as gallery:
        gallery.add([entry(9)])
    assert verify(tmp_path / "g").clean
