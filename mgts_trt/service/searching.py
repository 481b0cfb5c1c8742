"""The route that ranks the gallery."""

import asyncio
from typing import Annotated

import numpy as np
from fastapi import APIRouter, File, Form, UploadFile

from mgts_trt._typing import Floats
from mgts_trt.gallery import Person
from mgts_trt.gallery.browse import person_with_embedding
from mgts_trt.gallery.filters import Condition, Filter
from mgts_trt.gallery.indexing.sources import is_video
from mgts_trt.gallery.probe import Where, pick_person
from mgts_trt.gallery.ranking import similar_people
from mgts_trt.runtime.people import People
from mgts_trt.service.browsing import about
from mgts_trt.service.core import Service
from mgts_trt.service.dispatcher import Job
from mgts_trt.service.fields import PlaceField, read_embedding, read_filter, read_where
from mgts_trt.service.limits import MOST_MATCHES
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.routing import PICTURE_FAILURES, TheService, failures
from mgts_trt.service.schemas import Match, Matches, ProbePerson
from mgts_trt.service.uploads import loader, sha256_of

router = APIRouter()


@router.post("/search", responses={**PICTURE_FAILURES, **failures(404)}, tags=["gallery"])
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
    own: Annotated[
        str | None,
        Form(max_length=64, description="With embedding: SHA-256 of the picture whose people are left out"),
    ] = None,
    person: Annotated[
        str | None, Form(max_length=200, description="Instead of a picture: the id of somebody in the gallery")
    ] = None,
    top: Annotated[int, Form(ge=1, le=MOST_MATCHES, description="How many matches")] = 10,
    camera: Annotated[str | None, Form(max_length=1024, description="Matches of this camera alone")] = None,
    since: Annotated[float | None, Form(description="Matches of this time or later, in seconds")] = None,
    until: Annotated[float | None, Form(description="Matches of this time or earlier, in seconds")] = None,
    where: Annotated[
        str | None,
        Form(
            max_length=300,
            description="Further conditions that matches fulfil, with commas between them",
            examples=["camera=3,time>=10"],
        ),
    ] = None,
    include_own: Annotated[
        bool, Form(description="Whether people of the probe's own picture, known by its content, are matches, too")
    ] = False,
) -> Matches:
    """Find a person in the gallery. Without box and point, the probe is the largest person of the picture.

    The people of the probe's own picture are left out, if it is in the gallery: it would only find itself. Of somebody
    in the gallery that is the picture they were seen in, of a video the frame.
    """
    gallery = service.gallery
    conditions = read_filter(where, camera=camera, since=since, until=until)
    place, field = read_where(box, box_xywh, point)
    if sum(each is not None for each in (image, embedding, person)) != 1:
        raise Refusal(400, "A probe is expected: either an image, an embedding, or a person of the gallery.", "field")
    probe: ProbePerson | None = None
    if image is not None:
        own = await asyncio.to_thread(sha256_of, image)
        given = np.array([place], np.float32) if place is not None and len(place) == 4 else None
        job = Job(
            loader(image, service.limits.pixels),
            lambda _, people: _of_picture(people, place, field, None if include_own else own),
            given,
        )
        searched = await service.run(job)
        probe, vector = searched
    elif person is not None:
        known, vector, conditions = await asyncio.to_thread(_of_gallery, service, person, conditions, include_own)
        probe, own = known, known.own
    else:
        vector = read_embedding(embedding or "", gallery.space.embedding)
    found, people = await asyncio.gather(
        asyncio.to_thread(
            similar_people, gallery, vector, own=None if include_own else own or None, top=top, where=conditions
        ),
        asyncio.to_thread(gallery.count),
    )
    matches = [
        Match(rank=rank, likeness=round(match.likeness or 0.0, 6), **about(match))
        for rank, match in enumerate(found, 1)
    ]
    return Matches(probe=probe, people=people, matches=matches)


def _of_picture(people: People, place: Where, field: PlaceField | None, own: str | None) -> tuple[ProbePerson, Floats]:
    if not len(people):
        raise Refusal(400, "Nobody was detected in the picture. Send the probe's box: x1,y1,x2,y2 in pixels.", "nobody")
    row = 0 if place is not None and len(place) == 4 else pick_person(people, place)
    vector = people.embeddings[row]
    probe = ProbePerson(
        box=people.boxes[row].tolist(),
        score=float(people.scores[row]),
        given_by=field or "largest",
        embedding=vector.tolist(),
        own=own,
    )
    return probe, vector


def _of_gallery(
    service: Service, person_id: str, conditions: Filter | None, include_own: bool
) -> tuple[ProbePerson, Floats, Filter | None]:
    found = person_with_embedding(service.gallery, person_id)
    if found is None:
        raise Refusal(404, "There is no such person in the gallery; perhaps their source was forgotten.", "unknown")
    person, vector = found
    own = None
    if not include_own:
        if person.sha256 and not is_video(person.source):
            own = person.sha256
        else:
            conditions = Filter((*(conditions.conditions if conditions else ()), _not_of_frame(person)))
    probe = ProbePerson(
        box=person.box.tolist(), score=person.score, given_by="person", embedding=vector.tolist(), own=own
    )
    return probe, vector, conditions


def _not_of_frame(person: Person) -> Condition:
    return Condition("frame", "!=", person.id.rpartition("-")[0])
