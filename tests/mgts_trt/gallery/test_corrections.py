import os
from dataclasses import replace
from pathlib import Path

import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Frame, Gallery, parse_filter, vector_index
from mgts_trt.gallery.corrections import correct
from mgts_trt.gallery.sightings import sightings_of
from tests.helpers.stored_people import SPACE, contents, entry, expected, unit
from tests.helpers.stored_sightings import followed

pytest.importorskip("lancedb")


@pytest.fixture(params=[False, True], ids=["small", "indexed"])
def gallery(tmp_path, monkeypatch, request):
    """Two videos, the end of one, and a photo."""
    monkeypatch.setattr(vector_index, "INDEX_FROM", 10 if request.param else 10_000)
    with Gallery.create(tmp_path / "g", SPACE) as opened:
        opened.add([entry(number, source="/v.mp4", camera="1") for number in range(8)])
        opened.add([entry(number, source="/it's.mp4") for number in range(8)])
        opened.add([entry(2, source="/a.jpg", sha256="7" * 64, time=None)])
        opened.end_video("/v.mp4", "5" * 64, 8)
        opened.optimise()
        yield opened


def told(gallery: Gallery) -> set[tuple]:
    return {(person.source, person.camera) for person, _ in gallery.rows()}


def test_another_camera(gallery: Gallery) -> None:
    before = contents(gallery)
    video, other = Frame("/v.mp4", sha256="5" * 64, camera="2"), Frame("/it's.mp4", sha256="5" * 64, camera="2")
    assert correct(gallery, [video, other]) == 16
    assert told(gallery) == {("/v.mp4", "2"), ("/it's.mp4", "2"), ("/a.jpg", None)}
    assert correct(gallery, [video, other]) == 0
    assert contents(gallery) == before
    assert gallery.frames_done("/v.mp4", "5" * 64) == (set(range(8)), 8)
    assert gallery.search(unit(3, rows=3)[0], where=parse_filter("camera=2"))[0].number == 3
    assert gallery.search(unit(3, rows=3)[0], where=parse_filter("camera=1")) == []
    gallery.optimise()
    assert len(gallery.search(unit(3, rows=3)[0], top=99, where=parse_filter("camera=2"))) == 2 * (1 + 2 + 3) * 2


@pytest.mark.parametrize("name", ["people", "frames"])
def test_what_is_cut_short_is_told_and_not_done(gallery: Gallery, monkeypatch, name: str) -> None:
    """LanceDB commits files that were cut short, and says nothing."""
    video, before = Frame("/v.mp4", sha256="5" * 64, camera="2"), told(gallery)
    table = dict(zip(("people", "frames"), gallery.tables, strict=True))[name]
    update, folder = table.update, Path(gallery.url) / f"{name}.lance" / "data"

    def cut(**how: object) -> None:
        there = {*folder.iterdir()}
        update(**how)
        for file in {*folder.iterdir()} - there:
            os.truncate(file, file.stat().st_size // 2)

    with monkeypatch.context() as patched:
        patched.setattr(table, "update", cut)
        with pytest.raises(GalleryError, match=f"{name}.lance.* was cut short"):
            correct(gallery, [video])
    with Gallery.open(gallery.url) as beside:  # nobody is held up
        assert ("/v.mp4", "1" if name == "people" else "2") in told(beside)
    assert name == "frames" or told(gallery) == before
    assert correct(gallery, [video]) == 8
    assert told(gallery) == {("/v.mp4", "2"), ("/it's.mp4", None), ("/a.jpg", None)}


def test_another_time_and_each_its_own(gallery: Gallery) -> None:
    photo = Frame("/a.jpg", sha256="7" * 64, time=5.0)
    assert correct(gallery, [photo, Frame("/v.mp4", sha256="5" * 64, camera="1"), Frame("/new.jpg", camera="9")]) == 1
    people = [person for person, _ in gallery.rows() if person.source == "/a.jpg"]
    assert {(person.camera, person.time) for person in people} == {(None, 5.0)}


def test_what_is_not_told_stays(gallery: Gallery) -> None:
    before = told(gallery)
    assert correct(gallery, [Frame("/v.mp4", sha256="5" * 64)]) == 0
    assert correct(gallery, [Frame("/v.mp4", sha256="6" * 64, camera="2")]) == 0  # another content
    assert correct(gallery, []) == 0
    assert told(gallery) == before


def test_sightings_are_of_the_camera_that_is_told_last(gallery: Gallery) -> None:
    for source in ("/one.mp4", "/two.mp4"):
        gallery.add(*followed(source))
    before = {each.id: each for each in sightings_of(gallery).sightings}
    assert correct(gallery, [Frame("/one.mp4", sha256="5" * 64, camera="2")]) == 3
    after = sightings_of(gallery).sightings
    assert {(each.source, each.camera) for each in after} == {("/one.mp4", "2"), ("/two.mp4", "1")}
    for each in after:
        same = replace(each, camera="1", path=0, embedding=0)
        assert same == replace(before[each.id], path=0, embedding=0)


def test_cut_off_it_is_done_again(gallery: Gallery, monkeypatch) -> None:
    from mgts_trt.errors import GalleryError

    people, frames = gallery.tables
    video = Frame("/v.mp4", sha256="5" * 64, camera="2")

    class Cut:
        def __getattr__(self, name: str) -> object:
            if name == "update":
                raise RuntimeError("killed")
            return getattr(frames, name)

    monkeypatch.setattr(gallery, "_tables", (people, Cut()))
    with pytest.raises(GalleryError, match="killed"):
        correct(gallery, [video])
    monkeypatch.setattr(gallery, "_tables", (people, frames))
    assert correct(gallery, [video]) == 8
    assert ("/v.mp4", "2") in told(gallery)
    assert contents(gallery) == expected(
        [entry(number) for number in range(8)] * 2 + [entry(2, source="/a.jpg", time=None)]
    )
