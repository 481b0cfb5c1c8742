"""What lies in a gallery, to be looked through: its people page by page, its sources and its cameras."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.gallery.chosen_rows import read_rows
from mgts_trt.gallery.filters import Filter
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.tables import ABOUT, Person, embeddings_of, people_of

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery

_ORDER = ("source", "number", "id")


class Page(NamedTuple):
    """Some of the people that a filter leaves."""

    people: list[Person]
    """By source, then by frame."""
    total: int
    """How many there are on all pages."""


@dataclass(frozen=True)
class SourceSeen:
    """A picture, video or stream that a gallery holds.

    Attributes:
        source: Its name; see `Frame`.
        cameras: Names, sorted; none where none was told.
        frames: Done.
        people: Seen in them.
        first: Least time, seconds; None where no frame has one.
        last: Greatest time.
    """

    source: str
    cameras: list[str]
    frames: int
    people: int
    first: float | None
    last: float | None


@dataclass(frozen=True)
class CameraSeen:
    """A camera that a gallery has frames of; see `SourceSeen`. `camera` is None for frames of which none was told."""

    camera: str | None
    frames: int
    people: int
    first: float | None
    last: float | None


class Overview:
    """Sources and cameras of a gallery, as they were when it was made.

    Args:
        frames: Columns source, camera, time and people of the frames that are done.
    """

    def __init__(self, frames: Any) -> None:
        sums = [("people", "count"), ("people", "sum"), ("time", "min"), ("time", "max")]
        self._sources = frames.group_by("source").aggregate([("camera", "distinct"), *sums]).sort_by("source")
        self._cameras = frames.group_by("camera").aggregate(sums).to_pylist()

    def cameras(self) -> list[CameraSeen]:
        """By name; frames without a camera last."""
        ordered = sorted(self._cameras, key=lambda row: (row["camera"] is None, row["camera"]))
        return [CameraSeen(row["camera"], *_sums(row)) for row in ordered]

    def sources(self, containing: str = "", *, offset: int = 0, limit: int = 100) -> tuple[list[SourceSeen], int]:
        """Sources by name, and how many there are in all.

        Args:
            containing: Those alone whose names contain this; upper and lower case are one.
            offset: How many to pass over.
            limit: How many to give at most.
        """
        import pyarrow.compute as pc

        rows = self._sources
        if containing:
            rows = rows.filter(pc.match_substring(rows["source"], containing, ignore_case=True))
        return [
            SourceSeen(row["source"], sorted(name for name in row["camera_distinct"] if name is not None), *_sums(row))
            for row in rows.slice(offset, limit).to_pylist()
        ], len(rows)

    def has(self, source: str) -> bool:
        """Whether the gallery has frames of a source."""
        import pyarrow.compute as pc

        return bool(pc.any(pc.equal(self._sources["source"], source)).as_py())


def overview(gallery: "Gallery") -> Overview:
    """Sources and cameras. It reads a row a frame: to be kept for a while where there are many.

    Raises:
        GalleryError: It cannot be read.
    """
    with explained("read", gallery.url):
        import pyarrow.compute as pc

        _, frames = gallery.tables
        rows = retried(frames.search().select(["source", "camera", "time", "people"]).to_arrow)
        return Overview(rows.filter(pc.greater_equal(rows["people"], 0)))  # below 0: the end of a video


def people_page(gallery: "Gallery", where: Filter | None = None, *, offset: int = 0, limit: int = 50) -> Page:
    """People of a gallery, by source and frame.

    Args:
        gallery: Which.
        where: Those alone for whom it holds.
        offset: How many to pass over.
        limit: How many to give at most.

    Raises:
        GalleryError: It cannot be read.
    """
    with explained("read", gallery.url):
        table, _ = gallery.tables
        condition = where.expression() if where is not None and where.conditions else None
        rows = read_rows(table, ABOUT, condition, order=_ORDER, offset=offset, limit=limit)
        total = condition.to_sql() if condition is not None else None
        return Page(people_of(rows, gallery.encryption), int(retried(lambda: table.count_rows(total))))


def person_with_embedding(gallery: "Gallery", person_id: str) -> tuple[Person, Floats] | None:
    """The person with an id and their embedding, float32 [d] of length 1; None where there is no such person.

    Raises:
        GalleryError: It cannot be read.
    """
    from lancedb.expr import col

    with explained("read", gallery.url):
        table, _ = gallery.tables
        query = table.search().where(col("id").isin([person_id])).select([*ABOUT, "embedding"]).limit(1)
        rows = retried(query.to_arrow)
    if not len(rows):
        return None
    embedding = embeddings_of(rows)[0]
    return people_of(rows, gallery.encryption)[0], (embedding / np.linalg.norm(embedding)).astype(np.float32)


def _sums(row: dict[str, Any]) -> tuple[int, int, float | None, float | None]:
    return row["people_count"], row["people_sum"], row["time_min"], row["time_max"]
