import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Frame, Gallery, erasure, parse_filter, vector_index
from mgts_trt.gallery.corrections import correct
from mgts_trt.gallery.disk import steps
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.erasure import erase
from mgts_trt.gallery.indexing.following import Followers
from mgts_trt.gallery.retracking import retrack
from mgts_trt.gallery.tables import FRAMES, PEOPLE
from mgts_trt.gallery.verifying import verify
from tests.helpers.stored_people import SPACE, content, entry
from tests.helpers.walkers import agree, sightings_held, stored_in_batches, walk

pytest.importorskip("lancedb")

KEPT, FORGOTTEN = "/walk.mp4", "/a'.mp4"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Galleries of two videos, followed, and many photos, by whether they have indices."""
    made = {}
    for kind, least in (("small", 10_000), ("indexed", 5)):
        made[kind] = tmp_path_factory.mktemp(kind) / "g"
        with pytest.MonkeyPatch.context() as patch, Gallery.create(made[kind], SPACE) as opened:
            patch.setattr(vector_index, "INDEX_FROM", least)
            _fill(opened)
    return made


@pytest.fixture(params=["small", "indexed"])
def gallery(tmp_path, monkeypatch, request, filled):
    """A copy of one of them."""
    monkeypatch.setattr(vector_index, "INDEX_FROM", 5 if request.param == "indexed" else 10_000)
    shutil.copytree(filled[request.param], tmp_path / "g")
    with Gallery.open(tmp_path / "g") as opened:
        yield opened


def _fill(opened: Gallery) -> None:
    followers = Followers(opened, 5.0)
    stored_in_batches(opened, followers, [*walk(1), *walk(2, source=FORGOTTEN, sha256="8" * 64)])
    followers.finish()
    stored_in_batches(opened, followers, [])
    opened.add([entry(number, source=f"/{number}.jpg") for number in range(50)])
    opened.optimise()


def traces(gallery: Gallery, source: str) -> list[bytes]:
    """What files hold of a source: its name, ids, embeddings of people and sightings, and paths."""
    sightings = [row for row in sightings_held(gallery)[0].values() if row["source"] == source]
    return [
        source.encode(),
        *(np.float32(row["embedding"]).tobytes() for row in sightings),
        *(np.float32(row["path"][:10]).tobytes() for row in sightings),
        *(row["id"].encode() for row in sightings),
        *(embedding.tobytes() for person, embedding in gallery.rows() if person.source == source),
    ]


def held(place: str, secrets: list[bytes]) -> list[bytes]:
    files = [file.read_bytes() for file in Path(place).rglob("*") if file.is_file()]
    return [secret for secret in secrets if any(secret in file for file in files)]


def test_forgetting_leaves_no_byte_of_the_sightings(gallery) -> None:
    secrets, kept = traces(gallery, FORGOTTEN), traces(gallery, KEPT)
    assert len(held(gallery.url, secrets)) > len(secrets) / 2, "they are to be found at all"
    before = {row for row in content(gallery) if row[1] != FORGOTTEN}
    assert gallery.forget(FORGOTTEN) > 0
    assert held(gallery.url, secrets) == []
    assert set(content(gallery)) == before
    agree(gallery, KEPT)
    assert held(gallery.url, kept)
    assert gallery.forget(FORGOTTEN) == 0


def test_nor_where_the_sightings_had_gone_before(gallery) -> None:
    secrets = traces(gallery, FORGOTTEN)
    of_source = f"source = '{FORGOTTEN.replace(chr(39), chr(39) * 2)}'"
    gallery.sightings.delete(of_source)  # and its log tells so
    assert held(gallery.url, secrets)
    gallery.forget(FORGOTTEN)
    assert held(gallery.url, secrets) == []


def test_what_changed_takes_its_sightings_along(gallery) -> None:
    before = sightings_held(gallery)[0]
    people = gallery.remove_changed({FORGOTTEN: "1" * 64, KEPT: "9" * 64})
    assert people == sum(len(each.people) for each in walk(2))
    after = sightings_held(gallery)[0]
    assert after == {name: row for name, row in before.items() if row["source"] == KEPT}
    agree(gallery, KEPT)
    entries = [replace(each, frame=replace(each.frame, source=FORGOTTEN, sha256="1" * 64)) for each in walk(3, 20)]
    gallery.add(entries)
    retrack(gallery, FORGOTTEN, "1" * 64)
    agree(gallery, FORGOTTEN)


def test_what_a_killed_process_told_of_streams_goes_too(gallery) -> None:
    told = Path(gallery.url) / "watched" / "1-ab.json"
    told.parent.mkdir()
    told.write_text(f'[{{"source": "{FORGOTTEN}"}}]')
    gallery.forget(FORGOTTEN)
    assert not told.exists()


def stop_at(monkeypatch, name: str, error: BaseException) -> None:
    def on_step(step: str) -> None:
        if step == name:
            raise error

    monkeypatch.setattr(steps, "on_step", on_step)


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
@pytest.mark.parametrize(
    "step", ["put up the tombstone", "delete frames", "delete people", "rewrite people", "remove people/data", "end"]
)
def test_an_erasure_that_was_cut_off_is_finished_by_the_next_writer(gallery, monkeypatch, step) -> None:
    secrets = traces(gallery, FORGOTTEN)
    kept = {row for row in content(gallery) if row[1] != FORGOTTEN}
    stop_at(monkeypatch, step, OSError(28, "No space left on device"))
    with pytest.raises(GalleryError, match="Check the place"):
        gallery.forget(FORGOTTEN)
    monkeypatch.undo()
    assert verify(gallery.url).under_way == 1
    with Gallery.open(gallery.url) as next_writer:
        next_writer.end_video("/ended.mp4", "3" * 64, 1)
        assert set(content(next_writer)) == kept
    assert held(gallery.url, secrets) == []
    assert verify(gallery.url).clean
    assert gallery.forget(FORGOTTEN) == 0
    gallery.add(walk(2, 20, FORGOTTEN, "4" * 64))
    assert set(content(gallery)) == kept, "it stays out"


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
def test_one_that_was_not_begun_has_changed_nothing(gallery, monkeypatch) -> None:
    before = content(gallery)
    stop_at(monkeypatch, "intend forget", OSError(28, "No space left on device"))
    with pytest.raises(GalleryError, match="No space left"):
        gallery.forget(FORGOTTEN)
    monkeypatch.undo()
    assert verify(gallery.url).clean
    assert content(gallery) == before


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
def test_a_reader_hears_of_it(gallery, monkeypatch, caplog) -> None:
    stop_at(monkeypatch, "delete frames", OSError(28, "No space left on device"))
    with pytest.raises(GalleryError):
        gallery.forget(FORGOTTEN)
    with Gallery.open(gallery.url) as reader:
        assert reader.count() > 0
    assert "erasure" in caplog.text
    assert "gallery optimise" in caplog.text


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
def test_files_of_a_killed_writer_go_too(gallery) -> None:
    secrets, people = traces(gallery, FORGOTTEN), Path(gallery.url) / "people.lance"
    orphan = people / "data" / f"{'01' * 20}.lance"
    orphan.write_bytes(b"".join(path.read_bytes() for path in (people / "data").glob("*.lance")))
    gallery.forget(FORGOTTEN)
    assert held(gallery.url, secrets) == []
    assert verify(gallery.url).clean


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
def test_forgetting_what_is_not_there_writes_nothing(gallery) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(gallery.url).rglob("*.*")}
    assert gallery.forget("/never-indexed.mp4") == 0
    assert gallery.remove_changed({"/never-indexed.mp4": "1" * 64}) == 0
    assert {path: path.stat().st_mtime_ns for path in Path(gallery.url).rglob("*.*")} == before


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
@pytest.mark.parametrize("ending", ["optimise", "close"])
def test_of_what_was_replaced_no_byte_is_left(gallery, ending) -> None:
    secrets = [secret for secret in traces(gallery, FORGOTTEN) if secret != FORGOTTEN.encode()]
    assert gallery.remove_changed({FORGOTTEN: "1" * 64}) > 0
    gallery.add([entry(3, source=FORGOTTEN, sha256="1" * 64)])
    getattr(gallery, ending)()
    assert held(gallery.url, [*secrets, b"8" * 64]) == []
    with Gallery.open(gallery.url) as again:
        assert again.count(parse_filter(f'source="{FORGOTTEN}"')) == 3
    assert verify(gallery.url).clean


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
def test_what_is_there_again_since_stays(gallery, monkeypatch) -> None:
    """A picture that was replaced, and replaced again by what it was, before the first erasure came to its end."""
    gallery.add([entry(3, source="/p.jpg", sha256="1" * 64)])
    gallery.remove_changed({"/p.jpg": "2" * 64})
    gallery.add([entry(2, source="/p.jpg", sha256="2" * 64)])
    gallery.remove_changed({"/p.jpg": "1" * 64})
    gallery.add([entry(3, source="/p.jpg", sha256="1" * 64)])
    gallery.optimise()
    assert gallery.count(parse_filter('source="/p.jpg"')) == 3
    assert held(gallery.url, [b"2" * 64]) == []


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
def test_a_copy_under_another_name_is_kept(gallery) -> None:
    """It has the same embeddings, pictures and hash, and its name holds the name of what is forgotten."""
    gallery.add([entry(3, source="/copied.jpg"), entry(3, source="/folder/copied.jpg")])
    assert gallery.forget("/copied.jpg") == 3
    assert gallery.count(parse_filter('source="/folder/copied.jpg"')) == 3


def test_erasing_by_any_condition(gallery) -> None:
    older = dict.fromkeys((FRAMES, PEOPLE), "source = '/walk.mp4' AND time < 5")
    rows = [row for row in content(gallery) if row[1] == KEPT and row[3] < 5]
    erased = erase(gallery, older, "expired")
    assert erased.people == len(rows) > 0
    assert erased.sightings == 0
    assert held(gallery.url, [row[-1] for row in rows]) == []
    assert not erase(gallery, older, "expired")


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
def test_a_file_that_keeps_a_trace_is_told(gallery, monkeypatch) -> None:
    monkeypatch.setattr(erasure, "sweep", lambda *_, **__: 0)
    with pytest.raises(GalleryError, match="still in"):
        gallery.forget(FORGOTTEN)
    monkeypatch.undo()
    assert verify(gallery.url).under_way == 1
    gallery.optimise()
    assert verify(gallery.url).clean


@pytest.mark.parametrize("gallery", ["indexed"], indirect=True)
def test_a_correction_leaves_no_byte_of_what_was_told_before(gallery) -> None:
    gallery.add([entry(3, source="/seen.mp4", camera="the-back-door")])
    gallery.optimise()
    assert held(gallery.url, [b"the-back-door"])
    assert correct(gallery, [Frame("/seen.mp4", sha256="5" * 64, camera="front")]) == 1
    gallery.optimise()
    assert held(gallery.url, [b"the-back-door"]) == []
    assert verify(gallery.url).clean


def test_where_files_are_not_to_be_seen_lancedb_removes_them(gallery) -> None:
    """As in a bucket: no journal, no locks."""
    gallery.place = Place("s3://bucket/gallery")
    secrets = traces(gallery, FORGOTTEN)
    kept = {row for row in content(gallery) if row[1] != FORGOTTEN}
    assert gallery.forget(FORGOTTEN) > 0
    assert held(gallery.url, secrets) == []
    assert set(content(gallery)) == kept
    old = [secret for secret in traces(gallery, KEPT) if secret != KEPT.encode()]
    assert gallery.remove_changed({KEPT: "1" * 64}) > 0
    gallery.close()
    assert held(gallery.url, old) == []
