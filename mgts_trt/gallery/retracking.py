"""Sightings made again from a gallery's rows: where indexing was cut off, or came before there were any."""

import math
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.gallery.encryption import Encryption
from mgts_trt.gallery.follower import Follower
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.gathering import Gathering, Row, qualities
from mgts_trt.gallery.lance import explained, merge_by, retried
from mgts_trt.gallery.tables import (
    ABOUT,
    CUT,
    SIGHTING,
    TRACKED,
    Person,
    embeddings_of,
    people_of,
    row_of,
    sighting_ids,
    sighting_rows,
    tracked_row,
)
from mgts_trt.gallery.writing import writing
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

if TYPE_CHECKING:
    import pyarrow as pa

    from mgts_trt.gallery.store import Gallery

_CHUNK = 2048
"""Frames whose people are read at once."""

_COMMIT = 50_000
"""Rows that are given their sightings with one commit."""


def retrack(gallery: "Gallery", source: str, sha256: str) -> None:
    """Follow a video or stream through all its stored frames, and make rows and sightings agree with that.

    Cut off at any moment and called again, it ends with the same.

    Args:
        gallery: Of format 3; in one without sightings nothing is done.
        source: The video or stream.
        sha256: Of the video's content; empty for a stream.

    Raises:
        GalleryError: It cannot be read or written.
    """
    if gallery.sightings is None:
        return
    with writing(gallery):
        people, frames = gallery.tables
        follower, renamed, frames_done = Follower(), list[tuple[str, str]](), 0
        for frame, seen in _frames_in_order(gallery, source, sha256):
            frames_done += seen.done
            ids = follower.follow(frame, seen.people, seen.rows)
            renamed += [(row, new) for row, old, new in zip(seen.rows, seen.sightings, ids, strict=True) if old != new]
        follower.finish()
        # Sightings first: rows still without one are found as rows, and tell that this is to be done again.
        merge = merge_by("id", gallery.sightings).when_not_matched_by_source_delete(_of(source, sha256))
        rows = sighting_rows(follower.changed(), gallery.space)
        retried(lambda: merge.execute(rows))
        for i in range(0, len(renamed), _COMMIT):
            part = sighting_ids(renamed[i : i + _COMMIT])
            update = people.merge_insert("id").when_matched_update_all()
            retried(partial(update.execute, part))
        if sha256:
            retried(lambda: merge_by("key", frames).execute(tracked_row(source, sha256, frames_done)))


def mark_tracked(gallery: "Gallery", source: str, sha256: str, frames: int) -> None:
    """Remember that the sightings of a video are those of all its frames that are done, as many as are told.

    Raises:
        GalleryError: It cannot be written.
    """
    with writing(gallery):
        table = gallery.tables[1]
        retried(lambda: merge_by("key", table).execute(tracked_row(source, sha256, frames)))


def is_tracked(gallery: "Gallery", source: str, sha256: str) -> bool:
    """Whether the sightings of a video are those of all its frames that are done; True in a gallery without sightings.

    Raises:
        GalleryError: It cannot be read.
    """
    if gallery.sightings is None:
        return True
    with explained("read", gallery.url):
        query = gallery.tables[1].search().where(_of(source, sha256)).select(["number", "people"])
        rows = retried(query.to_arrow).to_pylist()
    tracked = [row["number"] for row in rows if row["people"] == TRACKED]
    return tracked == [sum(row["people"] >= 0 for row in rows)]


def has_sightings(gallery: "Gallery", source: str, sha256: str) -> bool:
    """Whether a gallery has sightings of a video with a content, or of a stream.

    Raises:
        GalleryError: It cannot be read.
    """
    table = gallery.sightings
    with explained("read", gallery.url):
        return table is not None and retried(lambda: table.count_rows(_of(source, sha256).to_sql())) > 0


def settle(gallery: "Gallery", source: str) -> int:
    """Close the sightings of a live stream that were open when its indexing was cut off; returns how many.

    They are made again from their rows, of which the last commit may have stored more than was told to them.

    Raises:
        GalleryError: It cannot be read or written.
    """
    from lancedb.expr import col, lit

    table = gallery.sightings
    if table is None:
        return 0
    with writing(gallery):
        query = table.search().where(_of(source, "")).select(["id", "first_time", "last_time", "closed"])
        known = retried(query.to_arrow).to_pylist()
        left = {row["id"] for row in known if not row["closed"]}
        told = max((row["last_time"] for row in known), default=-math.inf)
        later = _of(source, "") & (col("time") > lit(told)) if known else _of(source, "")
        rows = retried(gallery.tables[0].search().where(later).select([SIGHTING]).to_arrow)
        left |= {name for name in rows[SIGHTING].unique().to_pylist() if name is not None}
        since = min((row["first_time"] for row in known if not row["closed"]), default=told)
        gathered = dict[str, Gathering]()
        for frame, seen in _frames_in_order(gallery, source, "", since) if left else ():
            good = qualities(seen.people.boxes, seen.people.scores)
            for i, name in enumerate(seen.sightings):
                if name not in left or name is None:
                    continue
                score, embedding = float(seen.people.scores[i]), seen.people.embeddings[i]
                row = Row(seen.rows[i], seen.people.boxes[i], score, embedding, float(good[i]))
                if name in gathered:
                    gathered[name].add(frame, row, frame.time or 0.0)
                else:
                    gathered[name] = Gathering(frame, row, frame.time or 0.0)
        gallery.store_sightings([each.sighting(closed=True) for each in gathered.values()])
    return len(gathered)


class _Seen(NamedTuple):
    """What a gallery holds of one frame."""

    people: People
    rows: list[str]
    """Ids."""
    sightings: list[str | None]
    """Their sightings, as stored."""
    done: bool
    """Whether all its people are stored."""


def _frames_in_order(
    gallery: "Gallery", source: str, sha256: str, since: float = -math.inf
) -> Iterator[tuple[Frame, _Seen]]:
    """All frames of a source, those with nobody in them included; a video's by number, a stream's by time.

    Frames of a stream without a time, which nobody who indexes one writes, are left out.
    """
    from lancedb.expr import col, lit

    people, frames = gallery.tables
    place = "number" if sha256 else "time"
    whole = _of(source, sha256)
    if not sha256:
        whole = whole & (col("time") >= lit(since))
    columns = ["key", "source", "number", "time", "camera", "sha256", "people"]
    stored = retried(frames.search().where(whole).select(columns).to_arrow)
    all_rows = stored.to_pylist()
    cuts = {row["number"] for row in all_rows if row["people"] == CUT}
    told = {row.pop("key"): Frame(**row, cut=row["number"] in cuts) for row in all_rows if row.pop("people") >= 0}
    keys = sorted(told, key=lambda key: _order(told[key]))
    starts = [getattr(told[key], place) for key in keys[::_CHUNK]]
    at = 0
    for low, high in zip([None, *starts[1:]], [*starts[1:], None], strict=True):
        condition = whole if low is None else whole & (col(place) >= lit(low))
        condition = condition if high is None else condition & (col(place) < lit(high))
        query = people.search().where(condition).select([*ABOUT, "frame", SIGHTING, "embedding"])
        here = _by_frame(retried(query.to_arrow), gallery.encryption)
        while at < len(keys) and (high is None or getattr(told[keys[at]], place) < high):
            seen = here.get(keys[at])
            nobody = _seen([], np.zeros((0, gallery.space.embedding), np.float32), [])
            here[keys[at]] = told[keys[at]], (nobody if seen is None else seen[1])._replace(done=True)
            at += 1
        yield from sorted(here.values(), key=lambda item: _order(item[0]))


def _order(frame: Frame) -> tuple[float, int]:
    """Streams count their frames anew whenever they are opened; the times of a video may go back."""
    return (0.0, frame.number) if frame.sha256 else (frame.time or 0.0, frame.number)


def _by_frame(rows: "pa.Table", encryption: Encryption) -> dict[str, tuple[Frame, _Seen]]:
    """Rows of `people` by frame key, each frame's as they were found."""
    persons, embeddings, sightings = people_of(rows, encryption), embeddings_of(rows), rows[SIGHTING].to_pylist()
    members = defaultdict[str, list[int]](list)
    for i, key in enumerate(rows["frame"].to_pylist()):
        members[key].append(i)
    by_frame = dict[str, tuple[Frame, _Seen]]()
    for key, found in members.items():
        found.sort(key=lambda i: row_of(persons[i].id))
        first = persons[found[0]]
        frame = Frame(first.source, first.number, first.sha256, first.time, first.camera)
        by_frame[key] = frame, _seen([persons[i] for i in found], embeddings[found], [sightings[i] for i in found])
    return by_frame


def _seen(found: list[Person], embeddings: Floats, sightings: list[str | None]) -> _Seen:
    """As they were found, but for what is not stored."""
    n = len(found)
    boxes = np.array([each.box for each in found], np.float32).reshape(n, 4)
    people = People(
        boxes=boxes,
        scores=np.array([each.score for each in found], np.float32),
        embeddings=embeddings,
        instances=np.zeros(n, np.int32),
        crops=np.zeros((n, 4), np.int32),
        letterbox=Letterbox((1, 1), (1, 1)),
        timings={},
        canvas_boxes=boxes,
        instance_map=None,
    )
    return _Seen(people, [each.id for each in found], sightings, done=False)


def _of(source: str, sha256: str) -> Any:
    from lancedb.expr import col

    return col("source").isin([source]) & col("sha256").isin([sha256])
