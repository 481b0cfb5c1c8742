"""Galleries of older formats made to have sightings: from what they hold, without a picture being looked at again."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mgts_trt.gallery.lance import connect, explained, retried
from mgts_trt.gallery.retracking import is_tracked, retrack, settle
from mgts_trt.gallery.store import Gallery
from mgts_trt.gallery.tables import SIGHTING, SIGHTINGS, sighting_field, sightings_schema
from mgts_trt.gallery.watched import is_watched
from mgts_trt.gallery.writing import writing
from mgts_trt.pictures.kinds import VIDEO_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa


class Upgraded(NamedTuple):
    """What an upgrade did."""

    before: int
    """The format that the gallery had."""
    sources: int
    """Videos and live streams whose sightings were made."""
    sightings: int
    """How many the gallery has now."""


def upgrade(url: str | Path, *, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Upgraded:
    """Give a gallery of an older format its sightings; one of this format, those that a cut-off run left undone.

    Rows stay as they are, but for the sighting that each belongs to. Cut off at any moment and called again, it goes
    on. Live streams that another process is indexing are left to it: its open sightings would be closed.

    Args:
        url: See `Gallery.open`.
        on_progress: Called after each video or stream that is looked at: how many there were, and how many there are.

    Raises:
        GalleryError: See `Gallery.open`; or it cannot be written.
    """
    with Gallery.open(url) as old:
        before = old.format
        if old.sightings is None:
            _add_to(old)
    with Gallery.open(url) as gallery:
        followed = [(source, sha256) for source, sha256 in _followed(gallery) if sha256 or not is_watched(url, source)]
        made = 0
        for done, (source, sha256) in enumerate(followed, 1):
            if _is_without(gallery, source, sha256):
                retrack(gallery, source, sha256)
                made += 1
            elif not sha256:
                made += settle(gallery, source) > 0
            on_progress(done, len(followed))
        if made:
            gallery.optimise()
        return Upgraded(before, made, gallery.summary().sightings or 0)


def _add_to(gallery: Gallery) -> None:
    """What the format has besides; the column comes last, and tells the format."""
    with writing(gallery, "upgrade"):
        database = connect(gallery.url)
        schema = sightings_schema(gallery.space)
        retried(partial(database.create_table, SIGHTINGS, schema=schema, exist_ok=True))
        try:
            retried(partial(gallery.tables[0].add_columns, sighting_field()))
        except (RuntimeError, ValueError) as error:
            if "already exists" not in str(error).lower():  # another process was quicker
                raise


def _followed(gallery: Gallery) -> list[tuple[str, str]]:
    """Source and content of all videos and live streams, in order."""
    people, frames = gallery.tables
    found = set[tuple[str, str]]()
    with explained("read", gallery.url):
        for table in (frames, people):  # of a frame cut off half-way there are only people
            rows = retried(table.search().select(["source", "sha256", "number", "time"]).to_arrow)
            found |= _videos_and_streams(rows)
    return sorted(found)


def _videos_and_streams(rows: "pa.Table") -> set[tuple[str, str]]:
    """A picture that came over HTTP may bear the name of a video, but has one frame; all of a stream's have a time."""
    sums = rows.group_by(["source", "sha256"]).aggregate([("number", "max"), ("time", "max")])
    return {
        (row["source"], row["sha256"])
        for row in sums.to_pylist()
        if (row["number_max"] and Path(row["source"]).suffix.lower() in VIDEO_SUFFIXES)
        or (not row["sha256"] and row["time_max"] is not None)
    }


def _is_without(gallery: Gallery, source: str, sha256: str) -> bool:
    """Whether a video's sightings are not those of all its frames; whether a stream has rows without a sighting."""
    if sha256:
        return not is_tracked(gallery, source, sha256)
    from lancedb.expr import col

    with explained("read", gallery.url):
        of_stream: Any = (col("source").isin([source]) & col("sha256").isin([""])).to_sql()
        without = f"{of_stream} AND time IS NOT NULL AND {SIGHTING} IS NULL"
        return int(retried(lambda: gallery.tables[0].count_rows(without))) > 0
