"""Routes: detection, embeddings, indexing, and what tells about the service."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel

from mgts_trt._typing import Image
from mgts_trt.errors import ImageError
from mgts_trt.gallery import Frame, Space, entry_of
from mgts_trt.gallery.corrections import correct
from mgts_trt.runtime.people import People
from mgts_trt.service.auditing import TheDeed
from mgts_trt.service.core import Service
from mgts_trt.service.dispatcher import Job
from mgts_trt.service.fields import file_name, read_boxes, read_name
from mgts_trt.service.guard import KNOWN
from mgts_trt.service.refusal import Refusal, answer
from mgts_trt.service.routing import PICTURE_FAILURES, Picture, TheService, failures
from mgts_trt.service.schemas import Detection, Embedding, FailedFile, Health, Indexed, Ready
from mgts_trt.service.uploads import loader, sha256_of
from mgts_trt.version import __version__

router = APIRouter()


@router.post("/detect", response_model=Detection, responses=PICTURE_FAILURES, tags=["people"])
async def detect(service: TheService, image: Picture) -> Response:
    """Find the people in a picture."""
    return await service.run(
        Job(loader(image, service.limits.pixels), lambda _, people: _json(Detection, people.to_dict()))
    )


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
    job = Job(loader(image, service.limits.pixels), lambda _, people: _json(Embedding, people.to_dict()), given)
    return await service.run(job)


@router.post("/index", responses={**PICTURE_FAILURES, **failures(404, 409)}, tags=["gallery"])
async def index(
    service: TheService,
    deed: TheDeed,
    images: Annotated[list[UploadFile], File(min_length=1, description="One or several pictures")],
    camera: Annotated[str | None, Form(description="Name of the camera that took them", examples=["3"])] = None,
    time: Annotated[float | None, Form(description="When, in seconds", examples=[1542988800.0])] = None,
    source: Annotated[
        str | None, Form(description="Where they come from, to be shown with matches; by default each file's name")
    ] = None,
) -> Indexed:
    """Add the people of pictures to the gallery.

    A picture that is there already is not searched again; it takes the camera and time that are told now.
    """
    if len(images) > service.limits.files:
        raise Refusal(
            413, f"{len(images)} pictures were sent, but at most {service.limits.files} are taken at a time.", "files"
        )
    if time is not None and not math.isfinite(time):
        raise Refusal(400, "The form field time must be a finite number of seconds.", "field")
    camera, source = read_name(camera, "camera"), read_name(source, "source")
    gallery = service.gallery
    names = [file_name(image.filename) for image in images]
    hashes = await asyncio.to_thread(lambda: [sha256_of(image) for image in images])
    deed.subjects["source"] = sorted({source} if source else set(names))
    frames = [Frame(source or name, 0, sha256, time, camera) for name, sha256 in zip(names, hashes, strict=True)]
    if any(gallery.place.tombstones.cover(frame.source, frame.sha256) for frame in frames):
        raise Refusal(409, "Somebody asked for one of these pictures to be forgotten, so it is not taken.", "forgotten")
    done = await asyncio.to_thread(gallery.done, {frame.key for frame in frames})
    await asyncio.to_thread(correct, gallery, [frame for frame in frames if frame.key in done])

    # A picture sent twice is searched once.
    fresh = {frame.key: (image, frame) for image, frame in zip(images, frames, strict=True) if frame.key not in done}
    jobs = [Job(loader(image, service.limits.pixels), _writer(service, frame)) for image, frame in fresh.values()]
    failed: list[FailedFile] = []
    people, written = 0, []
    results = await service.run_all(jobs)
    for (image, _), result in zip(fresh.values(), results, strict=True):
        if isinstance(result, Refusal | ImageError):
            sentence = result.detail if isinstance(result, Refusal) else str(result)
            failed.append(FailedFile(file=file_name(image.filename), error=sentence))
        elif isinstance(result, BaseException):
            raise result
        else:
            people += result[0]
            written.append(asyncio.wrap_future(result[1]))
    await asyncio.gather(*written)
    deed.rows = people
    return Indexed(indexed=len({frame.key for frame in frames}) - len(failed), people=people, failures=failed)


@router.get("/healthz", responses=failures(503), tags=["service"])
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
        space=_space(service.gallery.space) if service.has_gallery else None,
        key_needed=service.key_needed,
    )


@router.get("/readyz", response_model=Ready, responses=failures(503), tags=["service"])
async def readyz(service: TheService) -> Response:
    """Whether the pipeline is warm: pictures that come before wait for it. Needs no key."""
    why_not = service.readiness.why_not
    # No refusal, which would be counted as a request that was turned away.
    return answer(503, why_not, {"Retry-After": "1"}) if why_not else _json(Ready, {})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}, **failures(401, 503)},
    tags=["service"],
)
async def metrics(service: TheService) -> Response:
    """Counters for Prometheus."""
    if service.has_gallery:
        size = await asyncio.to_thread(service.size)
        service.metrics.set_gallery(size.people, size.frames)
    return Response(service.metrics.text(), media_type=service.metrics.content_type)


def _writer(service: Service, frame: Frame) -> Callable[[Image, People], tuple[int, Future[None]]]:
    """Stores the people of a frame, and gives their number and when it is done."""

    def write(image: Image, people: People) -> tuple[int, Future[None]]:
        return len(people), service.write(entry_of(image, frame, people))

    return write


def _json(schema: type[BaseModel], value: object) -> Response:
    """Checked and written in the dispatcher's thread: a crowd's embeddings take a while."""
    return Response(schema.model_validate(value).model_dump_json(), media_type="application/json")


def _space(space: Space) -> str:
    return f"{space.preset}/{space.mode}/{space.weights[:12]}"
