"""People made unrecognisable: their boxes are covered with one colour.

Nothing of what is covered reaches the picture that is given back, whose pixels are the same whatever was there. A blur
would keep it: smoothing is linear and can be inverted, the averages of a mosaic tell clothes, and a film of either
tells more with each frame.
"""

import numpy as np

from mgts_trt._typing import Array, Bools, Image
from mgts_trt.pictures.palette import CONTROL, rgb

MARGIN = 0.05
"""Of a box's width and height, added at each side: detected boxes are seldom too large by more, often too small."""

COVER = rgb(CONTROL)
"""What is hidden is painted with; red, green, blue."""

_BODY = 0.6


def hide_people(image: Image, others: Array, asked: Array | None = None, mask: Bools | None = None) -> Image:
    """A copy of a picture on which people are covered, but for the one who is asked for.

    Args:
        image: uint8 [H, W, 3], RGB; not changed.
        others: Whom to hide: boxes [N, 4], xyxy, pixels of the picture; they may reach beyond it.
        asked: Box [4] of the one who stays; None hides everybody.
        mask: bool [H, W], the pixels of the one who stays; see `hidden_pixels`.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    picture = np.array(image, np.uint8, order="C")
    picture[hidden_pixels(picture.shape[:2], others, asked, mask)] = COVER
    return picture


def hidden_pixels(
    image_hw: tuple[int, int], others: Array, asked: Array | None = None, mask: Bools | None = None
) -> Bools:
    """Which pixels `hide_people` covers: bool [H, W].

    These are the others' boxes with a margin. Where they overlap the one who is asked for, the pixels of `mask` stay.
    Without it a person stands for two ellipses, body and head: a pixel stays that lies deeper in those of the asked
    one than in anybody else's. Whatever is in doubt is covered.
    """
    height, width = image_hw
    boxes = np.asarray(others, np.float64).reshape(-1, 4)
    hidden = np.zeros((height, width), np.bool_)
    for box in boxes:
        hidden[_window(_grown(box), image_hw)] = True
    if mask is not None:
        return np.asarray(hidden & ~mask)
    if asked is not None and hidden.any():
        part = _window(np.asarray(asked, np.float64), image_hw)
        own = _depth(np.asarray(asked, np.float64), part)
        nearest = np.minimum.reduce([np.full_like(own, 1.0), *(_depth(box, part) for box in boxes)])
        hidden[part] &= own >= nearest
    return hidden


def _grown(box: Array) -> Array:
    x1, y1, x2, y2 = box
    across, down = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    return np.array((x1 - across, y1 - down, x2 + across, y2 + down))


def _window(box: Array, image_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns that a box touches, within the picture; empty where it lies outside."""
    height, width = image_hw
    x1, y1 = np.clip(np.floor(box[:2]), 0, (width, height)).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(box[2:]), 0, (width, height)).astype(int).tolist()
    return slice(y1, max(y1, y2)), slice(x1, max(x1, x2))


def _depth(box: Array, part: tuple[slice, slice]) -> Array:
    """How surely each pixel of a part is not a person's: 0 in the middle of the head, 1 at the ellipses' rims.

    A body begins at `_BODY`, so that a head before somebody's body is a head.
    """
    rows, columns = (np.arange(each.start, each.stop) + 0.5 for each in part)
    x1, y1, x2, y2 = box
    width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    head = min(0.35 * width, 0.2 * height)
    body = np.hypot((columns - (x1 + x2) / 2)[None] / (width / 2), (rows - (y1 + y2) / 2)[:, None] / (height / 2))
    face = np.hypot((columns - (x1 + x2) / 2)[None] / (0.3 * width), (rows - y1 - head)[:, None] / head)
    return np.asarray(np.minimum(_BODY + (1 - _BODY) * body, face))
