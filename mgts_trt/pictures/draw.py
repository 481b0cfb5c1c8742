"""Pictures for people: boxes, scores and masks on an image, and grids of pictures."""

from collections.abc import Sequence

import cv2
import numpy as np

from mgts_trt._typing import Array, Bools, Image
from mgts_trt.errors import ImageError

PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
"""RGB. Okabe and Ito's colours, told apart in all common forms of colour blindness."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_OPACITY = 0.5


def draw_people(
    image: Image,
    boxes: Array,
    scores: Array,
    masks: Bools | None = None,
    labels: Sequence[str] | None = None,
) -> Image:
    """Draw every person with a colour of their own, repeating after seven: mask, box, label.

    Better-scored persons are drawn over others. Strokes and text grow with the picture. Of a box partly outside the
    picture the visible part is drawn, of one wholly outside nothing.

    Args:
        image: uint8 [H, W, 3], RGB; not changed.
        boxes: [N, 4], image pixels.
        scores: [N], written beside the boxes.
        masks: bool [N, H, W], or None.
        labels: N texts to write instead of the scores, in ASCII.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ImageError: masks of another size than the picture's, or rows that do not pair up.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores = np.asarray(scores).reshape(-1)
    texts = [f"{score:.2f}" for score in scores] if labels is None else list(labels)
    if not len(boxes) == len(scores) == len(texts):
        raise ImageError(
            f"There are {len(boxes)} boxes, {len(scores)} scores and {len(texts)} labels to draw, but each person has "
            "one of each. Pass rows of one result."
        )
    if masks is not None and masks.shape != (len(boxes), *image.shape[:2]):
        raise ImageError(
            f"The masks are {list(masks.shape)}, but {[len(boxes), *image.shape[:2]]} is expected for {len(boxes)} "
            "boxes on this picture. Pass one mask a person, in image pixels."
        )
    picture = np.array(image, np.uint8, order="C")
    order = np.argsort(scores, kind="stable")
    if masks is not None:
        for i in order:
            _tint(picture, masks[i], _colour(i))
    for i in order:
        _draw_box(picture, boxes[i], texts[i], _colour(i))
    return picture


def picture_grid(cells: Sequence[tuple[Image, Sequence[str]]], *, columns: int) -> Image:
    """Lay pictures out in a grid, each with lines of text below.

    Every cell is as large as the largest picture; pictures keep their size and are centred on white.

    Args:
        cells: Pictures, uint8 [h, w, 3], RGB, of any sizes, and their lines, in ASCII.
        columns: Cells a row, at least 1.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ImageError: There is no cell, or no column.
    """
    if not cells or columns < 1:
        raise ImageError(f"A grid of {len(cells)} pictures in {columns} columns was asked for. Ask for one of each.")
    gap, line = 8, 16
    height = max(picture.shape[0] for picture, _ in cells)
    width = max(120, *(picture.shape[1] for picture, _ in cells))
    cell_height = height + line * max(len(lines) for _, lines in cells)
    shape = (-(-len(cells) // columns), min(columns, len(cells)))
    grid = np.full((gap + shape[0] * (cell_height + gap), gap + shape[1] * (width + gap), 3), 255, np.uint8)
    for number, (picture, lines) in enumerate(cells):
        row, column = divmod(number, columns)
        top, left = gap + row * (cell_height + gap), gap + column * (width + gap)
        h, w = picture.shape[:2]
        y, x = top + (height - h) // 2, left + (width - w) // 2
        grid[y : y + h, x : x + w] = picture
        for place, text in enumerate(lines, 1):
            natural = cv2.getTextSize(text, _FONT, 1.0, 1)[0][0]
            scale = min(0.42, width / max(natural, 1))
            at = (left, top + height + place * line - 4)
            cv2.putText(grid, text, at, _FONT, scale, _BLACK, 1, cv2.LINE_AA)
    return grid


def _colour(i: int) -> tuple[int, int, int]:
    return PALETTE[i % len(PALETTE)]


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


def _draw_box(picture: Image, box: Array, text: str, colour: tuple[int, int, int]) -> None:
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    if not (x2 > 0 and y2 > 0 and x1 < width and y1 < height):
        return
    stroke = _stroke(picture)
    # Far enough outside that an edge out of sight stays so, near enough for OpenCV's integers.
    limits = (width + 4 * stroke, height + 4 * stroke)
    top_left, bottom_right = np.clip(np.rint(box).reshape(2, 2), -4 * stroke, limits).astype(int).tolist()
    # The dark line under the coloured one keeps the box visible on a background of its own colour.
    cv2.rectangle(picture, top_left, bottom_right, _BLACK, stroke + 2)
    cv2.rectangle(picture, top_left, bottom_right, colour, stroke)
    _draw_label(picture, text, max(x1, 0), max(y1, 0), colour, stroke)


def _draw_label(picture: Image, text: str, x: float, y: float, colour: tuple[int, int, int], stroke: int) -> None:
    """Write `text` on a plate of the box's colour, above (x, y) where there is room, and always inside the picture."""
    height, width = picture.shape[:2]
    scale, thickness = max(0.4, min(height, width) / 1400), stroke // 2
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = stroke + 1
    plate_width, plate_height = text_width + 2 * margin, text_height + baseline + 2 * margin
    left = int(np.clip(x - stroke // 2, 0, max(width - plate_width, 0)))
    top = int(np.clip(y - plate_height, 0, max(height - plate_height, 0)))
    cv2.rectangle(picture, (left, top), (left + plate_width - 1, top + plate_height - 1), colour, cv2.FILLED)
    ink = _BLACK if np.dot(colour, (0.299, 0.587, 0.114)) > 100 else _WHITE
    origin = (left + margin, top + margin + text_height)
    cv2.putText(picture, text, origin, _FONT, scale, ink, thickness, cv2.LINE_AA)
