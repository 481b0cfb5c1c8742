"""Who else is in the picture of somebody: hidden where a picture is to show one person alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mgts_trt._typing import Array, Bools, Floats, Image
from mgts_trt.evaluation.boxes import box_iou
from mgts_trt.gallery.chosen_rows import read_rows
from mgts_trt.gallery.lance import explained
from mgts_trt.gallery.tables import Person
from mgts_trt.pictures.hiding import hide_people
from mgts_trt.pictures.image import crop
from mgts_trt.runtime.people import People

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery

SAME = 0.5
"""IoU from which a detected box is of the person in a box that was named."""


def others_of(gallery: "Gallery", people: Sequence[Person]) -> dict[str, Floats]:
    """By the ids of people, the boxes, float32 [N, 4], of whoever else was found in the same frames.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    from lancedb.expr import col

    keys = {person.id: _frame_of(person.id) for person in people}
    if not keys:
        return {}
    with explained("read", gallery.url):
        rows = read_rows(gallery.tables[0], ["id", "box"], col("frame").isin(sorted(set(keys.values()))))
    frames: dict[str, dict[str, Floats]] = {key: {} for key in keys.values()}
    for each, box in zip(rows["id"].to_pylist(), rows["box"].to_pylist(), strict=True):
        frames[_frame_of(each)][each] = np.array(box, np.float32)
    return {
        name: np.array([box for each, box in frames[key].items() if each != name], np.float32).reshape(-1, 4)
        for name, key in keys.items()
    }


def crop_alone(image: Image, people: People, row: int) -> Image:
    """The content of a person's box, as `crop` gives it, without the others of the picture.

    Args:
        image: uint8 [H, W, 3], RGB.
        people: Everybody found in `image`.
        row: Whose crop.
    """
    others = np.delete(people.boxes, row, 0)
    return crop(hide_people(image, others, people.boxes[row], mask_of(people, row)), people.boxes[row])


def crop_probe_alone(image: Image, people: People, box: Floats) -> Image:
    """The content of a box that was named, without the others; the person found there is the one in the box.

    Args:
        image: uint8 [H, W, 3], RGB.
        people: Everybody found in `image`.
        box: xyxy [4], pixels of `image`.
    """
    overlaps = box_iou(np.asarray(box).reshape(1, 4), people.boxes)[0]
    row = int(overlaps.argmax()) if len(people) else -1
    if row < 0 or overlaps[row] < SAME:
        return crop(hide_people(image, people.boxes, box), box)
    return crop(hide_people(image, np.delete(people.boxes, row, 0), box, mask_of(people, row)), box)


def hide_in_thumbnail(picture: Image, box: Floats, others: Array) -> Image:
    """A thumbnail without the others in it.

    Args:
        picture: uint8 [h, w, 3], RGB: the content of `box` as `thumbnail` makes it, at whatever scale.
        box: xyxy [4], pixels of the frame, within it.
        others: Boxes [N, 4], pixels of the frame.
    """
    x1, y1 = np.maximum(np.floor(box[:2]), 0)
    x2, y2 = np.ceil(box[2:])
    height, width = picture.shape[:2]
    scale = np.array((width / max(x2 - x1, 1), height / max(y2 - y1, 1)) * 2)
    origin = np.array((x1, y1, x1, y1))
    return hide_people(picture, (np.asarray(others).reshape(-1, 4) - origin) * scale, (box - origin) * scale)


def mask_of(people: People, row: int) -> Bools | None:
    """The mask of one person alone, bool [H, W]; None where the mask net found none, or one for two people."""
    instance = people.instances[row]
    if not people.has_masks or instance == 0 or (people.instances == instance).sum() > 1:
        return None
    return people.mask(row)


def _frame_of(person: str) -> str:
    """The key of the frame that the id of a person tells."""
    return person.rpartition("-")[0]
