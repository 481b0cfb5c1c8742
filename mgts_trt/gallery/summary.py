"""What a gallery holds, in numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgts_trt.gallery import vector_index
from mgts_trt.gallery.lance import is_local, retried
from mgts_trt.gallery.tables import ENCRYPTED


@dataclass(frozen=True)
class Summary:
    """What a gallery holds.

    Attributes:
        people: How many.
        frames: Done, those with nobody in them included.
        sources: Pictures, videos and streams.
        bytes: On disk, indices and older versions included; None where the storage does not tell.
        indexed: People in the vector index; the others are compared one by one.
        sightings: How many; None in a gallery of format 2 or earlier, which has none.
        format: Of the gallery.
        encrypted: Whether pictures are.
    """

    people: int
    frames: int
    sources: int
    bytes: int | None
    indexed: int
    sightings: int | None
    format: int
    encrypted: bool


def summarise(people: Any, frames: Any, sightings: Any | None, *, url: str, made_in: int) -> Summary:
    """The numbers of a gallery's tables; `url` tells where they are, `made_in` which format they have."""
    import pyarrow.compute as pc

    rows = retried(frames.search().select(["source", "people"]).to_arrow)
    sources = rows.filter(pc.greater_equal(rows["people"], 0))["source"]
    return Summary(
        people=people.count_rows(),
        frames=len(sources),
        sources=len(sources.unique()),
        bytes=_bytes(url) if is_local(url) else None,
        indexed=vector_index.indexed(people),
        sightings=None if sightings is None else sightings.count_rows(),
        format=made_in,
        encrypted=made_in >= ENCRYPTED,
    )


def _bytes(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
