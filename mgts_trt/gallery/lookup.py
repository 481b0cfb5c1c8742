"""People of a gallery by their ids, and whether there are sightings of them."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from mgts_trt._typing import Floats
from mgts_trt.gallery.chosen_rows import read_rows
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.tables import ABOUT, SIGHTING, Person, embeddings_of, people_of

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery


def holds_sightings(gallery: "Gallery") -> bool:
    """Whether a search finds sightings; otherwise it finds people of single frames.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    table = gallery.sightings
    with explained("read", gallery.url):
        return table is not None and retried(table.count_rows) > 0


def people_by_id(gallery: "Gallery", ids: Collection[str]) -> dict[str, Person]:
    """The people with these ids; those that there are not are left out.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    if not ids:
        return {}
    return {person.id: person for person in people_of(_rows(gallery, ids, list(ABOUT)), gallery.encryption)}


def embeddings_by_id(gallery: "Gallery", ids: Collection[str]) -> dict[str, Floats]:
    """The embeddings, float32 [d], of the people with these ids; those that there are not are left out.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    if not ids:
        return {}
    rows = _rows(gallery, ids, ["id", "embedding"])
    return dict(zip(rows["id"].to_pylist(), embeddings_of(rows), strict=True))


def sighting_of(gallery: "Gallery", person_id: str) -> str | None:
    """The id of the sighting that a person in a frame belongs to; None of somebody in a photo, and of nobody.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    if gallery.sightings is None:
        return None
    found: list[str | None] = _rows(gallery, [person_id], [SIGHTING])[SIGHTING].to_pylist()
    return next(iter(found), None)


def _rows(gallery: "Gallery", ids: Collection[str], columns: list[str]) -> Any:
    from lancedb.expr import col

    with explained("read", gallery.url):
        return read_rows(gallery.tables[0], columns, col("id").isin(sorted(ids)))
