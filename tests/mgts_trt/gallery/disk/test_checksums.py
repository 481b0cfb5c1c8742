from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from mgts_trt.gallery import Gallery, vector_index
from mgts_trt.gallery.disk.checksums import Checksums, damaged
from mgts_trt.gallery.disk.place import Place
from tests.helpers.stored_people import SPACE, entry

pytest.importorskip("lancedb")


@pytest.fixture
def place(tmp_path):
    """Of a gallery that two have written to."""
    for numbers in (range(4), range(4, 8)):
        with Gallery.create(tmp_path / "g", SPACE) as gallery:
            gallery.add([entry(number) for number in numbers])
    return Place(str(tmp_path / "g"))


@contextmanager
def somebody_writing(place: Place) -> Iterator[None]:
    """In a thread of their own: who writes is told by the thread."""
    with ThreadPoolExecutor(1) as theirs, ExitStack() as stack:
        theirs.submit(stack.enter_context, place.guard.shared()).result()
        yield
        theirs.submit(stack.close).result()


def test_every_bit_counts(place) -> None:
    whole = damaged(place)
    assert (whole.files, whole.unlisted) == ([], 0)
    assert whole.read > 8
    for name in list(Checksums(place).read()):
        path = place.folder / name
        data = path.read_bytes()
        for bit in (0, len(data) * 4, len(data) * 8 - 1):
            path.write_bytes(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
            assert damaged(place).files == [name]
        path.write_bytes(data)
    assert damaged(place).files == []


def test_a_line_that_was_cut_off_counts_for_nothing(place) -> None:
    path, whole = Checksums(place).path, Checksums(place).read()
    path.write_bytes(path.read_bytes()[:-9])
    assert len(Checksums(place).read()) == len(whole) - 1
    assert damaged(place).unlisted <= 1


def test_a_gallery_without_any_gets_them_when_it_is_written_to(place) -> None:
    Checksums(place).path.unlink()
    assert damaged(place).unlisted > 0
    with Gallery.open(place.folder) as gallery:
        gallery.add([entry(9)])
    assert damaged(place).unlisted == 0


def test_of_what_is_gone_nothing_is_kept(place) -> None:
    with Gallery.open(place.folder) as gallery:
        gallery.forget("/a/video.mp4")
        assert all((Path(gallery.url) / name).exists() for name in Checksums(place).read() if "/_v" not in name)
        gallery.add([entry(9)])
    assert damaged(place).files == []
    assert damaged(place).unlisted == 0


def test_the_list_does_not_grow_for_ever(place, monkeypatch) -> None:
    monkeypatch.setattr(vector_index, "_KEEP", timedelta(0))
    with Gallery.open(place.folder) as gallery:
        for number in range(8, 20):
            gallery.add([entry(number)])
        before = len(Checksums(place).read())
        gallery.optimise()
        after = Checksums(place).read()
        assert len(after) < before / 3
        assert all((place.folder / name).exists() for name in after)
        with somebody_writing(place):
            gallery.add([entry(20)])
        assert gallery.checksums.read() == Checksums(place).read()
    assert (damaged(place).files, damaged(place).unlisted) == ([], 0)
