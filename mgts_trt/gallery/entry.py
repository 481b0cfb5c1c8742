"""What a gallery takes in: a frame, the people in it, and a small picture of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import GalleryError
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.space import Space
from mgts_trt.pictures.image import as_image
from mgts_trt.runtime.people import People

THUMBNAIL = 192
"""Greatest height and width of a thumbnail, pixels."""

_QUALITY = 85


@dataclass(frozen=True)
class Entry:
    """A frame and who was seen in it.

    Attributes:
        frame: The frame.
        people: N people, or nobody.
        thumbnails: N JPEGs; or none at all, where they are not to be kept.
        sightings: N ids, of the sighting that each person belongs to; or none at all, for a photo.
    """

    frame: Frame
    people: People
    thumbnails: Sequence[bytes] = field(default=(), repr=False)
    sightings: Sequence[str] = field(default=(), repr=False)


def entry_of(image: object, frame: Frame, people: People, thumbnails: bool = True) -> Entry:
    """An entry with a thumbnail of each person.

    Args:
        image: uint8 [H, W, 3], RGB, in host memory: the picture `people` were found in.
        frame: What the gallery will know the picture by.
        people: Found in `image`.
        thumbnails: Whether to keep them.

    Raises:
        ImageError: `image` is no such picture.
    """
    if not thumbnails or not len(people):
        return Entry(frame, people)
    picture = as_image(image)
    return Entry(frame, people, [thumbnail(picture, box) for box in people.boxes])


def thumbnail(image: Image, box: Floats) -> bytes:
    """The content of a box as a JPEG, scaled down to fit into 192 × 192 pixels; never enlarged.

    Args:
        image: uint8 [H, W, 3], RGB.
        box: float32 [4], xyxy, pixels of `image`; cut at its edges, see `mgts_trt.pictures.image.crop`.

    Returns:
        The bytes of a JPEG file.
    """
    from mgts_trt.pictures.image import crop

    picture = crop(image, box)
    scale = THUMBNAIL / max(picture.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return data.tobytes()


def check_entry(entry: Entry, url: str, space: Space) -> None:
    """Refuse an entry that does not fit a gallery.

    Args:
        entry: To be stored.
        url: Of the gallery.
        space: Of the gallery.

    Raises:
        GalleryError: An embedding does not fit, or thumbnails or sightings do not pair up with people.
    """
    people, source = entry.people, entry.frame.source
    if entry.thumbnails and len(entry.thumbnails) != len(people):
        raise GalleryError(
            f"There are {len(entry.thumbnails)} thumbnails of the {len(people)} people in {source}. Pass one each, "
            "or none; entry_of makes them."
        )
    if entry.sightings and len(entry.sightings) != len(people):
        raise GalleryError(f"There are {len(entry.sightings)} sightings of the {len(people)} people in {source}.")
    if len(people):
        check_embeddings(people.embeddings, f"An embedding of {source}", url, space)


def check_embeddings(embeddings: Floats, what: str, url: str, space: Space) -> None:
    """Refuse embeddings, [N, d], that a gallery cannot hold or search for; `what` they are begins the sentence.

    Raises:
        GalleryError: They are of another length, not finite, or all zero.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != space.embedding:
        raise GalleryError(
            f"{what} has shape {list(embeddings.shape[1:])}, but the gallery {url} holds embeddings of length "
            f"{space.embedding}. Compute it with the bundle the gallery was made with."
        )
    if not np.isfinite(embeddings).all() or not embeddings.any(axis=1).all():
        raise GalleryError(
            f"{what} is not finite or all zero, and so like nobody. Check the model that computed it: "
            "`mgts-trt parity` compares it with its reference."
        )
