"""Who is to be forgotten, by likeness, camera, time or source: looked at first, and then erased with all of theirs.

Nobody is taken apart: who was followed goes as a whole, with all frames and the sighting's embedding and path, as soon
as the sighting or any frame of it is chosen. Everybody is compared, one by one, without an index.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.errors import QueryError
from mgts_trt.gallery.erasure import Erased, KeptOut, erase
from mgts_trt.gallery.filters import Condition, Filter, Operator
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.lookup import people_by_id
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.retention import CLOCK
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.sightings import sightings_by_id
from mgts_trt.gallery.tables import FRAMES, PEOPLE, SIGHTING, SIGHTINGS, Person, embeddings_of
from mgts_trt.gallery.watched import forget_killed
from mgts_trt.gallery.whole_files import KeptFrames, frames_within

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery

_NOBODY = "id IS NULL"
_BATCH = 8192


@dataclass(frozen=True)
class Choice:
    """Whom to forget; all that is named must hold.

    Attributes:
        question: Whoever is alike to these probes.
        least: From this likeness on, −1 … 1; with a question, and only with one.
        camera: Whoever this camera saw.
        since: Whoever was seen then or later, Unix seconds.
        until: Whoever was seen then or before.
        source: In this source alone.

    Raises:
        QueryError: Nothing is named, or what is named means nothing.
    """

    question: Question | None = None
    least: float | None = None
    camera: str | None = None
    since: float | None = None
    until: float | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if (self.question, self.camera, self.since, self.until, self.source) == (None,) * 5:
            raise QueryError("Nobody is named. Name a person, a camera, a time or a source to be forgotten.")
        if (self.question is None) != (self.least is None):
            raise QueryError(
                "From which similarity on is it the person? Name the least likeness, or the rate of false matches; a "
                "search shows which is right."
                if self.least is None
                else "A likeness is told, and nobody to whom. Name a photo of the person."
            )
        if self.least is not None and not -1 <= self.least <= 1:
            raise QueryError(f"A likeness of {self.least:g} is asked for; it lies between -1 and 1, such as 0.6.")
        for time in (self.since, self.until):
            if time is not None and not CLOCK <= time < math.inf:
                raise QueryError(
                    f"{time:g} is no time of a clock. People are forgotten by day and time, in Unix seconds from 1973 "
                    "on; of a video, whose times begin at 0, name the source."
                )
        if self.since is not None and self.until is not None and self.since > self.until:
            raise QueryError("The time ends before it begins: since is later than until.")

    @property
    def filter(self) -> Filter:
        """What is named besides the person; without conditions if nothing is."""
        clock = CLOCK if self.until is not None and self.since is None else None
        named: tuple[tuple[str, Operator, str | float | None], ...] = (
            ("camera", "=", self.camera),
            ("time", ">=", self.since),
            ("time", ">=", clock),  # or it would hold for all videos
            ("time", "<=", self.until),
            ("source", "=", self.source),
        )
        return Filter(tuple(Condition(name, how, value) for name, how, value in named if value is not None))


@dataclass(frozen=True)
class Chosen:
    """Who would go.

    Attributes:
        people: How many rows of people: one of each frame that somebody is in.
        sightings: How many sightings.
        photos: How many people in photos, or in single frames of a gallery without sightings.
        timeless: People who were not asked for their time, since none of a clock is known of them.
        likeness: Id of a sighting, or of somebody in a photo → the greatest likeness of it or of its frames; empty if
            no person was named.
        conditions: For `erasure.erase`.
        keep_out: Likewise.
    """

    people: int
    sightings: int
    photos: int
    timeless: int
    likeness: dict[str, float]
    conditions: dict[str, str]
    keep_out: tuple[KeptOut, ...]

    def __bool__(self) -> bool:
        return bool(self.people or self.sightings)


def choose(gallery: "Gallery", choice: Choice) -> Chosen:
    """Who fulfils a choice now; nothing is changed.

    Frames stay, as searched, so that indexing again does not bring people back; but where no person is named, frames of
    streams go, and of files that lie whole within the choice all goes, and they stay out.

    Args:
        gallery: Which.
        choice: Whom.

    Raises:
        GalleryError: The gallery cannot be read, or the question is of another space.
    """
    with explained("read", gallery.url):
        if choice.question is not None:
            gallery.checked_probe(choice.question.probes[0], 1)
            likeness = _alike(gallery, choice)
            sightings = [each for each in likeness if each.startswith("s-")]
            photos = [each for each in likeness if not each.startswith("s-")]
            conditions = {
                PEOPLE: f"({_among('id', photos)}) OR ({_among(SIGHTING, sightings)})",
                SIGHTINGS: _among("id", sightings),
            }
            if gallery.sightings is None:
                conditions = {PEOPLE: _among("id", photos)}
            kept = KeptFrames("", ())
        else:
            likeness, conditions, kept = {}, _within(gallery, choice), frames_within(gallery, choice.filter)
        if kept.condition:
            conditions[FRAMES] = kept.condition
        people, table = gallery.tables[0], gallery.sightings
        count = int(retried(lambda: people.count_rows(conditions[PEOPLE])))
        followed = 0 if table is None else int(retried(lambda: table.count_rows(conditions[SIGHTINGS])))
        single = _single(gallery, conditions)
        return Chosen(
            people=count,
            sightings=followed,
            photos=int(retried(lambda: people.count_rows(single))),
            timeless=_timeless(gallery, choice),
            likeness=likeness,
            conditions=conditions,
            keep_out=(*kept.keep_out, *_going_on(gallery, conditions)),
        )


def shown(gallery: "Gallery", chosen: Chosen, most: int) -> list[Sighting | Person]:
    """Some of those who would go, to be looked at: the most alike first; of too many, also the least alike.

    Args:
        gallery: Which.
        chosen: By `choose`.
        most: How many at most.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    if chosen.likeness:
        ids = sorted(chosen.likeness, key=lambda each: (-chosen.likeness[each], each))
    else:
        ids = _some(gallery, chosen, most)
    if len(ids) > most:
        ids = [*ids[: most - most // 2], *ids[len(ids) - most // 2 :]]
    found: dict[str, Sighting | Person] = {**people_by_id(gallery, [each for each in ids if not each.startswith("s-")])}
    found |= sightings_by_id(gallery, [each for each in ids if each.startswith("s-")])
    return [replace(found[each], likeness=chosen.likeness.get(each)) for each in ids if each in found]


def forget_chosen(gallery: "Gallery", chosen: Chosen) -> Erased:
    """Erase who was chosen, with all frames and sightings of theirs, and gather what is left.

    Args:
        gallery: Which.
        chosen: By `choose`.

    Raises:
        GalleryError: See `erase`.
    """
    erased = erase(gallery, chosen.conditions, "forget", keep_out=chosen.keep_out)
    if erased:
        forget_killed(gallery.url)
        gallery.optimise()
    return erased


def _some(gallery: "Gallery", chosen: Chosen, most: int) -> list[str]:
    """Ids of sightings and of people in photos, as many as are shown."""
    table, people = gallery.sightings, gallery.tables[0]
    single = _single(gallery, chosen.conditions)
    ids = list[str]()
    with explained("read", gallery.url):
        if table is not None:
            going = table.search().where(chosen.conditions[SIGHTINGS]).select(["id"]).limit(most)
            ids = retried(going.to_arrow)["id"].to_pylist()
        query = people.search().where(single).select(["id"]).limit(most)
        return sorted([*ids, *retried(query.to_arrow)["id"].to_pylist()])[:most]


def _single(gallery: "Gallery", conditions: dict[str, str]) -> str:
    """Of the people that go, those who were not followed."""
    people = conditions[PEOPLE]
    return people if gallery.sightings is None else f"({people}) AND {SIGHTING} IS NULL"


def _alike(gallery: "Gallery", choice: Choice) -> dict[str, float]:
    """The greatest likeness of each sighting, and of each person in a photo, that reaches the least."""
    question, least = choice.question, choice.least
    assert question is not None
    assert least is not None
    found = dict[str, float]()
    conditions = choice.filter.conditions
    row = choice.filter.expression().to_sql() if conditions else None
    for ids, embeddings in _embeddings(gallery.tables[0], row):
        _note(found, ids, question.likeness(embeddings), least)
    if gallery.sightings is not None:
        stay = choice.filter.of_sightings().to_sql() if conditions else None
        for ids, embeddings in _embeddings(gallery.sightings, stay):
            _note(found, ids, question.likeness(embeddings), least)
    return found


def _note(found: dict[str, float], ids: list[str], likeness: Floats, least: float) -> None:
    for i in np.flatnonzero(likeness >= least).tolist():
        found[ids[i]] = max(float(likeness[i]), found.get(ids[i], -1.0))


def _embeddings(table: Any, condition: str | None) -> Iterator[tuple[list[str], Floats]]:
    """All embeddings, at length 1, and the ids of the sightings, or people, that they are of."""
    import pyarrow as pa

    columns = ["id", "embedding", *([SIGHTING] if SIGHTING in table.schema.names else [])]
    query = table.search() if condition is None else table.search().where(condition)
    for batch in retried(lambda: query.select(columns).to_batches(_BATCH)):
        rows = pa.Table.from_batches([batch])
        own = rows["id"].to_pylist()
        of = rows[SIGHTING].to_pylist() if SIGHTING in rows.column_names else own
        vectors = embeddings_of(rows)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        yield [each or mine for each, mine in zip(of, own, strict=True)], np.asarray(unit, np.float32)


def _within(gallery: "Gallery", choice: Choice) -> dict[str, str]:
    """Conditions of all that a camera saw, or a time, and of sightings that reach into it."""
    row = choice.filter.expression().to_sql()
    if gallery.sightings is None:
        return {PEOPLE: row}
    followed = choice.filter.of_sightings().to_sql()
    conditions = {PEOPLE: row, SIGHTINGS: followed}
    if choice.since is not None or choice.until is not None:
        ends = [f"first_time < {choice.since}"] * (choice.since is not None)
        ends += [f"last_time > {choice.until}"] * (choice.until is not None)
        query = gallery.sightings.search().where(f"({followed}) AND ({' OR '.join(ends)})").select(["id"])
        conditions[PEOPLE] = f"({row}) OR ({_among(SIGHTING, retried(query.to_arrow)['id'].to_pylist())})"
    return conditions


def _going_on(gallery: "Gallery", conditions: dict[str, str]) -> list[KeptOut]:
    """Sightings that somebody may be following now, who would store them, and their next frames, again."""
    if gallery.sightings is None:
        return []
    query = gallery.sightings.search().where(f"({conditions[SIGHTINGS]}) AND NOT closed").select(["id"])
    ids = retried(query.to_arrow)["id"].to_pylist()
    return [KeptOut("", (), sorted(ids))] if ids else []


def _timeless(gallery: "Gallery", choice: Choice) -> int:
    """People to whom a time was not applied."""
    if choice.since is None and choice.until is None:
        return 0
    others = replace(choice, since=None, until=None) if choice.camera or choice.source else None
    also = f" AND ({others.filter.expression().to_sql()})" if others and others.filter.conditions else ""
    condition = f"(time IS NULL OR time < {CLOCK}){also}"
    return int(retried(lambda: gallery.tables[0].count_rows(condition)))


def _among(column: str, values: list[str]) -> str:
    from lancedb.expr import col

    sql: str = col(column).isin(sorted(values)).to_sql() if values else _NOBODY
    return sql
