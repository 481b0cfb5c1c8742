"""The sightings of a gallery: found by likeness, looked through, and taken apart into their frames.

People in photos belong to no sighting and are found as rows, beside the sightings.
"""

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from mgts_trt._typing import Floats
from mgts_trt.gallery import vector_index
from mgts_trt.gallery.chosen_rows import read_rows
from mgts_trt.gallery.filters import Filter
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.gallery.tables import ABOUT, SIGHTING, Person, people_of, sightings_from, sightings_schema

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery

_OF_PHOTOS = f"{SIGHTING} IS NULL"


class SightingsPage(NamedTuple):
    """Some of the sightings that a filter leaves."""

    sightings: list[Sighting]
    """By source, then by first frame."""
    total: int
    """How many there are on all pages."""


def search_sightings(
    gallery: "Gallery", embedding: Floats, *, top: int = 10, where: Filter | None = None, exact: bool = False
) -> list[Sighting | Person]:
    """The sightings, and the people of photos, most similar to one person, the most similar first.

    A gallery without sightings (format 2) gives people of all frames, as `Gallery.search` does.

    Args:
        gallery: Which.
        embedding: float32 [d], of the gallery's space.
        top: How many at most.
        where: Search among those it holds for: a sighting's conditions must each hold somewhere between its first frame
            and its last.
        exact: Compare with everybody, even where there is an index.

    Raises:
        GalleryError: See `Gallery.search`.
    """
    probe = gallery.checked_probe(embedding, top)
    table, (people, _) = gallery.sightings, gallery.tables
    with explained("search", gallery.url):
        if table is None or not retried(table.count_rows):
            return list(gallery.search(probe, top=top, where=where, exact=exact))
        conditions = where is not None and where.conditions
        rows, likeness = vector_index.most_similar(
            table,
            probe,
            top=top,
            columns=_columns(gallery),
            condition=where.of_sightings() if where and conditions else None,
            selective=where is not None and where.selective,
            exact=exact,
        )
        found: list[Sighting | Person] = [*sightings_from(rows, likeness)]
        of_photos = f"{_OF_PHOTOS} AND ({where.expression().to_sql()})" if where and conditions else _OF_PHOTOS
        if left := int(retried(lambda: people.count_rows(of_photos))):
            rows, likeness = vector_index.most_similar(
                people,
                probe,
                top=top,
                columns=[*ABOUT, "embedding"],
                condition=of_photos,
                selective=True,
                left=left,
                exact=exact,
            )
            found += people_of(rows, gallery.encryption, likeness)
    return sorted(found, key=_best_first)[:top]


def _best_first(each: Sighting | Person) -> tuple[float, str, int, str]:
    """See `most_similar`."""
    return -(each.likeness or 0.0), each.source, each.number if isinstance(each, Person) else each.first, each.id


def sighting(gallery: "Gallery", sighting_id: str) -> Sighting | None:
    """The sighting with an id; None where there is none.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    return sightings_by_id(gallery, [sighting_id]).get(sighting_id)


def sightings_by_id(gallery: "Gallery", ids: Collection[str]) -> dict[str, Sighting]:
    """The sightings with these ids; those that there are not are left out.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    from lancedb.expr import col

    if gallery.sightings is None or not ids:
        return {}
    with explained("read", gallery.url):
        query = gallery.sightings.search().where(col("id").isin(sorted(ids))).select(_columns(gallery)).limit(len(ids))
        return {each.id: each for each in sightings_from(retried(query.to_arrow))}


def frames_of(gallery: "Gallery", sighting_id: str) -> list[Person]:
    """The person of a sighting frame by frame, in order of time; nobody where there is no such sighting.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    from lancedb.expr import col

    if gallery.sightings is None:
        return []
    with explained("read", gallery.url):
        people, _ = gallery.tables
        rows = read_rows(people, ABOUT, col(SIGHTING).isin([sighting_id]))
    # A stream counts its frames anew whenever it is opened.
    return sorted(people_of(rows, gallery.encryption), key=lambda person: (person.time or 0.0, person.number))


def sightings_of(gallery: "Gallery", where: Filter | None = None, *, limit: int = 50, offset: int = 0) -> SightingsPage:
    """Sightings of a gallery, by source and first frame.

    Args:
        gallery: Which.
        where: Those alone for which it holds; see `search_sightings`.
        limit: How many to give at most.
        offset: How many to pass over.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    table = gallery.sightings
    if table is None:
        return SightingsPage([], 0)
    with explained("read", gallery.url):
        condition = where.of_sightings() if where is not None and where.conditions else None
        order = ("source", "first_time", "first_number", "id")
        rows = read_rows(table, _columns(gallery), condition, order=order, offset=offset, limit=limit)
        total = condition.to_sql() if condition is not None else None
        return SightingsPage(sightings_from(rows), int(retried(lambda: table.count_rows(total))))


def sightings_by_camera(gallery: "Gallery") -> "Counter[str | None] | None":
    """How many sightings there are of each camera; None in a gallery of a format without.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    if gallery.sightings is None:
        return None
    with explained("read", gallery.url):
        return Counter(retried(gallery.sightings.search().select(["camera"]).to_arrow)["camera"].to_pylist())


def _columns(gallery: "Gallery") -> list[str]:
    return list(sightings_schema(gallery.space).names)
