"""What a gallery holds of each camera."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgts_trt.gallery.browse import overview
from mgts_trt.gallery.lance import explained, retried

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery


@dataclass(frozen=True)
class CameraHeld:
    """A camera that a gallery has frames of.

    Attributes:
        camera: Its name; None for all frames of which none was told.
        frames: Done.
        people: Seen in them.
        sightings: Of it; None in a gallery of a format without.
        first: Least time of a frame: Unix seconds of a live stream, seconds into a video; None where no frame has one.
        last: Greatest time.
    """

    camera: str | None
    frames: int
    people: int
    sightings: int | None
    first: float | None
    last: float | None


def cameras_held(gallery: "Gallery") -> list[CameraHeld]:
    """The cameras of a gallery, by name; what has no camera last. It reads a row a frame and a sighting.

    Raises:
        GalleryError: It cannot be read.
    """
    seen = overview(gallery).cameras()
    table = gallery.sightings
    counts: Counter[str | None] | None = None
    if table is not None:
        with explained("read", gallery.url):
            counts = Counter(retried(table.search().select(["camera"]).to_arrow)["camera"].to_pylist())
    return [
        CameraHeld(
            each.camera,
            each.frames,
            each.people,
            None if counts is None else counts[each.camera],
            each.first,
            each.last,
        )
        for each in seen
    ]
