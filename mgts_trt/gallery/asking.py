"""A gallery asked by several probes, with whom it is not, and ranked again by who is alike to whom."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import GalleryError, ImageError
from mgts_trt.gallery.bystanders import hide_in_thumbnail, others_of
from mgts_trt.gallery.filters import Condition, Filter
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.lookup import embeddings_by_id, people_by_id
from mgts_trt.gallery.match import Match, Stay
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.reranking import FIRST, rerank
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.sightings import search_sightings
from mgts_trt.gallery.tables import SIGHTING, Person
from mgts_trt.pictures.decoding import decode_image

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery

logger = logging.getLogger("mgts_trt.gallery")

_DEEP = 2 * FIRST
"""Found for each probe before they are combined: the best by all are among the best by one."""


class Compared(NamedTuple):
    """How many were to be compared."""

    people: int
    """In photos, or in all frames."""
    sightings: int


def ask(
    gallery: "Gallery",
    question: Question,
    *,
    top: int = 10,
    where: Filter | None = None,
    exact: bool = False,
    frames: bool = False,
    again: bool = False,
) -> list[Sighting | Person]:
    """Whom a question means, the most alike first; their `likeness` is the question's.

    Args:
        gallery: Of the space of the question's embeddings.
        question: Whom to find.
        top: How many to give, at least 1.
        where: Among those it holds for alone.
        exact: Compare with everybody, without the gallery's index.
        frames: People frame by frame instead of sightings.
        again: Rank the first `reranking.FIRST` again by their neighbours.

    Raises:
        GalleryError: See `Gallery.search`.
        QueryError: See `combine`.
    """
    own = tuple(Condition("sha256", "!=", photo) for photo in sorted(question.photos))
    conditions = (*(where.conditions if where else ()), *own)
    chosen = Filter(conditions) if conditions else None
    search = gallery.search if frames else partial(search_sightings, gallery)
    if question.plain and not again:
        return list(search(question.probes[0], top=top, where=chosen, exact=exact))
    found: dict[str, Sighting | Person] = {}
    for probe in question.probes:
        for each in search(probe, top=max(_DEEP, top), where=chosen, exact=exact):
            found.setdefault(each.id, each)
    people, candidates = _described(gallery, list(found.values()))
    if not people:
        return []
    likeness = question.likeness(candidates)
    order = rerank(question.probes, candidates, likeness) if again else np.argsort(-likeness, kind="stable")
    return [replace(people[place], likeness=float(likeness[place])) for place in order[:top].tolist()]


def compared(gallery: "Gallery", where: Filter | None = None, *, frames: bool = False) -> Compared:
    """Among how many `ask` looks.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    table = gallery.sightings
    if frames or table is None:
        return Compared(gallery.count(where), 0)
    chosen = where if where and where.conditions else None
    photos = f"{SIGHTING} IS NULL" + (f" AND ({chosen.expression().to_sql()})" if chosen else "")
    with explained("read", gallery.url):
        people, _ = gallery.tables
        condition = chosen.of_sightings().to_sql() if chosen else None
        return Compared(
            int(retried(lambda: people.count_rows(photos))), int(retried(lambda: table.count_rows(condition)))
        )


def matches_of(
    gallery: "Gallery", found: Sequence[Sighting | Person], *, hide_others: bool = False, pictures: bool = True
) -> list[Match]:
    """What `ask` found, with pictures: of a sighting those of its best frames.

    A picture that cannot be read is told and left out.

    Args:
        gallery: Where.
        found: What `ask` found.
        hide_others: Whether to cover everybody else in the pictures.
        pictures: Whether to give any.

    Raises:
        GalleryError: The gallery cannot be read.
        SealedError: Pictures are encrypted, and there is no key, or not the gallery's.
    """
    if pictures:
        gallery.encryption.require_key()
    ids = {name for each in found if isinstance(each, Sighting) for name in each.best}
    best = people_by_id(gallery, ids)
    single = [each for each in found if isinstance(each, Person)]
    others = others_of(gallery, [*best.values(), *single]) if hide_others and pictures else {}
    matches = []
    for each in found:
        stay, shown = None, [each] if isinstance(each, Person) else [best[name] for name in each.best if name in best]
        if isinstance(each, Sighting):
            if not shown:  # forgotten meanwhile
                continue
            stay = Stay(each.id, each.start, each.end, each.first, each.last, each.frames, each.closed)
        crops = [
            hide_in_thumbnail(crop, person.box, others[person.id]) if hide_others else crop
            for person in (shown if pictures else ())
            if (crop := _picture(person)) is not None
        ]
        person = shown[0]
        matches.append(
            Match(
                each.likeness or 0.0,
                person.source,
                person.box,
                person.score,
                crops[0] if crops else None,
                person.number,
                person.time,
                person.camera,
                live=not person.sha256,
                stay=stay,
                more=tuple(crops[1:]),
            )
        )
    return matches


def _picture(person: Person) -> Image | None:
    try:
        jpeg = person.thumbnail
        return decode_image(jpeg, f"the picture of {person.id}") if jpeg else None
    except (GalleryError, ImageError) as error:
        logger.warning("%s", error)
        return None


def _described(gallery: "Gallery", found: Sequence[Sighting | Person]) -> tuple[list[Sighting | Person], Floats]:
    """Whom was found, and their embeddings, float32 [N, d], of length 1; those forgotten meanwhile are left out.

    Sightings bring theirs, people's are read.
    """
    read = embeddings_by_id(gallery, {each.id for each in found if isinstance(each, Person)})
    there = [each for each in found if isinstance(each, Sighting) or each.id in read]
    if not there:
        return [], np.zeros((0, gallery.space.embedding), np.float32)
    rows = np.stack([each.embedding if isinstance(each, Sighting) else read[each.id] for each in there])
    return there, np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
