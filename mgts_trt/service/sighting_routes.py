"""Routes of sightings: page by page, one by one, and taken apart into their frames."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import Response

from mgts_trt.gallery import Gallery, Person
from mgts_trt.gallery.lookup import people_by_id
from mgts_trt.gallery.sighting import BEST, Sighting
from mgts_trt.gallery.sightings import frames_of, sighting, sightings_of
from mgts_trt.service.auditing import TheDeed
from mgts_trt.service.browsing import JPEG, Id, Limit, Offset, about
from mgts_trt.service.fields import read_filter
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.routing import TheService, failures
from mgts_trt.service.schemas import GalleryPerson, PeoplePage, SeenSighting, SightingsPage, WholeSighting

router = APIRouter()


@router.get("/sightings", responses=failures(400, 401, 404, 503), tags=["sightings"])
async def sightings(
    service: TheService,
    deed: TheDeed,
    camera: Annotated[str | None, Query(max_length=1024, description="Those of this camera alone")] = None,
    source: Annotated[str | None, Query(max_length=1024, description="Those of this source alone")] = None,
    since: Annotated[float | None, Query(description="Those that ended at this time or later, in seconds")] = None,
    until: Annotated[float | None, Query(description="Those that began at this time or earlier, in seconds")] = None,
    where: Annotated[str | None, Query(max_length=300, description="Further conditions, as in POST /search")] = None,
    offset: Offset = 0,
    limit: Limit = 24,
) -> SightingsPage:
    """The sightings of videos and streams, page by page, by source and first frame."""
    conditions = read_filter(where, camera=camera, source=source, since=since, until=until)

    def read() -> SightingsPage:
        page = sightings_of(service.gallery, conditions, limit=limit, offset=offset)
        best = best_of(service.gallery, page.sightings)
        deed.rows = len(page.sightings)
        return SightingsPage(
            sightings=[SeenSighting(**about_sighting(each, best)) for each in page.sightings], total=page.total
        )

    return await asyncio.to_thread(read)


@router.get("/sightings/{id}", responses=failures(400, 401, 404, 503), tags=["sightings"])
async def one(service: TheService, sighting_id: Id) -> WholeSighting:
    """A sighting, and its path."""

    def read() -> WholeSighting:
        found = _known(service.gallery, sighting_id)
        path = [[round(value, 3) for value in point] for point in found.path.tolist()]
        return WholeSighting(**about_sighting(found, best_of(service.gallery, [found])), path=path)

    return await asyncio.to_thread(read)


@router.get("/sightings/{id}/people", responses=failures(400, 401, 404, 503), tags=["sightings"])
async def people(
    service: TheService, deed: TheDeed, sighting_id: Id, offset: Offset = 0, limit: Limit = 24
) -> PeoplePage:
    """The person of a sighting frame by frame, in order of time, page by page."""

    def read() -> PeoplePage:
        found = frames_of(service.gallery, sighting_id) or _frames_of_known(service.gallery, sighting_id)
        page = found[offset : offset + limit]
        deed.rows = len(page)
        return PeoplePage(people=[GalleryPerson(**about(person)) for person in page], total=len(found))

    return await asyncio.to_thread(read)


@router.get(
    "/sightings/{id}/thumbnail",
    response_class=Response,
    responses={200: {**JPEG, "description": "JPEG"}, **failures(400, 401, 404, 503)},
    tags=["sightings"],
)
async def thumbnail(
    service: TheService,
    sighting_id: Id,
    place: Annotated[int, Query(ge=0, lt=BEST, description="Among its best frames; 0 is the best")] = 0,
) -> Response:
    """The person of a sighting, as one of its best frames shows them."""

    def read() -> bytes:
        best = _known(service.gallery, sighting_id).best[place : place + 1]
        return next((person.thumbnail for person in people_by_id(service.gallery, best).values()), b"")

    picture = await asyncio.to_thread(read)
    if not picture:
        raise Refusal(404, "There is no such thumbnail of this sighting in the gallery.", "unknown")
    return Response(picture, media_type="image/jpeg")  # no browser keeps it: who is forgotten is to be gone


def best_of(gallery: Gallery, sightings: Sequence[Sighting]) -> dict[str, Person]:
    """The people of the best frames of sightings, by their ids."""
    return people_by_id(gallery, {person for each in sightings for person in each.best})


def about_sighting(sighting: Sighting, best: Mapping[str, Person]) -> dict[str, Any]:
    """What answers tell of a sighting: the fields of a `SeenSighting`.

    Args:
        sighting: It.
        best: See `best_of`.
    """
    address = f"/sightings/{quote(sighting.id, safe='')}"
    return {
        "id": sighting.id,
        "source": sighting.source,
        "camera": sighting.camera,
        "start": sighting.start,
        "end": sighting.end,
        "first": sighting.first,
        "last": sighting.last,
        "frames": sighting.frames,
        "closed": sighting.closed,
        "best": [about(best[person]) for person in sighting.best if person in best],
        "thumbnail": f"{address}/thumbnail",
        "people": f"{address}/people",
    }


def _known(gallery: Gallery, sighting_id: str) -> Sighting:
    found = sighting(gallery, sighting_id)
    if found is None:
        raise Refusal(
            404,
            "There is no such sighting in the gallery; perhaps its source was forgotten or indexed anew.",
            "unknown",
        )
    return found


def _frames_of_known(gallery: Gallery, sighting_id: str) -> list[Person]:
    """None, of a sighting that is there."""
    _known(gallery, sighting_id)
    return []
