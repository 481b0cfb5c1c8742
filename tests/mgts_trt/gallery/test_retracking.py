import numpy as np
import pytest

from mgts_trt.gallery import Gallery, retracking
from mgts_trt.gallery.indexing.following import Followers
from mgts_trt.gallery.retracking import is_tracked, retrack, settle
from tests.helpers.stored_people import SPACE, content, entry
from tests.helpers.walkers import agree, sightings_held, stored_in_batches, walk

pytest.importorskip("lancedb")

VIDEO, SHA = "/walk.mp4", "9" * 64


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "g", SPACE) as opened:
        opened.add([entry(3), entry(1, source="/other.mp4", sha256="8" * 64)])  # of others, to be left alone
        yield opened


@pytest.mark.parametrize("seed", range(4))
def test_what_was_followed_while_indexing_is_what_its_rows_tell(gallery, monkeypatch, seed: int) -> None:
    monkeypatch.setattr(retracking, "_CHUNK", 7)
    before = content(gallery)
    followers = Followers(gallery, 5.0)
    stored_in_batches(gallery, followers, walk(seed), size=1 + 5 * seed)
    assert not is_tracked(gallery, VIDEO, SHA)
    followers.finish()
    stored_in_batches(gallery, followers, [])
    agree(gallery, VIDEO)
    online, rows = sightings_held(gallery), content(gallery)
    assert len(online[0]) > 3
    assert is_tracked(gallery, VIDEO, SHA)
    retrack(gallery, VIDEO, SHA)
    assert sightings_held(gallery) == online
    assert content(gallery) == rows
    assert set(before) <= set(rows)
    assert {online[1][row[0]] for row in before} == {None}
    # From rows that tell nothing, too.
    gallery.tables[0].update(where=f"source = '{VIDEO}'", values_sql={"sighting": "CAST(NULL AS STRING)"})
    gallery.sightings.delete("true")
    retrack(gallery, VIDEO, SHA)
    assert sightings_held(gallery) == online
    assert gallery.frames_done(VIDEO, SHA) == (set(range(60)), None)


@pytest.mark.parametrize("cut", [1, 20, 59])
@pytest.mark.parametrize("interleaved", [False, True])
def test_a_video_that_is_taken_up_again(gallery, tmp_path, cut: int, interleaved: bool) -> None:
    entries = walk(1)
    parts = (
        (entries[::3], [e for i, e in enumerate(entries) if i % 3]) if interleaved else (entries[:cut], entries[cut:])
    )
    for part in parts:
        followers = Followers(gallery, 5.0)
        stored_in_batches(gallery, followers, part)
        followers.finish()
        stored_in_batches(gallery, followers, [])
    agree(gallery, VIDEO)
    with Gallery.create(tmp_path / "at once", SPACE) as other:
        followers = Followers(other, 5.0)
        stored_in_batches(other, followers, entries)
        followers.finish()
        stored_in_batches(other, followers, [])
        whole = sightings_held(other)
    assert sightings_held(gallery)[0] == whole[0]
    assert whole[1].items() <= sightings_held(gallery)[1].items()


class KilledError(Exception):
    """As a process is: nothing that comes afterwards is done."""


@pytest.mark.parametrize("step", range(4))
def test_retracking_killed_at_any_commit_is_done_again(gallery, monkeypatch, step: int) -> None:
    monkeypatch.setattr(retracking, "_COMMIT", 40)
    gallery.add(walk(2))
    calls = []

    def cut(call):
        calls.append(1)
        if len(calls) == 3 + step:  # after reading frames and people: sightings, two commits of rows, what was tracked
            raise KilledError
        return call()

    monkeypatch.setattr(retracking, "retried", cut)
    with pytest.raises(KilledError):
        retrack(gallery, VIDEO, SHA)
    monkeypatch.undo()
    assert not is_tracked(gallery, VIDEO, SHA)
    retrack(gallery, VIDEO, SHA)
    agree(gallery, VIDEO)
    assert is_tracked(gallery, VIDEO, SHA)


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_that_was_cut_off_is_settled(gallery, tmp_path, seed: int) -> None:
    stream, entries = "rtsp://camera/1", walk(seed, source="rtsp://camera/1", sha256="", start=1.7e9)
    followers = Followers(gallery, 5.0)
    stored_in_batches(gallery, followers, entries[:40], size=10)
    # Killed after the commit of people: nothing was told to their sightings.
    gallery.add([followers.name(each) for each in entries[40:]])
    assert settle(gallery, stream) >= 1
    agree(gallery, stream)
    assert settle(gallery, stream) == 0
    with Gallery.create(tmp_path / "whole", SPACE) as other:
        followers = Followers(other, 5.0)
        stored_in_batches(other, followers, entries)
        followers.finish()
        other.store_sightings(followers.changed())
        whole = sightings_held(other)
    settled = {name: row for name, row in sightings_held(gallery)[0].items() if row["source"] == stream}
    assert settled == whole[0]


def test_nobody_there_and_no_such_source(gallery) -> None:
    gallery.add([entry(number, 0, source=VIDEO, sha256=SHA) for number in range(5)])
    retrack(gallery, VIDEO, SHA)
    assert is_tracked(gallery, VIDEO, SHA)
    gallery.add([entry(7, 1, source=VIDEO, sha256=SHA)])
    assert not is_tracked(gallery, VIDEO, SHA)
    retrack(gallery, "/none.mp4", SHA)
    assert settle(gallery, "rtsp://none") == 0
    assert gallery.summary().sightings == 0
    assert gallery.summary().frames == 8
    assert np.isfinite(gallery.summary().bytes)
