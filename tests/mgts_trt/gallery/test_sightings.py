from dataclasses import replace

import numpy as np
import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery, Person, Sighting, parse_filter, vector_index
from mgts_trt.gallery.sightings import frames_of, search_sightings, sighting, sightings_of
from tests.helpers.stored_people import SPACE, entry, people_with, unit
from tests.helpers.stored_sightings import followed

pytest.importorskip("lancedb")


@pytest.fixture(params=[False, True], ids=["small", "indexed"])
def gallery(tmp_path, monkeypatch, request):
    """Two videos with two sightings each, and a photo."""
    monkeypatch.setattr(vector_index, "INDEX_FROM", 3 if request.param else 10_000)
    monkeypatch.setattr(vector_index, "FEW", 0)
    with Gallery.create(tmp_path / "g", SPACE) as opened:
        opened.add(*followed("/v.mp4"))
        opened.add(*followed("/it's.mp4", (1, 3), frames=5, start=10.0, camera="2", sha256="6" * 64))
        photo = entry(0, source="/a.jpg", sha256="7" * 64, time=None)
        opened.add([replace(photo, people=people_with(unit(1, rows=1)))])
        opened.optimise()
        yield opened


def same(one: Sighting, other: Sighting) -> bool:
    plain = [replace(each, path=0, embedding=0, likeness=None) for each in (one, other)]
    return (
        plain[0] == plain[1]
        and np.array_equal(one.path, other.path)
        and np.allclose(one.embedding, other.embedding, atol=1e-6)
    )


def test_a_search_gives_sightings_and_people_of_photos(gallery) -> None:
    found = search_sightings(gallery, unit(1, rows=1)[0], top=9)
    assert [type(each) for each in found].count(Person) == 1
    assert {each.source for each in found[:3]} == {"/v.mp4", "/it's.mp4", "/a.jpg"}
    assert [each.likeness for each in found] == pytest.approx(
        sorted((float(unit(who, rows=1)[0] @ unit(1, rows=1)[0]) for who in (1, 1, 1, 2, 3)), reverse=True), abs=1e-5
    )
    (first,) = [each for each in found if isinstance(each, Sighting) and each.source == "/v.mp4"][:1]
    assert same(first, followed("/v.mp4")[1][0])
    assert [each.likeness for each in search_sightings(gallery, unit(1, rows=1)[0], top=2, exact=True)] == [
        each.likeness for each in found[:2]
    ]
    assert len(gallery.search(unit(1, rows=1)[0], top=99)) == 17  # rows, as ever


@pytest.mark.parametrize(
    ("where", "sources"),
    [
        ("camera=2", ["/it's.mp4"] * 2),
        ("camera!=2", ["/v.mp4"] * 2),
        ("source=/it's.mp4", ["/it's.mp4"] * 2),
        ("time>=2,time<=10", ["/it's.mp4"] * 2 + ["/v.mp4"] * 2),
        ("time<0.5", ["/v.mp4"] * 2),
        ("time>2", ["/it's.mp4"] * 2),
        ("time=12", ["/it's.mp4"] * 2),
        ("number>3", ["/it's.mp4"] * 2),
        ("number!=0", ["/it's.mp4"] * 2 + ["/v.mp4"] * 2),
        ("score<0.6", ["/it's.mp4", "/v.mp4"]),
        ("score>=0.6", ["/a.jpg", "/it's.mp4", "/v.mp4"]),
        ("sha256~777", ["/a.jpg"]),
        ("time>99", []),
    ],
)
def test_conditions_hold_somewhere_in_a_sighting(gallery, where: str, sources: list[str]) -> None:
    condition = parse_filter(where)
    found = search_sightings(gallery, unit(1, rows=1)[0], top=9, where=condition)
    assert sorted(each.source for each in found) == sources
    page = sightings_of(gallery, condition)
    assert [each.source for each in page.sightings] == [source for source in sources if source != "/a.jpg"]
    assert page.total == len(page.sightings)


def test_a_sighting_and_its_frames(gallery) -> None:
    entries, sightings = followed("/it's.mp4", (1, 3), frames=5, start=10.0, camera="2", sha256="6" * 64)
    assert same(sighting(gallery, sightings[1].id), sightings[1])
    assert sighting(gallery, "s-nobody' OR '1'='1") is None
    frames = frames_of(gallery, sightings[1].id)
    assert [(each.number, each.time) for each in frames] == [(number, 10.0 + number) for number in range(5)]
    assert {each.box.tobytes() for each in frames} == {entries[0].people.boxes[1].tobytes()}
    assert frames_of(gallery, "s-nobody") == []


def test_looked_through_page_by_page(gallery) -> None:
    whole = sightings_of(gallery)
    assert [each.source for each in whole.sightings] == ["/it's.mp4"] * 2 + ["/v.mp4"] * 2
    pages = [sightings_of(gallery, limit=3, offset=offset) for offset in (0, 3, 6)]
    assert [page.total for page in pages] == [4] * 3
    assert [each.id for page in pages for each in page.sightings] == [each.id for each in whole.sightings]


def test_the_same_sighting_again_takes_the_place_of_the_first(gallery) -> None:
    _, (first, other) = followed("/v.mp4")
    gallery.store_sightings([replace(first, frames=9, last=8, end=8.0)])
    assert sighting(gallery, first.id).frames == 9
    assert same(sighting(gallery, other.id), other)
    assert gallery.summary().sightings == 4
    gallery.store_sightings([])


def test_what_is_refused(gallery) -> None:
    with pytest.raises(GalleryError, match="The 0 most similar"):
        search_sightings(gallery, unit(1, rows=1)[0], top=0)
    with pytest.raises(GalleryError, match=r"has shape \[7\]"):
        search_sightings(gallery, np.ones(7, np.float32))
    with pytest.raises(GalleryError, match="There are 1 sightings of the 3 people"):
        gallery.add([replace(entry(3), sightings=["s-1"])])
