"""Form fields that hold more than one value, as clients write them."""

import json

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.errors import QueryError
from mgts_trt.gallery.probe import Where, parse_box, parse_point
from mgts_trt.service.limits import MOST_BOXES
from mgts_trt.service.refusal import Refusal

_LONGEST_NAME = 1024


def read_boxes(text: str) -> Floats:
    """`[[x1, y1, x2, y2], …]`, JSON, as float32 [N, 4].

    Raises:
        Refusal: 400, it is not that, or too many.
    """
    rows = _numbers(text, "boxes", 2)
    if rows.shape[1] != 4 or not 0 < len(rows) <= MOST_BOXES:
        raise _bad("boxes", f"1 to {MOST_BOXES} boxes of four numbers, [[x1, y1, x2, y2], …], are expected")
    return rows


def read_embedding(text: str, length: int) -> Floats:
    """`[v1, v2, …]`, JSON, scaled to length 1: float32 [length].

    Raises:
        Refusal: 400, it is not that.
    """
    vector = _numbers(text, "embedding", 1).astype(np.float64)  # the square of a large float32 is none
    norm = float(np.linalg.norm(vector))
    if vector.shape != (length,) or norm == 0:
        raise _bad("embedding", f"a JSON list of {length} numbers, not all zero, is expected; POST /embed makes one")
    return (vector / norm).astype(np.float32)


def read_where(box: str | None, point: str | None) -> Where:
    """`x,y,w,h` as a box xyxy, or `x,y` as a point; None if neither is given.

    Raises:
        Refusal: 400, it is not that, or both are given.
    """
    if box is not None and point is not None:
        raise _bad("point", "a box or a point is expected, not both")
    try:
        return parse_box(box) if box is not None else parse_point(point) if point is not None else None
    except QueryError as error:
        raise Refusal(
            400, f"The form field {'point' if box is None else 'box'} cannot be read: {error}", "field"
        ) from None


def read_name(text: str | None, field: str) -> str | None:
    """A name a client gives; None and blanks are None.

    Raises:
        Refusal: 400, it is too long or holds characters that are not printed.
    """
    name = (text or "").strip()
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise _bad(field, f"at most {_LONGEST_NAME} printable characters are expected")
    return name or None


def file_name(text: str | None) -> str:
    """What to call a file a client sends, whatever it calls it."""
    name = "".join(c for c in text or "" if c.isprintable()).strip()[:_LONGEST_NAME]
    return name or "the picture"


def _numbers(text: str, field: str, axes: int) -> Floats:
    """A JSON array of finite numbers."""
    try:
        array = np.asarray(json.loads(text), np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise _bad(field, "a JSON array of numbers is expected") from None
    if array.ndim != axes or not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise _bad(field, f"a JSON array of finite numbers with {axes} axes is expected")
    return array.astype(np.float32)


def _bad(field: str, expected: str) -> Refusal:
    return Refusal(400, f"The form field {field} cannot be read: {expected}.", "field")
