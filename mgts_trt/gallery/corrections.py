"""What was told of frames when they were indexed, told anew: their camera and time."""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.lance import explained, retried

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery


def correct(gallery: "Gallery", told: Iterable[Frame]) -> int:
    """Give frames that are there the camera and time they are told to have now; returns how many had others.

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

    with explained("write to", gallery.url):
        people, frames = gallery.tables
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
            if gallery.sightings is not None and camera is not None:
                retried(partial(gallery.sightings.update, where=where, values={"camera": camera}))
            # Frames last: cut off before, the next call still finds them as they were.
            for table in (people, frames):
                retried(partial(table.update, where=where, values=values))
    return count
