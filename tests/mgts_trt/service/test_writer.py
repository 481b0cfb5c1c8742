import threading
from itertools import chain
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.errors import GalleryError
from mgts_trt.service.writer import Writer


class Store:
    """Remembers its commits; waits for `go` in each, and does not take what is bad."""

    def __init__(self) -> None:
        self.go, self.entered, self.commits, self.optimised = threading.Event(), threading.Event(), [], 0

    def add(self, entries: list[str], sightings: object) -> None:
        self.entered.set()
        assert self.go.wait(20)
        if "bad" in entries:
            raise GalleryError("bad")
        self.commits.append(list(entries))

    def optimise(self) -> None:
        self.optimised += 1


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def writer(store: Store) -> Writer:
    writer = Writer(store, optimise_every=2)
    yield writer
    store.go.set()
    writer.close()


def test_what_comes_during_a_commit_is_one_commit(store: Store, writer: Writer) -> None:
    first = writer.write("first")
    assert store.entered.wait(20)
    others = [writer.write(str(n)) for n in range(10)]
    assert not first.done()
    store.go.set()
    for written in (first, *others):
        written.result(20)
    assert store.commits == [["first"], [str(n) for n in range(10)]]


def test_one_that_cannot_be_stored_costs_itself_alone(store: Store, writer: Writer) -> None:
    writer.write("first")
    assert store.entered.wait(20)
    written = {name: writer.write(name) for name in ("one", "bad", "two")}
    store.go.set()
    assert isinstance(written["bad"].exception(20), GalleryError)
    assert written["one"].result(20) is written["two"].result(20) is None
    assert sorted(chain.from_iterable(store.commits)) == ["first", "one", "two"]


def test_closing_writes_what_is_queued(store: Store, writer: Writer) -> None:
    written = [writer.write(str(n)) for n in range(300)]
    store.go.set()
    writer.close()
    assert all(each.done() for each in written)
    assert sorted(chain.from_iterable(store.commits), key=int) == [str(n) for n in range(300)]


def test_it_is_optimised_now_and_then(store: Store, writer: Writer) -> None:
    store.go.set()
    for n in range(5):
        writer.write(str(n)).result(20)
    writer.close()
    assert (len(store.commits), store.optimised) == (5, 2)


def test_pictures_with_a_camera_and_a_time_are_photos(tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="needs the extra gallery")
    from mgts_trt.gallery import Gallery, Person
    from mgts_trt.gallery.sightings import search_sightings
    from tests.helpers.stored_people import SPACE, entry, unit

    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        writer = Writer(gallery)
        told = {"source": "door.mp4", "camera": "3"}
        sent = [entry(0, 2, sha256=str(n) * 64, time=1.7e9 + n, **told) for n in range(4)]
        for written in [writer.write(each) for each in sent]:
            written.result(60)
        writer.close()
        assert gallery.summary().sightings == 0
        found = search_sightings(gallery, unit(0, rows=2)[1], top=99)
        assert len(found) == 8
        assert {type(each) for each in found} == {Person}
