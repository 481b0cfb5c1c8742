"""Form fields that hold more than one value, as clients write them."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.errors import QueryError
from mgts_trt.gallery.filters import Condition, Filter, Operator, parse_filter
from mgts_trt.gallery.probe import Where, parse_box, parse_box_by_size, parse_point
from mgts_trt.open_inference.sent import MOST_BOXES
from mgts_trt.service.refusal import Refusal

PlaceField: TypeAlias = Literal["box", "box_xywh", "point"]
"""The form fields that say where a probe is."""

_PLACES: dict[PlaceField, Callable[[str], Where]] = {
    "box": parse_box,
    "box_xywh": parse_box_by_size,
    "point": parse_point,
}
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


def read_places(
    pictures: int, *, prefix: str = "", **given: Sequence[str] | None
) -> list[tuple[Where, PlaceField | None]]:
    """Where the person is in each of some pictures, and which field says so; None twice where none does.

    Args:
        pictures: How many there are.
        prefix: Of the fields' names in the form.
        given: By field, `box` (`x1,y1,x2,y2`), `box_xywh` (the same box as `x,y,w,h`) or `point` (`x,y`): a text for
            each picture, in their order; empty where it says nothing. There may be fewer texts than pictures.

    Raises:
        Refusal: 400, a text is not that, or more than one is given of a picture, or there are more than pictures.
    """
    places: list[tuple[Where, PlaceField | None]] = [(None, None)] * pictures
    for field, parse in _PLACES.items():
        texts = given.get(field) or ()
        if len(texts) > pictures:
            raise _bad(
                prefix + field,
                f"it says where somebody is in a picture, at most one each, but of {pictures} there are {len(texts)}",
            )
        for i, text in enumerate(texts):
            if not text:
                continue
            if places[i][1] is not None:
                raise _bad(prefix + field, f"{prefix}{places[i][1]} says already where the probe is")
            try:
                places[i] = parse(text), field
            except QueryError as error:
                raise Refusal(400, f"The form field {prefix}{field} cannot be read: {error}", "field") from None
    return places


def read_filter(
    where: str | None = None,
    *,
    camera: str | None = None,
    source: str | None = None,
    since: float | None = None,
    until: float | None = None,
) -> Filter | None:
    """Conditions, by their language and by fields of their own; None if there are none. All must hold.

    Args:
        where: See `parse_filter`.
        camera: The camera's name.
        source: The source's name.
        since: Least time, seconds.
        until: Greatest time, seconds.

    Raises:
        FilterError: `where` cannot be read.
        Refusal: 400, a time is not finite.
    """
    conditions = list(parse_filter(where).conditions) if where and where.strip() else []
    named: tuple[tuple[str, Operator, str | float | None, str], ...] = (
        ("camera", "=", camera, "camera"),
        ("source", "=", source, "source"),
        ("time", ">=", since, "since"),
        ("time", "<=", until, "until"),
    )
    for column, operator, value, field in named:
        if isinstance(value, float) and not math.isfinite(value):
            raise _bad(field, "a finite number of seconds is expected")
        if value is not None and value != "":
            conditions.append(Condition(column, operator, value))
    return Filter(tuple(conditions)) if conditions else None


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
