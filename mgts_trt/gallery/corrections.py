"""What was told of frames when they were indexed, told anew: their camera and time."""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from mgts_trt.gallery.disk.checksums import rolled_back
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.erasure import will_erase_old
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.writing import tidy

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery


def correct(gallery: "Gallery", told: Iterable[Frame]) -> int:
    """Give frames that are there the camera and time they are told to have now; returns how many had others.

    What they had is erased when the gallery is optimised or closed: see `mgts_trt.gallery.erasure`.

    Args:
        gallery: Which.
        told: Each stands for all frames of its source and content, whatever its number. What is None stays.

    Raises:
        GalleryError: It cannot be read or written.
    """
    now = {(frame.source, frame.sha256): frame for frame in told if (frame.camera, frame.time) != (None, None)}
    if not now:
        return 0
    from lancedb.expr import col

    tidy(gallery)
    with explained("write to", gallery.url):
        frames = gallery.tables[1]
        of_sources = col("source").isin(sorted({source for source, _ in now}))
        columns = ["source", "sha256", "camera", "time", "people"]
        rows = retried(frames.search().where(of_sources).select(columns).to_arrow).to_pylist()
        others = defaultdict[tuple[str | None, float | None], set[tuple[str, str]]](set)
        count = 0
        for row in rows:
            frame = now.get((row["source"], row["sha256"]))
            if frame is None or row["people"] < 0:  # the end of a video
                continue
            if row["camera"] != (frame.camera or row["camera"]) or frame.time not in (None, row["time"]):
                others[frame.camera, frame.time].add((frame.source, frame.sha256))
                count += 1
        for (camera, time), pairs in others.items():
            sources, contents = ({pair[i] for pair in pairs} for i in (0, 1))
            where = (col("source").isin(sorted(sources)) & col("sha256").isin(sorted(contents))).to_sql()
            values = {name: value for name, value in (("camera", camera), ("time", time)) if value is not None}
            with gallery.place.guard.alone(), rolled_back(gallery.place):
                will_erase_old(gallery, where, "corrected")
                _update(gallery, where, values)
    return count


def _update(gallery: "Gallery", where: str, values: dict[str, str | float]) -> None:
    people, frames = gallery.tables
    if gallery.sightings is not None and "camera" in values:
        reached("correct sightings")
        retried(partial(gallery.sightings.update, where=where, values={"camera": values["camera"]}))
    # Frames last: cut off before, or where people were cut short, the next call still finds them as they were.
    for table in (people, frames):
        reached(f"correct {table.name}")
        retried(partial(table.update, where=where, values=values))
        gallery.place.require_whole()
