from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import GalleryError, QueryError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.choosing import Choice, choose, forget_chosen, shown
from mgts_trt.gallery.disk.notes import FolderNotes
from mgts_trt.gallery.disk.tombstones import Tombstones
from mgts_trt.gallery.erasure import Erased
from mgts_trt.gallery.indexing.following import Followers
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.retracking import retrack
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.verifying import verify
from tests.helpers.stored_people import SPACE, content, entry, unit
from tests.helpers.stored_sightings import followed
from tests.helpers.walkers import agree, sightings_held, walk

pytest.importorskip("lancedb")

NOW, DAY = 1.8e9, 86400.0
CLIP, DOOR, YARD = "/clip.mp4", "rtsp://door/1", "rtsp://yard/1"
MOMENT = {"since": NOW - 2 * DAY + 1, "until": NOW - 2 * DAY + 1}
ANNA, BOB = unit(1, rows=1), unit(2, rows=1)


def ask(*, least: float | None = 0.9, who: np.ndarray = ANNA, **named: object) -> Choice:
    return Choice(Question(who, np.zeros((0, 8), np.float32)), least, **named)


@pytest.fixture
def gallery(tmp_path: Path):
    """Anna and Bob in a clip, and at the door two days ago; Bob in the yard today; Anna in photos."""
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        for source, who, start, told in (
            (CLIP, (1, 2), 0.0, {"camera": None}),
            (DOOR, (1, 2), NOW - 2 * DAY, {"camera": "door", "sha256": ""}),
            (YARD, (2,), NOW, {"camera": "yard", "sha256": ""}),
        ):
            gallery.add(*followed(source, who, start=start, **told))
        retrack(gallery, CLIP, "5" * 64)
        for name, seen in (("/both.jpg", (1, 2)), ("/anna.jpg", (1,))):
            (photo, *_), _ = followed(name, seen, camera="door", sha256=name[1] * 64, start=NOW - 2 * DAY)
            gallery.add([replace(photo, sightings=())])
        yield gallery


def sources(gallery: Gallery) -> set[str]:
    return {person.source for person, _ in gallery.rows()}


def in_files(gallery: Gallery, secrets: list[bytes]) -> list[bytes]:
    files = [file.read_bytes() for file in Path(gallery.url).rglob("*") if file.is_file()]
    return [secret for secret in secrets if any(secret in file for file in files)]


def of(gallery: Gallery, who: np.ndarray) -> list[bytes]:
    """What files hold of a person: embeddings of rows and sightings, and ids."""
    rows = [(person.id, embedding) for person, embedding in gallery.rows() if embedding @ who[0] > 0.9]
    held = [row for row in sightings_held(gallery)[0].values() if np.float32(row["embedding"]) @ who[0] > 0.9]
    return [
        *(embedding.tobytes() for _, embedding in rows),
        *(name.encode() for name, _ in rows),
        *(np.float32(row["embedding"]).tobytes() for row in held),
        *(row["id"].encode() for row in held),
    ]


def test_a_person_goes_from_wherever_they_were_seen(gallery: Gallery) -> None:
    secrets, kept = of(gallery, ANNA), of(gallery, BOB)
    assert len(in_files(gallery, secrets)) == len(secrets) > 12
    chosen = choose(gallery, ask())
    assert (chosen.people, chosen.sightings, chosen.photos, chosen.timeless) == (8, 2, 2, 0)
    assert forget_chosen(gallery, chosen) == Erased(8, 0, 2)
    assert in_files(gallery, secrets) == []
    assert len(in_files(gallery, kept)) == len(kept)
    assert sources(gallery) == {CLIP, DOOR, YARD, "/both.jpg"}
    agree(gallery, CLIP)
    assert verify(gallery.url).clean
    assert not choose(gallery, ask())
    assert forget_chosen(gallery, choose(gallery, ask())) == Erased(0, 0, 0)


def test_looking_changes_nothing(gallery: Gallery) -> None:
    before = content(gallery), {path: path.stat().st_mtime_ns for path in Path(gallery.url).rglob("*.*")}
    found = shown(gallery, choose(gallery, ask(least=0.0)), 20)
    assert before == (content(gallery), {path: path.stat().st_mtime_ns for path in Path(gallery.url).rglob("*.*")})
    likeness = [each.likeness for each in found]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] == pytest.approx(1.0)
    assert {type(each) for each in found} >= {Sighting}


def test_of_too_many_the_least_alike_are_shown_too(gallery: Gallery) -> None:
    chosen = choose(gallery, ask(least=-1.0))
    every = shown(gallery, chosen, 100)
    assert len(every) == chosen.sightings + chosen.photos == 8
    ids = [each.id for each in every]
    assert [each.id for each in shown(gallery, chosen, 3)] == [*ids[:2], ids[-1]]
    assert len(shown(gallery, choose(gallery, Choice(camera="door")), 3)) == 3


def test_it_is_not_searched_again_and_does_not_come_back(gallery: Gallery) -> None:
    forget_chosen(gallery, choose(gallery, ask()))
    before = content(gallery)
    entries, _ = followed(CLIP, (1, 2), camera=None)
    (photo, *_), _ = followed("/anna.jpg", (1,), camera="door", sha256="a" * 64, start=NOW - 2 * DAY)
    gallery.add(entries, [])
    gallery.add([replace(photo, sightings=())])
    assert content(gallery) == before
    retrack(gallery, CLIP, "5" * 64)  # as indexing does where it was cut off
    agree(gallery, CLIP)
    assert [row["source"] for row in sightings_held(gallery)[0].values()].count(CLIP) == 1
    assert content(gallery) == before


def test_who_is_followed_on_does_not_come_back(gallery: Gallery) -> None:
    """A process that watches the door knows nothing of it, and goes on with the sighting."""
    entries, sightings = followed("rtsp://gate/1", (1, 2), camera="gate", sha256="", start=NOW, frames=6)
    going_on = [replace(each, closed=False) for each in sightings]
    gallery.add(entries[:3], going_on)
    secrets = of(gallery, ANNA)
    forget_chosen(gallery, choose(gallery, ask()))
    with Gallery.open(gallery.url) as other:
        other.add(entries[3:], going_on)
        other.store_sightings(sightings)
    held, of_people = sightings_held(gallery)
    assert [row["id"] for row in held.values() if row["source"] == "rtsp://gate/1"] == [sightings[1].id]
    here = [person for person, _ in gallery.rows() if person.source == "rtsp://gate/1"]
    assert [person.id.rpartition("-")[2] for person in here] == ["1"] * 6
    assert {of_people[person.id] for person in here} == {sightings[1].id}
    assert in_files(gallery, secrets) == []


def test_who_was_followed_goes_as_a_whole(tmp_path: Path) -> None:
    """Any frame of a sighting that is alike takes all of it along, and the others agree afterwards."""
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        followers = Followers(gallery, 5.0)
        entries = walk(4, 80)
        for i in range(0, 80, 8):
            gallery.add([followers.name(each) for each in entries[i : i + 8]], followers.changed())
        followers.finish()
        gallery.add([], followers.changed())
        followers.stored()
        sightings, of_people = sightings_held(gallery)
        person, embedding = next((person, each) for person, each in gallery.rows() if person.number > 20)
        chosen = choose(gallery, ask(least=0.999, who=embedding[None]))
        assert set(chosen.likeness) == {of_people[person.id]}
        assert chosen.people == sightings[of_people[person.id]]["frames"] > 1
        forget_chosen(gallery, chosen)
        agree(gallery, "/walk.mp4")
        assert len(sightings_held(gallery)[0]) == len(sightings) - 1
        left = content(gallery)
        retrack(gallery, "/walk.mp4", "9" * 64)
        agree(gallery, "/walk.mp4")
        assert content(gallery) == left


@pytest.mark.parametrize(
    ("named", "people", "left"),
    [
        ({"camera": "door"}, 9, {CLIP, YARD}),
        ({"camera": "yard"}, 3, {CLIP, DOOR, "/both.jpg", "/anna.jpg"}),
        ({"since": NOW - DAY}, 3, {CLIP, DOOR, "/both.jpg", "/anna.jpg"}),
        ({"until": NOW - DAY}, 9, {CLIP, YARD}),
        (MOMENT, 6, {CLIP, YARD, "/both.jpg", "/anna.jpg"}),
        ({"since": NOW - DAY, "camera": "door"}, 0, {CLIP, DOOR, YARD, "/both.jpg", "/anna.jpg"}),
        ({"source": "/both.jpg", "camera": "door"}, 2, {CLIP, DOOR, YARD, "/anna.jpg"}),
    ],
)
def test_all_that_a_camera_or_a_time_saw(gallery: Gallery, named: dict, people: int, left: set[str]) -> None:
    before = {source: [row for row in content(gallery) if row[1] == source] for source in sources(gallery)}
    chosen = choose(gallery, Choice(**named))
    assert chosen.people == people
    assert chosen.timeless == (6 if {"since", "until"} & set(named) and "camera" not in named else 0)
    assert forget_chosen(gallery, chosen).people == people
    assert sources(gallery) == left
    for source in left:
        assert [row for row in content(gallery) if row[1] == source] == before[source]
    for row in sightings_held(gallery)[0].values():
        assert row["source"] in left
    if named != MOMENT:  # of which the frames before and after stay, with nobody in them
        assert in_files(gallery, [name.encode() for name in set(before) - left]) == []
    assert verify(gallery.url).clean
    assert not choose(gallery, Choice(**named))


@pytest.mark.parametrize(
    ("named", "gone"),
    [
        ({"camera": "door"}, {DOOR, "/both.jpg", "/anna.jpg"}),
        ({"until": NOW - DAY}, {DOOR, "/both.jpg", "/anna.jpg"}),
        ({"camera": "yard"}, set()),
        ({"source": CLIP}, {CLIP}),
    ],
)
def test_a_person_of_a_camera_a_time_or_a_source(gallery: Gallery, named: dict, gone: set[str]) -> None:
    def seen(who: np.ndarray) -> set[str]:
        return {person.source for person, embedding in gallery.rows() if embedding @ who[0] > 0.9}

    anna, bob = seen(ANNA), seen(BOB)
    forget_chosen(gallery, choose(gallery, ask(**named)))
    assert (seen(ANNA), seen(BOB)) == (anna - gone, bob)


def test_whole_files_stay_out_and_streams_may_be_watched_on(gallery: Gallery) -> None:
    gallery.add([entry(1, 1, source="shared.jpg", sha256="c" * 64, time=NOW - 2 * DAY, camera="door")])
    gallery.add([entry(2, 2, source="shared.jpg", sha256="d" * 64, time=NOW, camera="yard")])
    forget_chosen(gallery, choose(gallery, Choice(camera="door")))
    stones = Tombstones(FolderNotes(Path(gallery.url) / "_keeping"))
    assert stones.cover("/anna.jpg")
    assert stones.cover("/copy.jpg", "a" * 64)
    assert stones.cover("shared.jpg", "c" * 64)
    assert not stones.cover("shared.jpg", "d" * 64)
    assert not stones.cover(DOOR)
    assert sources(gallery) == {CLIP, YARD, "shared.jpg"}
    entries, sightings = followed(DOOR, (2,), start=NOW + 60, camera="door", sha256="")
    gallery.add(entries, sightings)
    assert DOOR in sources(gallery)
    assert in_files(gallery, [b"c" * 64, b"/anna.jpg"]) == []


def test_of_a_file_that_lies_partly_within_nothing_is_searched_again(gallery: Gallery) -> None:
    def film() -> list:
        return [entry(number, 2, source="/film.mp4", sha256="e" * 64, time=NOW + number) for number in range(4)]

    gallery.add(film())
    forget_chosen(gallery, choose(gallery, Choice(since=NOW + 2, source="/film.mp4")))
    assert {person.number for person, _ in gallery.rows() if person.source == "/film.mp4"} == {0, 1}
    gallery.add(film())
    assert {person.number for person, _ in gallery.rows() if person.source == "/film.mp4"} == {0, 1}


def test_a_sighting_that_reaches_into_the_time_goes_as_a_whole(gallery: Gallery) -> None:
    forget_chosen(gallery, choose(gallery, Choice(since=NOW + 2, until=NOW + DAY)))
    assert YARD not in sources(gallery)
    assert {row["source"] for row in sightings_held(gallery)[0].values()} == {CLIP, DOOR}


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({}, "Nobody is named"),
        ({"question": Question(ANNA, ANNA[:0])}, "From which similarity on"),
        ({"least": 0.5, "camera": "1"}, "nobody to whom"),
        ({"question": Question(ANNA, ANNA[:0]), "least": 1.5}, "between -1 and 1"),
        ({"since": 12.0}, "no time of a clock"),
        ({"until": float("nan")}, "no time of a clock"),
        ({"since": NOW, "until": NOW - 1}, "ends before it begins"),
    ],
)
def test_a_choice_that_means_nothing(named: dict, why: str) -> None:
    with pytest.raises(QueryError, match=why):
        Choice(**named)


def test_embeddings_of_another_space(gallery: Gallery) -> None:
    with pytest.raises(GalleryError, match="length"):
        choose(gallery, ask(who=np.ones((1, 3), np.float32)))
