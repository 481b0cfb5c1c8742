import os
from dataclasses import replace
from pathlib import Path

import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.erasure import Erased
from mgts_trt.gallery.indexing.following import Followers
from mgts_trt.gallery.retention import Policy, erase_sources, expire, read_policy, set_policy, vanished
from mgts_trt.gallery.verifying import verify
from tests.helpers.stored_people import SPACE, entry
from tests.helpers.walkers import agree, sightings_held, stored_in_batches, walk

pytest.importorskip("lancedb")

NOW, DAY = 1.8e9, 86400.0


@pytest.fixture
def gallery(tmp_path: Path):
    """A video; a stream of two days ago, and one of today; photos, with a clock and without."""
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        followers = Followers(gallery, 5.0)
        for seed, source, sha256, start in (
            (1, "/walk.mp4", "9" * 64, 0.0),
            (2, "rtsp://door/1", "", NOW - 2 * DAY),
            (3, "rtsp://yard/1", "", NOW - 600),
        ):
            entries = walk(seed, 40, source, sha256, start)
            named = [replace(each, frame=replace(each.frame, camera=source[7:11])) for each in entries]
            stored_in_batches(gallery, followers, named)
        followers.finish()
        stored_in_batches(gallery, followers, [])
        gallery.add([entry(1, 3, source="old.jpg", sha256="1" * 64, time=NOW - 9 * DAY, camera="it's")])
        gallery.add([entry(2, 2, source="/photo.jpg", sha256="2" * 64, time=None, camera=None)])
        yield gallery


def sources(gallery: Gallery) -> set[str]:
    return {person.source for person, _ in gallery.rows()}


EVERYTHING = {"/walk.mp4", "rtsp://door/1", "rtsp://yard/1", "old.jpg", "/photo.jpg"}


@pytest.mark.parametrize(
    ("policy", "gone"),
    [
        (Policy(), set()),
        (Policy(30 * DAY), set()),
        (Policy(3 * DAY), {"old.jpg"}),
        (Policy(DAY), {"old.jpg", "rtsp://door/1"}),
        (Policy(60.0), {"old.jpg", "rtsp://door/1", "rtsp://yard/1"}),
        (Policy(None, {"it's": DAY}), {"old.jpg"}),
        (Policy(None, {"door": DAY}), {"rtsp://door/1"}),
        (Policy(DAY, {"it's": 90 * DAY}), {"rtsp://door/1"}),
        (Policy(90 * DAY, {"yard": 60.0, "nobody": 1.0}), {"rtsp://yard/1"}),
    ],
)
def test_people_are_kept_as_long_as_it_says(gallery: Gallery, policy: Policy, gone: set[str]) -> None:
    before = gallery.count()
    erased = expire(gallery, policy, now=NOW)
    assert sources(gallery) == EVERYTHING - gone
    assert gallery.count() == before - erased.people
    assert bool(erased) == bool(gone)
    for source in ("/walk.mp4", "rtsp://door/1", "rtsp://yard/1"):
        agree(gallery, source)
    assert verify(gallery.url).clean
    assert expire(gallery, policy, now=NOW) == Erased(0, 0, 0)


def test_a_sighting_goes_as_a_whole(gallery: Gallery) -> None:
    door = [row for row in sightings_held(gallery)[0].values() if row["camera"] == "door"]
    longest = max(door, key=lambda row: row["last_time"] - row["first_time"])
    middle = (longest["first_time"] + longest["last_time"]) / 2
    before = sightings_held(gallery)[0]
    erased = expire(gallery, Policy(NOW - middle), now=NOW)
    held = sightings_held(gallery)[0]
    assert erased.sightings == len(before) - len(held)
    assert longest["id"] in held
    assert held == {name: row for name, row in before.items() if row["camera"] != "door" or row["last_time"] >= middle}
    agree(gallery, "rtsp://door/1")
    assert verify(gallery.url).clean


def test_what_was_set_is_kept_and_applied(gallery: Gallery) -> None:
    assert not read_policy(gallery)
    assert not expire(gallery, now=NOW)
    policy = Policy(3 * DAY, {"it's": 2 * DAY})
    set_policy(gallery, policy)
    with Gallery.open(gallery.url) as other:
        assert read_policy(other) == policy
        assert expire(other, now=NOW).people == 3
    (Path(gallery.url) / "_keeping" / "policy").write_text("{")
    with pytest.raises(GalleryError, match="Set it anew"):
        expire(gallery)


def test_it_may_come_again(gallery: Gallery) -> None:
    expire(gallery, Policy(3 * DAY), now=NOW)
    gallery.add([entry(1, 3, source="old.jpg", sha256="1" * 64, time=NOW, camera="it's")])
    assert "old.jpg" in sources(gallery)


def test_what_has_gone_from_a_folder(gallery: Gallery, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = [str(folder / name) for name in ("a.jpg", "it's.jpg", "link.jpg")]
    for number, name in enumerate(names, 10):
        gallery.add([entry(number, 2, source=name, sha256=f"{number:064}", time=None)])
    (folder / "a.jpg").touch()
    os.symlink("/nowhere", folder / "link.jpg")  # a link is there, whatever it leads to
    assert vanished(gallery, [folder]) == ([names[1]], 3)
    assert vanished(gallery, [tmp_path / "g"]) == ([], 0)
    with pytest.raises(GalleryError, match="Is its disk mounted"):
        vanished(gallery, [tmp_path / "none"])
    assert erase_sources(gallery, [names[1]], "sync").people == 2
    assert sources(gallery) == {*EVERYTHING, names[0], names[2]}
    assert not erase_sources(gallery, [], "sync")
    assert verify(gallery.url).clean
