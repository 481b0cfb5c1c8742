from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.gallery import Gallery, vector_index
from mgts_trt.gallery.indexing.following import Followers
from mgts_trt.gallery.retracking import retrack
from tests.helpers.stored_people import SPACE, content, entry
from tests.helpers.walkers import agree, sightings_held, stored_in_batches, walk

pytest.importorskip("lancedb")

KEPT, FORGOTTEN = "/walk.mp4", "/a'.mp4"


@pytest.fixture(params=[False, True], ids=["small", "indexed"])
def gallery(tmp_path, monkeypatch, request):
    """Two videos, followed, and many photos."""
    monkeypatch.setattr(vector_index, "INDEX_FROM", 5 if request.param else 10_000)
    with Gallery.create(tmp_path / "g", SPACE) as opened:
        followers = Followers(opened, 5.0)
        stored_in_batches(opened, followers, [*walk(1), *walk(2, source=FORGOTTEN, sha256="8" * 64)])
        followers.finish()
        stored_in_batches(opened, followers, [])
        opened.add([entry(number, source=f"/{number}.jpg") for number in range(50)])
        opened.optimise()
        yield opened


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
