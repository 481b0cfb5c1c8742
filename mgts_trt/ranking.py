"""One-shot search: a probe, a pile of scenes, and the people in them ranked by likeness (Sec. 1, Fig. 7)."""

import heapq
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import ImageError, MgtsError
from mgts_trt.image import read_image
from mgts_trt.people import People
from mgts_trt.pipeline import PersonSearch

CROP_HEIGHT = 192
"""Of the pictures on a ranking sheet, pixels."""

Where: TypeAlias = tuple[float, float, float, float] | tuple[float, float] | None
"""Of a probe: a box x1, y1, x2, y2; a point x, y; or nowhere in particular."""


class QueryError(MgtsError):
    """A probe that cannot be searched for."""


@dataclass(frozen=True)
class Probe:
    """The person looked for.

    Attributes:
        source: The photo.
        box: xyxy [4], pixels of the photo.
        embedding: float32 [d], of length 1.
        crop: uint8 [h, w, 3], RGB, the box's content.
    """

    source: Path
    box: Floats
    embedding: Floats
    crop: Image = field(repr=False)


@dataclass(frozen=True)
class Match:
    """A person of the gallery.

    Attributes:
        likeness: Cosine of the embedding and the probe's, −1 … 1.
        source: The scene.
        box: xyxy [4], pixels of the scene.
        score: The detector's, 0 … 1.
        crop: uint8 [h, w, 3], RGB, the box's content.
    """

    likeness: float
    source: Path
    box: Floats
    score: float
    crop: Image = field(repr=False)

    def to_dict(self) -> dict[str, object]:
        """Everything but the picture, as JSON takes it."""
        return {
            "likeness": round(self.likeness, 6),
            "file": str(self.source),
            "box": [round(float(value), 2) for value in self.box],
            "score": round(self.score, 6),
        }


class Ranking(NamedTuple):
    """The outcome of a search."""

    matches: list[Match]
    """Likest first."""
    people: int
    """How many were compared."""
    failures: list[MgtsError]
    """Of scenes that could not be read."""


def parse_query(text: str) -> tuple[Path, Where]:
    """`PHOTO`, `PHOTO@x,y` or `PHOTO@x,y,w,h`: the photo, and where the probe is in it.

    Raises:
        QueryError: What follows the @ is neither two nor four numbers, or a size is not positive.
    """
    path, at, numbers = text.rpartition("@")
    if not at or Path(text).exists():  # a file's own name may hold an @
        return Path(text), None
    if not re.fullmatch(r"-?[\d.]+(,-?[\d.]+){1,3}", numbers):
        raise QueryError(f"The query {text!r} is none; expected PHOTO, PHOTO@x,y or PHOTO@x,y,w,h with numbers.")
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        values = []
    if len(values) == 2:
        return Path(path), (values[0], values[1])
    if len(values) != 4 or min(values[2:]) <= 0:
        raise QueryError(
            f"The query {text!r} names no box; expected PHOTO@x,y,w,h: the upper left corner, width and height "
            "above 0, in pixels of the photo."
        )
    x, y, w, h = values
    return Path(path), (x, y, x + w, y + h)


def box_text(box: Floats) -> str:
    """A box as `parse_query` reads one: x,y,w,h, in whole pixels."""
    x1, y1, x2, y2 = box.tolist()
    return f"{x1:.0f},{y1:.0f},{x2 - x1:.0f},{y2 - y1:.0f}"


def find_probe(search: PersonSearch, source: Path, where: Where = None) -> Probe:
    """The person looked for: in the box; or, of the people detected, the nearest to the point, or the largest.

    Raises:
        QueryError: A person is to be detected, and there is nobody.
        ImageError: The photo cannot be read, or the box lies outside.
    """
    image = read_image(source)
    if where is not None and len(where) == 4:
        people, row = search.embed(image, np.array([where], np.float32)), 0
    else:
        people = search(image)
        if not len(people):
            raise QueryError(
                f"Nobody was detected in {source}. Name the probe's box: {source}@x,y,w,h in pixels of the photo."
            )
        row = _largest(people) if where is None else _nearest(people, where)
    return Probe(source, people.boxes[row], people.embeddings[row], crop(image, people.boxes[row]))


def rank(
    search: PersonSearch,
    probe: Probe,
    scenes: Iterable[Path],
    *,
    top: int = 10,
    on_scene: Callable[[Path], None] = lambda _: None,
) -> Ranking:
    """Everybody in the scenes compared with the probe; a scene that cannot be read costs itself alone.

    Args:
        search: The pipeline that made the probe.
        probe: Whom to find.
        scenes: Photos.
        top: How many matches to keep, at least 1. Among equals the earlier goes first.
        on_scene: Called before each scene.

    Raises:
        QueryError: `top` is less than 1.
        BackendError: The backend fails.
    """
    if top < 1:
        raise QueryError(f"The {top} best matches were asked for; ask for at least 1.")
    best: list[tuple[float, int, Match]] = []
    compared, failures = 0, list[MgtsError]()
    for path in scenes:
        on_scene(path)
        try:
            image = read_image(path)
            people = search(image)
        except ImageError as error:
            failures.append(error)
            continue
        for row, likeness in enumerate((people.embeddings @ probe.embedding).tolist()):
            compared += 1
            if len(best) == top and likeness <= best[0][0]:
                continue
            box = people.boxes[row]
            match = Match(likeness, path, box, float(people.scores[row]), crop(image, box))
            (heapq.heappush if len(best) < top else heapq.heapreplace)(best, (likeness, -compared, match))
    return Ranking([match for _, _, match in sorted(best, key=lambda item: item[:2], reverse=True)], compared, failures)


def ranking_sheet(probe: Probe, matches: Sequence[Match], *, columns: int = 6) -> Image:
    """The probe, then its matches with rank, likeness and source, as a picture: uint8 [H, W, 3], RGB (Fig. 7)."""
    from mgts_trt.draw import picture_grid

    cells = [(_shown(probe.crop), ("probe", probe.source.name))]
    for place, match in enumerate(matches, 1):
        cells.append((_shown(match.crop), (f"{place}   {match.likeness:.3f}", match.source.name)))
    return picture_grid(cells, columns=columns)


def crop(image: Image, box: Floats) -> Image:
    """The pixels of a box, cut at the picture's edges; at least one."""
    height, width = image.shape[:2]
    x1, y1 = (int(np.clip(np.floor(value), 0, size - 1)) for value, size in zip(box[:2], (width, height), strict=True))
    x2, y2 = (
        int(np.clip(np.ceil(value), low + 1, size))
        for value, low, size in zip(box[2:], (x1, y1), (width, height), strict=True)
    )
    return np.ascontiguousarray(image[y1:y2, x1:x2])


def _shown(picture: Image) -> Image:
    scale = CROP_HEIGHT / picture.shape[0]
    width = int(np.clip(round(picture.shape[1] * scale), 8, 2 * CROP_HEIGHT))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, CROP_HEIGHT), interpolation=how), np.uint8)


def _largest(people: People) -> int:
    sides = people.boxes[:, 2:] - people.boxes[:, :2]
    return int(sides.prod(axis=1).argmax())


def _nearest(people: People, point: tuple[float, float]) -> int:
    """Distance to the box, 0 inside; among boxes that hold the point, the one whose centre is nearest."""
    at = np.array(point)
    outside = np.maximum(np.maximum(people.boxes[:, :2] - at, at - people.boxes[:, 2:]), 0)
    centres = np.linalg.norm((people.boxes[:, :2] + people.boxes[:, 2:]) / 2 - at, axis=1)
    return int(np.lexsort((centres, np.linalg.norm(outside, axis=1)))[0])
