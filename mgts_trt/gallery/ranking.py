"""A probe, and the people of a gallery or of a pile of scenes ranked by likeness to it (Sec. 1, Fig. 7)."""

import datetime as dt
import hashlib
import heapq
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import cv2
import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import ImageError, MgtsError, QueryError
from mgts_trt.pictures.image import crop, decode_image, read_file, read_image
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch

if TYPE_CHECKING:
    from mgts_trt.gallery import Filter, Gallery

CROP_HEIGHT = 192
"""Of the pictures on a ranking sheet, pixels."""

_NOT_KEPT: Image = np.full((CROP_HEIGHT, CROP_HEIGHT // 2, 3), 225, np.uint8)
"""Where a gallery has no picture of a person."""

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
    """

    source: Path
    box: Floats
    embedding: Floats
    crop: Image = field(repr=False)


@dataclass(frozen=True)
class Match:
    """Somebody who was compared with the probe.

    Attributes:
        likeness: Cosine of the embedding and the probe's, −1 … 1.
        source: Path of the scene or video, or URL of the stream.
        box: xyxy [4], pixels of the scene.
        score: The detector's, 0 … 1.
        crop: uint8 [h, w, 3], RGB, the box's content; None where the gallery keeps no pictures.
        number: Frame of a video or stream.
        seconds: From the start of a video, or Unix time in a live stream; None where unknown.
        camera: Its name, or None.
        live: Whether it is from a live stream.
    """

    likeness: float
    source: str
    box: Floats
    score: float
    crop: Image | None = field(repr=False)
    number: int = 0
    seconds: float | None = None
    camera: str | None = None
    live: bool = False

    @property
    def time(self) -> str:
        """As people read it: h:mm:ss.s into a video, or the date and time, UTC, of a live stream; else empty."""
        if self.seconds is None:
            return ""
        if self.live:
            return f"{dt.datetime.fromtimestamp(self.seconds, dt.UTC):%Y-%m-%d %H:%M:%S}"
        minutes, seconds = divmod(round(self.seconds, 1), 60)
        return f"{int(minutes // 60)}:{int(minutes % 60):02}:{seconds:04.1f}"

    def to_dict(self) -> dict[str, object]:
        """Everything but the picture, as JSON takes it."""
        return {
            "likeness": round(self.likeness, 6),
            "source": self.source,
            "number": self.number,
            "camera": self.camera,
            "time": self.seconds,
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
        row = pick_person(people, where)
    return Probe(source, people.boxes[row], people.embeddings[row], crop(image, people.boxes[row]))


def pick_person(people: People, point: tuple[float, float] | None = None) -> int:
    """The row of the person nearest to a point (x, y in pixels of the picture), or of the largest.

    Args:
        people: At least one.
        point: Where the person is.
    """
    return _largest(people) if point is None else _nearest(people, point)


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
            match = Match(likeness, str(path), box, float(people.scores[row]), crop(image, box))
            (heapq.heappush if len(best) < top else heapq.heapreplace)(best, (likeness, -compared, match))
    return Ranking([match for _, _, match in sorted(best, key=lambda item: item[:2], reverse=True)], compared, failures)


def rank_gallery(
    gallery: "Gallery", probe: Probe, *, top: int = 10, where: "Filter | None" = None, exact: bool = False
) -> Ranking:
    """Everybody in a gallery compared with the probe, but for those of the probe's own photo.

    Args:
        gallery: Of the space of the pipeline that made the probe.
        probe: Whom to find.
        top: How many matches to give, at least 1.
        where: Compare with those it holds for alone; `people` counts all the same.
        exact: Compare with everybody, without the gallery's index.

    Raises:
        GalleryError: See `Gallery.search`.
        ImageError: The probe's photo cannot be read.
    """
    from mgts_trt.gallery.filters import Condition, Filter

    own = Condition("sha256", "!=", hashlib.sha256(read_file(probe.source)).hexdigest())
    conditions = (*where.conditions, own) if where else (own,)
    matches = [
        Match(
            person.likeness or 0.0,
            person.source,
            person.box,
            person.score,
            decode_image(person.thumbnail, "thumbnail") if person.thumbnail else None,
            person.number,
            person.time,
            person.camera,
            live=not person.sha256,
        )
        for person in gallery.search(probe.embedding, top=top, where=Filter(conditions), exact=exact)
    ]
    return Ranking(matches, gallery.count(), [])


def ranking_sheet(probe: Probe, matches: Sequence[Match], *, columns: int = 6) -> Image:
    """The probe, then its matches as a picture: uint8 [H, W, 3], RGB (Fig. 7).

    Below each match stand rank and likeness, the source's name, and camera and time where they are known.
    """
    from mgts_trt.pictures.draw import picture_grid

    cells = [(_shown(probe.crop), ["probe", probe.source.name])]
    for place, match in enumerate(matches, 1):
        seen = " ".join(part for part in (match.camera and f"camera {match.camera}", match.time) if part)
        lines = [f"{place}   {match.likeness:.3f}", Path(match.source).name, *([seen] if seen else [])]
        cells.append((_shown(_NOT_KEPT if match.crop is None else match.crop), lines))
    ascii_cells = [(shown, [line.encode("ascii", "replace").decode() for line in lines]) for shown, lines in cells]
    return picture_grid(ascii_cells, columns=columns)


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
