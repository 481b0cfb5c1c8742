"""The probe: which photo, and who in it."""

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import QueryError
from mgts_trt.gallery.bystanders import crop_probe_alone
from mgts_trt.machine.files import place_kind
from mgts_trt.pictures.decoding import decode_image
from mgts_trt.pictures.image import crop, read_file
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch

Where: TypeAlias = tuple[float, float, float, float] | tuple[float, float] | None
"""Of a probe: a box x1, y1, x2, y2; a point x, y; or nowhere in particular."""

_BY_SIZE = "xywh:"


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
    """`PHOTO`, `PHOTO@x,y` or `PHOTO@x1,y1,x2,y2`: the photo, and where the probe is in it.

    A box by its size is named so: `PHOTO@xywh:x,y,w,h`.

    Raises:
        QueryError: What follows the @ is neither two nor four numbers, or a box holds nothing.
    """
    path, at, numbers = text.rpartition("@")
    if not at or place_kind(Path(text)) is not None:  # a file's own name may hold an @
        return Path(text), None
    try:
        if numbers.startswith(_BY_SIZE):
            return Path(path), parse_box_by_size(numbers.removeprefix(_BY_SIZE))
        return Path(path), parse_point(numbers) if numbers.count(",") == 1 else parse_box(numbers)
    except QueryError as error:
        raise QueryError(
            f"The query {text!r} is none; expected PHOTO, PHOTO@x,y or PHOTO@x1,y1,x2,y2. {error}"
        ) from None


def parse_box(text: str) -> tuple[float, float, float, float]:
    """`x1,y1,x2,y2`, the form of every box that this package writes.

    Raises:
        QueryError: It is not four finite numbers, or the second corner is not below and to the right of the first.
    """
    values = _numbers(text)
    if len(values) != 4 or values[2] <= values[0] or values[3] <= values[1]:
        raise QueryError(
            "A box is x1,y1,x2,y2 in pixels of the photo, the upper left and the lower right corner; "
            f"got {text[:100]!r}. If these are x,y,w,h, say so: xywh:x,y,w,h after PHOTO@, or the form field box_xywh."
        )
    return values[0], values[1], values[2], values[3]


def parse_box_by_size(text: str) -> tuple[float, float, float, float]:
    """`x,y,w,h` as a box x1, y1, x2, y2.

    Raises:
        QueryError: It is not four finite numbers, or a size is not positive.
    """
    values = _numbers(text)
    if len(values) != 4 or min(values[2:]) <= 0:
        raise QueryError(
            "A box by its size is x,y,w,h in pixels of the photo: the upper left corner, width and height above 0; "
            f"got {text[:100]!r}."
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
    """A box [4], xyxy in pixels, as `parse_query` reads one: x1,y1,x2,y2, rounded to whole pixels."""
    return ",".join(f"{value:.0f}" for value in box.tolist())


def find_probe(search: PersonSearch, source: Path, where: Where = None, *, hide_others: bool = False) -> Probe:
    """The person looked for: in the box; or, of the people detected, the nearest to the point, or the largest.

    Args:
        search: An open pipeline.
        source: The photo.
        where: Who in it.
        hide_others: Whether to cover everybody else in the probe's crop; in a box, people are detected for that.

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
                f"Nobody was detected in {source}. Name the probe's box: {source}@x1,y1,x2,y2 in pixels of the photo."
            )
        row = pick_person(people, where)
    box = people.boxes[row]
    shown = crop(image, box)
    if hide_others:
        shown = crop_probe_alone(image, search(image) if where is not None and len(where) == 4 else people, box)
    return Probe(source, box, people.embeddings[row], shown, hashlib.sha256(data).hexdigest())


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
