"""Routes that look through the gallery: people, their pictures, cameras and sources; and one that forgets a source."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

import cv2
import numpy as np
from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from mgts_trt._typing import Image
from mgts_trt.gallery import Person
from mgts_trt.gallery.browse import people_page
from mgts_trt.gallery.indexing.scene import Scene
from mgts_trt.service.auditing import TheDeed
from mgts_trt.service.core import Service
from mgts_trt.service.fields import read_filter
from mgts_trt.service.limits import MOST_MATCHES, SCENE_SIDE
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.routing import TheService, failures
from mgts_trt.service.schemas import Cameras, Forgotten, GalleryPerson, PeoplePage, SeenCamera, SeenSource, SourcesPage

router = APIRouter()

JPEG: dict[str, Any] = {"content": {"image/jpeg": {}}}
"""For `/openapi.json`."""
Id = Annotated[str, Path(alias="id", max_length=200)]
Offset = Annotated[int, Query(ge=0, le=10**9, description="How many to pass over")]
Limit = Annotated[int, Query(ge=1, le=MOST_MATCHES, description="How many to give at most")]


@router.get("/people", responses=failures(400, 401, 404, 503), tags=["gallery"])
async def people(
    service: TheService,
    deed: TheDeed,
    camera: Annotated[str | None, Query(max_length=1024, description="Those of this camera alone")] = None,
    source: Annotated[str | None, Query(max_length=1024, description="Those of this source alone")] = None,
    since: Annotated[float | None, Query(description="Those of this time or later, in seconds")] = None,
    until: Annotated[float | None, Query(description="Those of this time or earlier, in seconds")] = None,
    where: Annotated[str | None, Query(max_length=300, description="Further conditions, as in POST /search")] = None,
    offset: Offset = 0,
    limit: Limit = 24,
) -> PeoplePage:
    """The people of the gallery, page by page, by source and frame."""
    conditions = read_filter(where, camera=camera, source=source, since=since, until=until)
    page = await asyncio.to_thread(people_page, service.gallery, conditions, offset=offset, limit=limit)
    deed.rows = len(page.people)
    return PeoplePage(people=[GalleryPerson(**about(person)) for person in page.people], total=page.total)


@router.get(
    "/people/{id}/thumbnail",
    response_class=Response,
    responses={200: {**JPEG, "description": "JPEG"}, **failures(400, 401, 404, 503)},
    tags=["gallery"],
)
async def thumbnail(service: TheService, person_id: Id) -> Response:
    """The picture of a person of the gallery."""
    person = await asyncio.to_thread(service.gallery.person, person_id)
    if person is None or not person.has_thumbnail:
        raise Refusal(404, "There is no thumbnail of such a person in the gallery.", "unknown")
    return Response(person.thumbnail, media_type="image/jpeg")  # no browser keeps it: who is forgotten is to be gone


@router.get(
    "/people/{id}/scene",
    response_class=Response,
    responses={
        200: {
            **JPEG,
            "description": f"JPEG, at most {SCENE_SIDE} pixels wide and high. Headers: X-Scene-Width and "
            "X-Scene-Height of the picture itself, which boxes are in pixels of; of a video X-Scene-Number and "
            "X-Scene-Seconds of the frame, and X-Scene-Frames in all if that is known",
        },
        **failures(400, 401, 404, 503),
    },
    tags=["gallery"],
)
async def scene(
    service: TheService,
    person_id: Id,
    offset: Annotated[int, Query(ge=-10_000, le=10_000, description="Of a video: frames after theirs, or before")] = 0,
) -> Response:
    """The picture a person was seen in, or the frame of the video, read again from its source.

    It is there if the source is a file of the service's machine that has not changed; else 404 says why not.
    """
    return await asyncio.wrap_future(service.reading.submit(_scene, service, person_id, offset))


@router.get("/cameras", responses=failures(401, 404, 503), tags=["gallery"])
async def cameras(service: TheService, deed: TheDeed) -> Cameras:
    """The gallery's cameras, and when they saw whom."""
    seen = await asyncio.to_thread(service.overview)
    found = seen.cameras()
    deed.rows = len(found)
    return Cameras(cameras=[SeenCamera(**asdict(camera)) for camera in found])


@router.get("/sources", responses=failures(400, 401, 404, 503), tags=["gallery"])
async def sources(
    service: TheService,
    deed: TheDeed,
    containing: Annotated[str, Query(max_length=300, description="Those whose names contain this")] = "",
    offset: Offset = 0,
    limit: Limit = 24,
) -> SourcesPage:
    """The pictures, videos and streams the gallery holds people of, page by page, by name."""
    seen = await asyncio.to_thread(service.overview)
    page, total = await asyncio.to_thread(seen.sources, containing, offset=offset, limit=limit)
    deed.rows = len(page)
    return SourcesPage(sources=[SeenSource(**asdict(source)) for source in page], total=total)


@router.delete("/sources", responses=failures(400, 401, 403, 404, 429, 503, 504), tags=["gallery"])
async def forget(
    service: TheService,
    deed: TheDeed,
    source: Annotated[str, Query(max_length=4096, description="Its name, as GET /sources has it")],
) -> Forgotten:
    """Erase all that a source brought, for good; the source itself stays as it is.

    The gallery's files are written anew without it. What takes longer than a request may goes on all the same.
    """
    deed.rows = await asyncio.to_thread(service.forget, source)
    return Forgotten(source=source, people=deed.rows)


def about(person: Person) -> dict[str, Any]:
    """What answers tell of a person: the fields of a `GalleryPerson`."""
    address = f"/people/{quote(person.id, safe='')}"
    return {
        "id": person.id,
        "source": person.source,
        "number": person.number,
        "camera": person.camera,
        "time": person.time,
        "box": [round(float(value), 2) for value in person.box],
        "score": round(person.score, 6),
        "thumbnail": f"{address}/thumbnail" if person.has_thumbnail else None,
        "scene": f"{address}/scene",
    }


def _scene(service: Service, person_id: str, offset: int) -> Response:
    gallery = service.gallery
    person = gallery.person(person_id)
    if person is None:
        raise Refusal(404, "There is no such person in the gallery; perhaps their source was forgotten.", "unknown")
    found = service.scenes.read(person, offset)
    frames = None if found.seconds is None else gallery.frames_done(person.source, person.sha256)[1]
    return Response(_jpeg(found.image), media_type="image/jpeg", headers=_headers(found, frames))


def _headers(found: Scene, frames: int | None) -> dict[str, str]:
    height, width = found.image.shape[:2]
    told = {"Width": width, "Height": height}
    if found.seconds is not None:
        told |= {"Number": found.number, "Seconds": found.seconds} | ({"Frames": frames} if frames else {})
    return {f"X-Scene-{name}": str(value) for name, value in told.items()}


def _jpeg(image: Image) -> bytes:
    scale = SCENE_SIDE / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
