from pathlib import Path

import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.disk.manifests import latest
from mgts_trt.gallery.verifying import verify
from tests.helpers.stored_people import SPACE, entry
from tests.helpers.stored_sightings import followed

pytest.importorskip("lancedb")


@pytest.fixture
def place(tmp_path) -> Path:
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        gallery.add([entry(number) for number in range(8)])
        gallery.add(*followed("/v.mp4"))
        gallery.optimise()
    return tmp_path / "g"


def test_a_gallery_that_is_as_it_should_be(place) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*.*") if path.is_file()}
    found = verify(place)
    assert found.clean
    assert found.files > 8
    assert found.unlisted == 0
    assert {path: path.read_bytes() for path in place.rglob("*.*") if path.is_file()} == before


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("folder", ["data", "_versions"])
def test_a_flipped_bit_is_found_and_named(place, folder) -> None:
    for path in sorted((place / "people.lance" / folder).glob("*[0-9a-f].*")):
        if "hint" not in path.name:
            flip(path, path.stat().st_size * 3)
    found = verify(place)
    assert not found.clean
    assert all(name.startswith(f"people.lance/{folder}/") for name in found.damaged)
    assert found.damaged
    assert "not looked at" in found.unread


def test_a_file_that_is_gone(place) -> None:
    name = next(name for name in latest(place / "frames.lance").files if name.startswith("data/"))
    (place / "frames.lance" / name).unlink()
    assert verify(place).missing == [f"frames.lance/{name}"]


def test_a_file_of_nobody(place) -> None:
    (place / "people.lance/data/left.lance").write_bytes(b"left by a writer that was killed")
    found = verify(place)
    assert found.orphans == ["people.lance/data/left.lance"]
    assert not found.clean
    with Gallery.open(place) as gallery:
        gallery.end_video("/v.mp4", "5" * 64, 3)  # the next writer
    assert verify(place).clean


def test_rows_that_do_not_belong_together(place) -> None:
    with Gallery.open(place) as gallery:
        gallery.tables[1].delete("source = '/v.mp4' AND number = 0")
    found = verify(place)
    assert (found.rows_without_frames, found.sightings_without_rows) == (2, 0)
    with Gallery.open(place) as gallery:
        gallery.tables[0].delete("source = '/v.mp4'")
    found = verify(place)
    assert (found.rows_without_frames, found.sightings_without_rows) == (0, 2)
    assert not found.clean


def test_where_nobody_may_write(place, monkeypatch) -> None:
    from mgts_trt.gallery.disk import writers

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(writers.os, "open", refused)
    assert verify(place).clean


def test_there_is_none(tmp_path) -> None:
    with pytest.raises(GalleryError, match="no gallery"):
        verify(tmp_path)


def test_a_panic_becomes_a_sentence_that_names_the_file(place, monkeypatch) -> None:
    class PanicException(BaseException):
        """As pyo3 raises it."""

    path = next((place / "people.lance/data").glob("*"))
    flip(path, 99)
    with Gallery.open(place) as gallery:

        def panic() -> int:
            raise PanicException("called `Option::unwrap()` on a `None` value")

        monkeypatch.setattr(gallery, "_tables", (type("Table", (), {"count_rows": lambda *_: panic()}), None))
        with pytest.raises(GalleryError, match=f"{path.name} is damaged"):
            gallery.count()
