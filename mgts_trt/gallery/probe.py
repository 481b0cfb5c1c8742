"""The probe: which photo, and who in it."""

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import QueryError
from mgts_trt.pictures.image import crop, decode_image, read_file
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch

Where: TypeAlias = tuple[float, float, float, float] | tuple[float, float] | None
"""Of a probe: a box x1, y1, x2, y2; a point x, y; or nowhere in particular."""


@dataclass(frozen=True)
class Probe:
    """The person looked for.

    Attributes:
        source: The photo.
        box: xyxy [4], pixels of the photo.
        embedding: float32 [d], of length 1.
        crop: uint8 [h, w, 3], RGB, the box's content.
        sha256: Of the photo's file, by which the same photo is known wherever it lies.
    """

    source: Path
    box: Floats
    embedding: Floats
    crop: Image = field(repr=False)
    sha256: str


def parse_query(text: str) -> tuple[Path, Where]:
    """`PHOTO`, `PHOTO@x,y` or `PHOTO@x,y,w,h`: the photo, and where the probe is in it.

    Raises:
        QueryError: What follows the @ is neither two nor four numbers, or a size is not positive.
    """
    path, at, numbers = text.rpartition("@")
    if not at or Path(text).exists():  # a file's own name may hold an @
        return Path(text), None
    try:
        return Path(path), parse_point(numbers) if numbers.count(",") == 1 else parse_box(numbers)
    except QueryError as error:
        raise QueryError(f"The query {text!r} is none; expected PHOTO, PHOTO@x,y or PHOTO@x,y,w,h. {error}") from None


def parse_box(text: str) -> tuple[float, float, float, float]:
    """`x,y,w,h` as a box x1, y1, x2, y2.

    Raises:
        QueryError: It is not four finite numbers, or a size is not positive.
    """
    values = _numbers(text)
    if len(values) != 4 or min(values[2:]) <= 0:
        raise QueryError(
            f"A box is x,y,w,h in pixels of the photo: the upper left corner, width and height above 0; got {text!r}."
        )
    x, y, w, h = values
    return x, y, x + w, y + h


def parse_point(text: str) -> tuple[float, float]:
    """`x,y` as a point.

    Raises:
        QueryError: It is not two finite numbers.
    """
    values = _numbers(text)
    if len(values) != 2:
        raise QueryError(f"A point is x,y in pixels of the photo; got {text!r}.")
    return values[0], values[1]


def box_text(box: Floats) -> str:
    """A box [4], xyxy in pixels, as `parse_query` reads one: x,y,w,h, rounded to whole pixels."""
    x1, y1, x2, y2 = box.tolist()
    return f"{x1:.0f},{y1:.0f},{x2 - x1:.0f},{y2 - y1:.0f}"


def find_probe(search: PersonSearch, source: Path, where: Where = None) -> Probe:
    """The person looked for: in the box; or, of the people detected, the nearest to the point, or the largest.

    Raises:
        QueryError: A person is to be detected, and there is nobody.
        ImageError: The photo cannot be read, or the box lies outside.
    """
    data = read_file(source)
    image = decode_image(data, source)
    if where is not None and len(where) == 4:
        people, row = search.embed(image, np.array([where], np.float32)), 0
    else:
        people = search(image)
        if not len(people):
            raise QueryError(
                f"Nobody was detected in {source}. Name the probe's box: {source}@x,y,w,h in pixels of the photo."
            )
        row = pick_person(people, where)
    box = people.boxes[row]
    return Probe(source, box, people.embeddings[row], crop(image, box), hashlib.sha256(data).hexdigest())


def pick_person(people: People, point: tuple[float, float] | None = None) -> int:
    """The row of the person nearest to a point (x, y in pixels of the picture), or of the largest.

    Args:
        people: At least one.
        point: Where the person is.
    """
    return _largest(people) if point is None else _nearest(people, point)


def _largest(people: People) -> int:
    sides = people.boxes[:, 2:] - people.boxes[:, :2]
    return int(sides.prod(axis=1).argmax())


def _nearest(people: People, point: tuple[float, float]) -> int:
    """Distance to the box, 0 inside; among boxes that hold the point, the one whose centre is nearest."""
    at = np.array(point)
    outside = np.maximum(np.maximum(people.boxes[:, :2] - at, at - people.boxes[:, 2:]), 0)
    centres = np.linalg.norm((people.boxes[:, :2] + people.boxes[:, 2:]) / 2 - at, axis=1)
    return int(np.lexsort((centres, np.linalg.norm(outside, axis=1)))[0])


def _numbers(text: str) -> list[float]:
    """Finite numbers with commas between them; none if it is anything else."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []
