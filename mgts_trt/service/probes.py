"""Whom a search is for, and whom it is not for: pictures, people of the gallery, embeddings, several of each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from fastapi import UploadFile

from mgts_trt._typing import Floats
from mgts_trt.errors import ImageError
from mgts_trt.gallery import Person
from mgts_trt.gallery.browse import person_with_embedding
from mgts_trt.gallery.filters import Condition
from mgts_trt.gallery.indexing.sources import is_video
from mgts_trt.gallery.lookup import people_by_id, sighting_of
from mgts_trt.gallery.probe import Where, pick_person
from mgts_trt.gallery.sighting import Sighting, is_sighting_id
from mgts_trt.gallery.sightings import sighting
from mgts_trt.runtime.people import People
from mgts_trt.service.core import Service
from mgts_trt.service.dispatcher import Job
from mgts_trt.service.fields import PlaceField, read_embedding
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.schemas import ProbePerson
from mgts_trt.service.uploads import loader, sha256_of


@dataclass(frozen=True)
class Asked:
    """What a request names.

    Attributes:
        images: Pictures, one person each.
        places: Where the person is in each, and which field says so.
        people: Ids of people or sightings of the gallery.
        embeddings: JSON.
    """

    images: Sequence[UploadFile]
    places: Sequence[tuple[Where, PlaceField | None]]
    people: Sequence[str]
    embeddings: Sequence[str]

    def __len__(self) -> int:
        return len(self.images) + len(self.people) + len(self.embeddings)


class Known(NamedTuple):
    """One that was found."""

    person: ProbePerson | None
    """None of an embedding."""
    vector: Floats
    """float32 [d], of length 1."""
    own: tuple[Condition, ...]
    """What leaves out where it was seen itself."""


async def find(service: Service, asked: Asked, *, frames: bool, include_own: bool = False) -> list[Known]:
    """All that a request names: pictures first, then people of the gallery, then embeddings.

    Args:
        service: Searches pictures.
        asked: What is named.
        frames: Whether single frames are to be found, instead of sightings.
        include_own: Whether `own` leaves out nobody.

    Raises:
        Refusal: 400, nobody is in a picture, or an embedding is none; 404, the gallery has no such person.
        ImageError: A picture is none, or its box lies outside.
    """
    own = [None if include_own else await asyncio.to_thread(sha256_of, image) for image in asked.images]
    jobs = [
        _job(service, image, place, field, sha256)
        for image, (place, field), sha256 in zip(asked.images, asked.places, own, strict=True)
    ]
    embeddings = [Known(None, read_embedding(each, service.gallery.space.embedding), ()) for each in asked.embeddings]
    people = [await asyncio.to_thread(_of_gallery, service, each, frames, include_own) for each in asked.people]
    return [*await _pictures(service, jobs), *people, *embeddings]


async def _pictures(service: Service, jobs: list[Job[Known]]) -> list[Known]:
    if len(jobs) == 1:
        return [await service.run(jobs[0])]  # a wait that is given up drops the picture
    found = list[Known]()
    results = await service.run_all(jobs)
    for number, result in enumerate(results, 1):
        match result:
            case Refusal():
                sentence = f"Picture {number} of {len(jobs)}: {result.detail}"
                raise Refusal(result.status_code, sentence, result.reason)
            case ImageError():
                raise type(result)(f"Picture {number} of {len(jobs)}: {result}")
            case BaseException():
                raise result
            case _:
                found.append(result)
    return found


def vectors(found: Sequence[Known], length: int) -> Floats:
    """Their embeddings, float32 [N, length]."""
    return np.array([each.vector for each in found], np.float32).reshape(-1, length)


def _job(service: Service, image: UploadFile, place: Where, field: PlaceField | None, own: str | None) -> Job[Known]:
    given = np.array([place], np.float32) if place is not None and len(place) == 4 else None
    load = loader(image, service.limits.pixels)
    return Job(load, lambda _, people: _of_picture(people, place, field, own), given)


def _of_picture(people: People, place: Where, field: PlaceField | None, own: str | None) -> Known:
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
    return Known(probe, vector, () if own is None else (Condition("sha256", "!=", own),))


def _of_gallery(service: Service, its_id: str, frames: bool, include_own: bool) -> Known:
    gallery = service.gallery
    if is_sighting_id(its_id):
        seen = sighting(gallery, its_id)
        best = people_by_id(gallery, seen.best[:1]) if seen else {}
        if seen is None or not best:
            raise Refusal(404, "There is no such sighting in the gallery; perhaps its source was forgotten.", "unknown")
        (person,), vector = best.values(), seen.embedding
        own = () if include_own else _own_of_sighting(seen, frames)
    else:
        found = person_with_embedding(gallery, its_id)
        if found is None:
            raise Refusal(404, "There is no such person in the gallery; perhaps their source was forgotten.", "unknown")
        person, vector = found
        followed = None if frames else sighting_of(gallery, its_id)
        own = () if include_own else _own_of_person(person, followed, frames)
    sha256 = next((str(each.value) for each in own if each.field == "sha256"), None)
    probe = ProbePerson(
        box=person.box.tolist(), score=person.score, given_by="person", embedding=vector.tolist(), own=sha256
    )
    return Known(probe, vector, own)


def _own_of_sighting(seen: Sighting, frames: bool) -> tuple[Condition, ...]:
    if not frames:
        return (Condition("id", "!=", seen.id),)
    return tuple(Condition("frame", "!=", _frame_of(person)) for person in seen.best)


def _own_of_person(person: Person, followed: str | None, frames: bool) -> tuple[Condition, ...]:
    if person.sha256 and not is_video(person.source):
        return (Condition("sha256", "!=", person.sha256),)
    # Sightings have no column of frames.
    return (
        (Condition("frame", "!=", _frame_of(person.id)),) if frames else (Condition("id", "!=", followed or person.id),)
    )


def _frame_of(person_id: str) -> str:
    return person_id.rpartition("-")[0]
