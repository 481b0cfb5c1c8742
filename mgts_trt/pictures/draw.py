"""Pictures for people: boxes, scores and masks on an image."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from mgts_trt._typing import Array, Bools, Image
from mgts_trt.errors import ImageError
from mgts_trt.pictures.lettering import elide, text_width, write_text
from mgts_trt.pictures.palette import PEOPLE, SURFACE, TEXT, ink_on, rgb

_BLACK = (0, 0, 0)
_OPACITY = 0.5
UNMASKED = "no mask found, whole box used"
"""What the legend says of a dashed box."""


def draw_people(
    image: Image,
    boxes: Array,
    scores: Array,
    masks: Bools | Callable[[int], Bools] | None = None,
    labels: Sequence[str] | None = None,
    unmasked: Bools | None = None,
    colours: Sequence[int] | None = None,
) -> Image:
    """Draw every person with a colour of their own, repeating after seven: mask, box, label.

    Better-scored persons are drawn over others. Strokes and text grow with the picture. Of a box partly outside the
    picture the visible part is drawn, of one wholly outside nothing.

    Args:
        image: uint8 [H, W, 3], RGB; not changed.
        boxes: [N, 4], image pixels.
        scores: [N], written beside the boxes.
        masks: bool [N, H, W]; or what gives one of them, [H, W], by its row, so that not all are held at once; or None.
        labels: N texts to write instead of the scores.
        unmasked: bool [N]: for whom no mask was found, so that the box stands for it. These boxes are dashed and not
            tinted, and a legend at the bottom says what that means.
        colours: N numbers, of which each has its colour, such as those of tracks; by default the rows'.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ImageError: masks of another size than the picture's, or rows that do not pair up.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores = np.asarray(scores).reshape(-1)
    texts = [f"{score:.2f}" for score in scores] if labels is None else list(labels)
    numbers = list(range(len(boxes))) if colours is None else list(colours)
    if not len(boxes) == len(scores) == len(texts) == len(numbers):
        raise ImageError(
            f"There are {len(boxes)} boxes, {len(scores)} scores and {len(texts)} labels to draw, but each person has "
            "one of each. Pass rows of one result."
        )
    if isinstance(masks, np.ndarray) and masks.shape != (len(boxes), *image.shape[:2]):
        raise ImageError(
            f"The masks are {list(masks.shape)}, but {[len(boxes), *image.shape[:2]]} is expected for {len(boxes)} "
            "boxes on this picture. Pass one mask a person, in image pixels."
        )
    picture = np.array(image, np.uint8, order="C")
    dashed = np.zeros(len(boxes), np.bool_) if unmasked is None else np.asarray(unmasked, np.bool_)
    order = np.argsort(scores, kind="stable")
    if masks is not None:
        for i in order[~dashed[order]]:
            _tint(picture, masks(int(i)) if callable(masks) else masks[i], rgb(_colour(numbers[i])))
    for i in order:
        _draw_box(picture, boxes[i], texts[i], _colour(numbers[i]), dashed=bool(dashed[i]))
    if dashed.any():
        _draw_legend(picture)
    return picture


def _colour(i: int) -> str:
    return PEOPLE[i % len(PEOPLE)]


def _tint(picture: Image, mask: Bools, colour: tuple[int, int, int]) -> None:
    """Lay a translucent colour over the mask, and a thin opaque line around it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = np.ascontiguousarray(mask[part])
    flat = np.full((*inside.shape, 3), colour, np.uint8)
    tinted = cv2.addWeighted(picture[part], 1 - _OPACITY, flat, _OPACITY, 0)
    picture[part] = np.where(inside[..., None], tinted, picture[part])
    outline, _ = cv2.findContours(inside.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    offset = (int(columns[0]), int(rows[0]))
    cv2.drawContours(picture, outline, -1, colour, _stroke(picture) // 2, offset=offset)


def _stroke(picture: Image) -> int:
    """Width of lines, pixels: 3 on a picture of 900 x 1500, never less than 2."""
    short_side: int = min(picture.shape[:2])
    return max(2, round(short_side / 300))


def _text(picture: Image) -> int:
    """Height of digits, pixels: 18 on a picture of 900 x 1500, never less than 9."""
    short_side: int = min(picture.shape[:2])
    return max(9, short_side // 50)


def _draw_box(picture: Image, box: Array, text: str, colour: str, *, dashed: bool) -> None:
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    if not (x2 > 0 and y2 > 0 and x1 < width and y1 < height):
        return
    stroke = _stroke(picture)
    # Far enough outside that an edge out of sight stays so, near enough for OpenCV's integers.
    limits = (width + 4 * stroke, height + 4 * stroke)
    (x1, y1), (x2, y2) = np.clip(np.rint(box).reshape(2, 2), -4 * stroke, limits).astype(int).tolist()
    # The dark line under the coloured one keeps the box visible on a background of its own colour.
    cv2.rectangle(picture, (x1, y1), (x2, y2), _BLACK, stroke + 2)
    if dashed:
        for start, end in (((x1, y1), (x2, y1)), ((x1, y1), (x1, y2)), ((x2, y1), (x2, y2)), ((x1, y2), (x2, y2))):
            _dashes(picture, start, end, colour)
    else:
        cv2.rectangle(picture, (x1, y1), (x2, y2), rgb(colour), stroke)
    _draw_label(picture, text, max(x1, 0), max(y1, 0), colour, stroke)


def _dashes(picture: Image, start: tuple[int, int], end: tuple[int, int], colour: str) -> None:
    """A broken line, across or down, on the unbroken dark one that is there."""
    stroke = _stroke(picture)
    dash = 4 * stroke
    (x1, y1), (x2, y2) = start, end
    length = max(x2 - x1, y2 - y1)
    for at in range(0, length, 10 * stroke):
        till = min(at + dash, length)
        ends = ((x1 + at, y1), (x1 + till, y1)) if y1 == y2 else ((x1, y1 + at), (x1, y1 + till))
        cv2.line(picture, *ends, rgb(colour), stroke)


def _draw_label(picture: Image, text: str, x: float, y: float, colour: str, stroke: int) -> None:
    """Write `text` on a plate of the box's colour, above (x, y) where there is room, and always inside the picture."""
    height, width = picture.shape[:2]
    size, margin = _text(picture), stroke + 2
    plate_width, plate_height = text_width(text, size) + 2 * margin, size + 2 * margin
    left = int(np.clip(x - stroke // 2, 0, max(width - plate_width, 0)))
    top = int(np.clip(y - plate_height, 0, max(height - plate_height, 0)))
    cv2.rectangle(picture, (left, top), (left + plate_width - 1, top + plate_height - 1), rgb(colour), cv2.FILLED)
    write_text(picture, text, left + margin, top + margin + size, size, ink_on(colour))


def _draw_legend(picture: Image) -> None:
    """Say at the bottom left what a dashed box is; where the picture is too narrow for all of it, less is said."""
    height, width = picture.shape[:2]
    size, stroke = _text(picture), _stroke(picture)
    sample = 12 * stroke
    text = elide(UNMASKED, width - sample - 3 * size, size)
    if not text:
        return
    top = max(height - 2 * size, 0)
    cv2.rectangle(picture, (0, top), (sample + 3 * size + text_width(text, size), height), rgb(SURFACE), cv2.FILLED)
    middle = top + size
    cv2.line(picture, (size, middle), (size + sample, middle), _BLACK, stroke + 2)
    _dashes(picture, (size, middle), (size + sample, middle), SURFACE)
    write_text(picture, text, sample + 2 * size, top + size * 3 // 2, size, TEXT)
