"""The people of a gallery, or of a pile of scenes, ranked by similarity to a probe (Sec. 1, Fig. 7).

The probe's own photo is no match, as in the protocols of re-ID: its people are left out, wherever the photo lies, by
the digest of its file. `include_own` turns that off.
"""

import datetime as dt
import hashlib
import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import ImageError, MgtsError, QueryError
from mgts_trt.gallery.filters import Condition, Filter
from mgts_trt.gallery.probe import Probe
from mgts_trt.pictures.decoding import decode_image, decode_picture
from mgts_trt.pictures.image import crop, read_file
from mgts_trt.runtime.pipeline import PersonSearch

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery
    from mgts_trt.gallery.tables import Person


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
            return f"{dt.datetime.fromtimestamp(self.seconds, dt.timezone.utc):%Y-%m-%d %H:%M:%S}"
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
    """The most similar first."""
    people: int
    """How many were compared."""
    failures: list[MgtsError]
    """Of scenes that could not be read."""
    own: int = 0
    """How many scenes were left out because they are the probe's own photo."""
    damaged: Sequence[str] = ()
    """Sentences about scenes that are damaged, and were searched as far as they could be decoded."""


def rank(
    search: PersonSearch,
    probe: Probe,
    scenes: Iterable[Path],
    *,
    top: int = 10,
    include_own: bool = False,
    on_scene: Callable[[Path], None] = lambda _: None,
) -> Ranking:
    """Everybody in the scenes compared with the probe; a scene that cannot be read costs itself alone.

    Args:
        search: The pipeline that made the probe.
        probe: Whom to find.
        scenes: Photos.
        top: How many matches to keep, at least 1. Among equals the earlier goes first.
        include_own: Compare with the people of the probe's own photo, too.
        on_scene: Called before each scene.

    Raises:
        QueryError: `top` is less than 1.
        BackendError: The backend fails.
    """
    if top < 1:
        raise QueryError(f"The {top} best matches were asked for; ask for at least 1.")
    best: list[tuple[float, int, Match]] = []
    compared, own, failures, damaged = 0, 0, list[MgtsError](), list[str]()
    for path in scenes:
        on_scene(path)
        try:
            data = read_file(path)
            if not include_own and hashlib.sha256(data).hexdigest() == probe.sha256:
                own += 1
                continue
            image, damage = decode_picture(data, path)
            people = search(image)
        except ImageError as error:
            failures.append(error)
            continue
        damaged += [damage] if damage else []
        for row, likeness in enumerate((people.embeddings @ probe.embedding).tolist()):
            compared += 1
            if len(best) == top and likeness <= best[0][0]:
                continue
            box = people.boxes[row]
            match = Match(likeness, str(path), box, float(people.scores[row]), crop(image, box))
            (heapq.heappush if len(best) < top else heapq.heapreplace)(best, (likeness, -compared, match))
    matches = [match for _, _, match in sorted(best, key=lambda item: item[:2], reverse=True)]
    return Ranking(matches, compared, failures, own, damaged)


def rank_gallery(
    gallery: "Gallery",
    probe: Probe,
    *,
    top: int = 10,
    where: Filter | None = None,
    exact: bool = False,
    include_own: bool = False,
) -> Ranking:
    """Everybody in a gallery compared with the probe.

    Args:
        gallery: Of the space of the pipeline that made the probe.
        probe: Whom to find.
        top: How many matches to give, at least 1.
        where: Compare with those it holds for alone.
        exact: Compare with everybody, without the gallery's index.
        include_own: Compare with the people of the probe's own photo, too.

    Raises:
        GalleryError: See `Gallery.search`.
    """
    own = None if include_own else probe.sha256
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
        for person in similar_people(gallery, probe.embedding, own=own, top=top, where=where, exact=exact)
    ]
    return Ranking(matches, gallery.count(where), [])


def similar_people(
    gallery: "Gallery",
    embedding: Floats,
    *,
    own: str | None,
    top: int = 10,
    where: Filter | None = None,
    exact: bool = False,
) -> "list[Person]":
    """The people of a gallery most like an embedding, but for those of the probe's own photo.

    Args:
        gallery: Of the embedding's space.
        embedding: float32 [d], of length 1.
        own: SHA-256 of the file of the probe's photo; None leaves nobody out.
        top: How many to give, at least 1.
        where: Search among those it holds for alone.
        exact: Compare with everybody, without the gallery's index.

    Raises:
        GalleryError: See `Gallery.search`.
    """
    conditions = where.conditions if where else ()
    if own is not None:
        conditions = (*conditions, Condition("sha256", "!=", own))
    return gallery.search(embedding, top=top, where=Filter(conditions) if conditions else None, exact=exact)
