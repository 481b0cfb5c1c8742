"""What the service answers to."""

import asyncio
import hashlib
import math
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, File, Form, Path, Request, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import ImageError
from mgts_trt.gallery import Frame, Person, entry_of, parse_filter
from mgts_trt.gallery.probe import Where, pick_person
from mgts_trt.gallery.ranking import similar_people
from mgts_trt.runtime.people import People
from mgts_trt.service.core import Service
from mgts_trt.service.dispatcher import Job
from mgts_trt.service.fields import PlaceField, file_name, read_boxes, read_embedding, read_name, read_where
from mgts_trt.service.guard import KNOWN
from mgts_trt.service.limits import MOST_MATCHES
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.schemas import (
    Detection,
    Embedding,
    FailedFile,
    Failure,
    Health,
    Indexed,
    Match,
    Matches,
    ProbePerson,
)
from mgts_trt.service.uploads import decode_upload
from mgts_trt.version import __version__

router = APIRouter()


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]
Picture = Annotated[UploadFile, File(description="A JPEG, PNG, WebP, BMP or TIFF file")]


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for `/openapi.json`."""
    return {status: {"model": Failure, "description": HTTPStatus(status).phrase} for status in sorted(statuses)}


PICTURE_FAILURES = _failures(400, 401, 403, 408, 413, 429, 503, 504)


@router.post("/detect", response_model=Detection, responses=PICTURE_FAILURES, tags=["people"])
async def detect(service: TheService, image: Picture) -> Response:
    """Find the people in a picture."""
    return await service.run(Job(_loader(service, image), lambda _, people: _json(Detection, people.to_dict())))


@router.post("/embed", response_model=Embedding, responses=PICTURE_FAILURES, tags=["people"])
async def embed(
    service: TheService,
    image: Picture,
    boxes: Annotated[
        str | None,
        Form(
            description="JSON: whom to describe, [[x1, y1, x2, y2], …] in pixels; by default whoever is detected",
            examples=["[[240, 63, 320, 231]]"],
        ),
    ] = None,
) -> Response:
    """Describe the people in a picture, or in given boxes of it, by embeddings."""
    given = None if boxes is None else read_boxes(boxes)
    job = Job(_loader(service, image), lambda _, people: _json(Embedding, people.to_dict()), given)
    return await service.run(job)


@router.post("/index", responses={**PICTURE_FAILURES, **_failures(404)}, tags=["gallery"])
async def index(
    service: TheService,
    images: Annotated[list[UploadFile], File(description="One or several pictures")],
    camera: Annotated[str | None, Form(description="Name of the camera that took them", examples=["3"])] = None,
    time: Annotated[float | None, Form(description="When, in seconds", examples=[1542988800.0])] = None,
    source: Annotated[
        str | None, Form(description="Where they come from, to be shown with matches; by default each file's name")
    ] = None,
) -> Indexed:
    """Add the people of pictures to the gallery. A picture that is there already is not searched again."""
    if len(images) > service.limits.files:
        raise Refusal(
            413, f"{len(images)} pictures were sent, but at most {service.limits.files} are taken at a time.", "files"
        )
    if time is not None and not math.isfinite(time):
        raise Refusal(400, "The form field time must be a finite number of seconds.", "field")
    camera, source = read_name(camera, "camera"), read_name(source, "source")
    gallery = service.gallery
    names = [file_name(image.filename) for image in images]
    hashes = await asyncio.to_thread(lambda: [_sha256(image.file) for image in images])
    frames = [Frame(source or name, 0, sha256, time, camera) for name, sha256 in zip(names, hashes, strict=True)]
    done = await asyncio.to_thread(gallery.done, {frame.key for frame in frames})

    # A picture sent twice is searched once.
    fresh = {frame.key: (image, frame) for image, frame in zip(images, frames, strict=True) if frame.key not in done}
    jobs = [Job(_loader(service, image), _writer(service, frame)) for image, frame in fresh.values()]
    failures: list[FailedFile] = []
    people, written = 0, []
    results = await service.run_all(jobs)
    for (image, _), result in zip(fresh.values(), results, strict=True):
        if isinstance(result, Refusal | ImageError):
            sentence = result.detail if isinstance(result, Refusal) else str(result)
            failures.append(FailedFile(file=file_name(image.filename), error=sentence))
        elif isinstance(result, BaseException):
            raise result
        else:
            people += result[0]
            written.append(asyncio.wrap_future(result[1]))
    await asyncio.gather(*written)
    return Indexed(indexed=len({frame.key for frame in frames}) - len(failures), people=people, failures=failures)


@router.post("/search", responses={**PICTURE_FAILURES, **_failures(404)}, tags=["gallery"])
async def search(
    service: TheService,
    image: Annotated[UploadFile | None, File(description="The probe's picture")] = None,
    box: Annotated[
        str | None,
        Form(max_length=100, description="Where the probe is: x1,y1,x2,y2 in pixels", examples=["240,63,320,231"]),
    ] = None,
    box_xywh: Annotated[
        str | None,
        Form(max_length=100, description="Or: the same box as x,y,w,h", examples=["240,63,80,168"]),
    ] = None,
    point: Annotated[
        str | None,
        Form(max_length=100, description="Or: x,y, and the probe is the person nearest to it", examples=["280,140"]),
    ] = None,
    embedding: Annotated[
        str | None, Form(description="Instead of a picture: JSON, the probe's embedding, as POST /embed gives it")
    ] = None,
    top: Annotated[int, Form(ge=1, le=MOST_MATCHES, description="How many matches")] = 10,
    where: Annotated[
        str | None,
        Form(
            max_length=300,
            description="Conditions that matches fulfil, with commas between them",
            examples=["camera=3,time>=10"],
        ),
    ] = None,
    include_own: Annotated[
        bool, Form(description="Whether people of the probe's own picture, known by its content, are matches, too")
    ] = False,
) -> Matches:
    """Find a person in the gallery. Without box and point, the probe is the largest person of the picture.

    The people of the probe's own picture are left out, if it is in the gallery: it would only find itself.
    """
    gallery = service.gallery
    conditions = parse_filter(where) if where and where.strip() else None
    place, field = read_where(box, box_xywh, point)
    if (image is None) == (embedding is None):
        raise Refusal(400, "A probe is expected: either an image or an embedding.", "field")
    if image is None:
        probe, vector, own = None, read_embedding(embedding or "", gallery.space.embedding), None
    else:
        own = None if include_own else await asyncio.to_thread(_sha256, image.file)
        given = np.array([place], np.float32) if place is not None and len(place) == 4 else None
        job = Job(_loader(service, image), lambda _, people: _probe(people, place, field), given)
        probe, vector = await service.run(job)
    found, people = await asyncio.gather(
        asyncio.to_thread(similar_people, gallery, vector, own=own, top=top, where=conditions),
        asyncio.to_thread(gallery.count),
    )
    matches = [_match(rank, person) for rank, person in enumerate(found, 1)]
    return Matches(probe=probe, people=people, matches=matches)


@router.get(
    "/people/{id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}, "description": "JPEG"}, **_failures(401, 404, 503)},
    tags=["gallery"],
)
async def thumbnail(service: TheService, person_id: Annotated[str, Path(alias="id", max_length=200)]) -> Response:
    """The picture of a person of the gallery."""
    person = await asyncio.to_thread(service.gallery.person, person_id)
    if person is None or not person.thumbnail:
        raise Refusal(404, "There is no thumbnail of such a person in the gallery.", "unknown")
    return Response(person.thumbnail, media_type="image/jpeg")  # no browser keeps it: who is forgotten is to be gone


@router.get("/healthz", responses=_failures(503), tags=["service"])
async def healthz(service: TheService, request: Request) -> Health:
    """Whether the service is up, and what it serves. Needs no key; with it, also how much the gallery holds."""
    search, told = service.search, service.has_gallery and request.scope[KNOWN]
    return Health(
        version=__version__,
        preset=search.bundle.manifest.preset,
        mode=search.mode,
        backend=search.runtime.backend,
        device=search.runtime.device,
        has_gallery=service.has_gallery,
        gallery=await asyncio.to_thread(service.size) if told else None,
        key_needed=service.key_needed,
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}, **_failures(401, 503)},
    tags=["service"],
)
async def metrics(service: TheService) -> Response:
    """Counters for Prometheus."""
    if service.has_gallery:
        size = await asyncio.to_thread(service.size)
        service.metrics.set_gallery(size.people, size.frames)
    return Response(service.metrics.text(), media_type=service.metrics.content_type)


def _loader(service: Service, upload: UploadFile) -> Callable[[], Image]:
    def load() -> Image:
        return decode_upload(_read(upload.file), file_name(upload.filename), service.limits.pixels)

    return load


def _writer(service: Service, frame: Frame) -> Callable[[Image, People], tuple[int, Future[None]]]:
    """Stores the people of a frame, and gives their number and when it is done."""

    def write(image: Image, people: People) -> tuple[int, Future[None]]:
        return len(people), service.write(entry_of(image, frame, people))

    return write


def _probe(people: People, place: Where, field: PlaceField | None) -> tuple[ProbePerson, Floats]:
    if not len(people):
        raise Refusal(400, "Nobody was detected in the picture. Send the probe's box: x1,y1,x2,y2 in pixels.", "nobody")
    row = 0 if place is not None and len(place) == 4 else pick_person(people, place)
    probe = ProbePerson(box=people.boxes[row].tolist(), score=float(people.scores[row]), given_by=field or "largest")
    return probe, people.embeddings[row]


def _match(rank: int, person: Person) -> Match:
    return Match(
        rank=rank,
        likeness=round(person.likeness or 0.0, 6),
        id=person.id,
        source=person.source,
        number=person.number,
        camera=person.camera,
        time=person.time,
        box=[round(float(value), 2) for value in person.box],
        score=round(person.score, 6),
        thumbnail=f"/people/{quote(person.id, safe='')}/thumbnail" if person.thumbnail else None,
    )


def _json(schema: type[BaseModel], value: object) -> Response:
    """Checked and written in the dispatcher's thread: a crowd's embeddings take a while."""
    return Response(schema.model_validate(value).model_dump_json(), media_type="application/json")


def _sha256(file: BinaryIO) -> str:
    return hashlib.sha256(_read(file)).hexdigest()


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
