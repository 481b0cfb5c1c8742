"""The route that ranks the gallery."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from pydantic import Field

from mgts_trt.evaluation.likeness import Likeness, least_cosine
from mgts_trt.gallery import Gallery, Person
from mgts_trt.gallery.asking import ask
from mgts_trt.gallery.filters import Condition, Filter
from mgts_trt.gallery.lookup import holds_sightings
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.service.auditing import TheDeed
from mgts_trt.service.browsing import about
from mgts_trt.service.fields import read_filter, read_places
from mgts_trt.service.limits import FURTHEST_MATCH, MOST_MATCHES, MOST_PROBES
from mgts_trt.service.probes import Asked, find, vectors
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.routing import PICTURE_FAILURES, TheService, failures
from mgts_trt.service.schemas import Calibration, Match, Matches, SeenSighting
from mgts_trt.service.sighting_routes import about_sighting, best_of
from mgts_trt.service.uploads import sha256_of

router = APIRouter()

ShortText = Annotated[str, Field(max_length=200)]
SEVERAL = f" Up to {MOST_PROBES}"


@router.post("/search", responses={**PICTURE_FAILURES, **failures(404)}, tags=["gallery"])
async def search(
    service: TheService,
    deed: TheDeed,
    image: Annotated[
        list[UploadFile] | None,
        File(max_length=MOST_PROBES, description=f"The probe's picture.{SEVERAL} of one person"),
    ] = None,
    box: Annotated[
        list[ShortText] | None,
        Form(
            max_length=MOST_PROBES,
            description="Where the probe is: x1,y1,x2,y2 in pixels. Of several pictures, one each in their order; "
            "empty for one without",
            examples=["240,63,320,231"],
        ),
    ] = None,
    box_xywh: Annotated[
        list[ShortText] | None,
        Form(max_length=MOST_PROBES, description="Or: the same box as x,y,w,h", examples=["240,63,80,168"]),
    ] = None,
    point: Annotated[
        list[ShortText] | None,
        Form(
            max_length=MOST_PROBES,
            description="Or: x,y, and the probe is the person nearest to it",
            examples=["280,140"],
        ),
    ] = None,
    embedding: Annotated[
        list[str] | None,
        Form(
            max_length=MOST_PROBES,
            description=f"Instead of a picture, or beside it: JSON, an embedding of the probe, as POST /embed gives it."
            f"{SEVERAL}",
        ),
    ] = None,
    own: Annotated[
        list[ShortText] | None,
        Form(max_length=MOST_PROBES, description="With embedding: SHA-256 of pictures whose people are left out"),
    ] = None,
    person: Annotated[
        list[ShortText] | None,
        Form(
            max_length=MOST_PROBES,
            description=f"Or: the id of somebody in the gallery, or of a sighting.{SEVERAL}",
        ),
    ] = None,
    not_image: Annotated[
        list[UploadFile] | None,
        File(max_length=MOST_PROBES, description=f"A picture of somebody else, who is not meant.{SEVERAL}"),
    ] = None,
    not_box: Annotated[
        list[ShortText] | None,
        Form(max_length=MOST_PROBES, description="Where they are in it, as box; else the largest person is taken"),
    ] = None,
    not_embedding: Annotated[
        list[str] | None, Form(max_length=MOST_PROBES, description=f"Or their embedding.{SEVERAL}")
    ] = None,
    not_person: Annotated[
        list[ShortText] | None,
        Form(max_length=MOST_PROBES, description=f"Or the id of a person or sighting of the gallery.{SEVERAL}"),
    ] = None,
    top: Annotated[int, Form(ge=1, le=MOST_MATCHES, description="How many matches")] = 10,
    offset: Annotated[int, Form(ge=0, le=FURTHEST_MATCH, description="How many matches to pass over")] = 0,
    frames: Annotated[bool, Form(description="Find people of single frames, not sightings")] = False,
    rerank: Annotated[
        bool, Form(description="Put the first 100 into the order of their neighbours (k-reciprocal re-ranking)")
    ] = False,
    far: Annotated[
        float | None,
        Form(
            description="Only those so alike that this share of pairs of different people is as much; 400 where the "
            "bundle is not calibrated in this mode",
            examples=[0.001],
        ),
    ] = None,
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

    Of videos and streams sightings are found, each a person followed from when they came to when they left; of photos
    people. Several pictures, people and embeddings are taken for one person. The people of a probe's own picture are
    left out, if it is in the gallery: it would only find itself. Of somebody in the gallery that is the picture, the
    sighting, or of single frames the frame that they were seen in. The same holds for those who are not meant.
    """
    gallery = service.gallery
    conditions = read_filter(where, camera=camera, since=since, until=until)
    wanted = Asked(
        image or (),
        read_places(len(image or ()), box=box, box_xywh=box_xywh, point=point),
        _said(person),
        _said(embedding),
    )
    unwanted = Asked(
        not_image or (),
        read_places(len(not_image or ()), prefix="not_", box=not_box),
        _said(not_person),
        _said(not_embedding),
    )
    if not len(wanted):
        raise Refusal(400, "A probe is expected: an image, an embedding, or a person of the gallery.", "field")
    deed.probes = await asyncio.to_thread(hashes_of, wanted)
    if wanted.people:
        deed.subjects["person"] = list(wanted.people)
    likeness = Likeness.of(service.search.bundle, service.search.mode)
    least = None if far is None else least_cosine(likeness, far, service.search.mode)
    by_frames = frames or not await asyncio.to_thread(holds_sightings, gallery)
    probes = await find(service, wanted, frames=by_frames, include_own=include_own)
    negatives = await find(service, unwanted, frames=by_frames, include_own=include_own)
    left_out = [condition for each in (*probes, *negatives) for condition in each.own]
    left_out += [] if include_own else [Condition("sha256", "!=", each) for each in _said(own)]
    among = Filter((*(conditions.conditions if conditions else ()), *dict.fromkeys(left_out)))
    length = gallery.space.embedding

    def rank() -> list[Match]:
        found = ask(
            gallery,
            Question(vectors(probes, length), vectors(negatives, length)),
            top=offset + top + 1,
            where=among if among.conditions else None,
            frames=by_frames,
            again=rerank,
        )
        alike = [each for each in found if least is None or (each.likeness or 0.0) >= least]
        return _matches(gallery, alike[offset:], offset + 1, likeness)

    matches, people = await asyncio.gather(asyncio.to_thread(rank), asyncio.to_thread(gallery.count))
    persons = [each.person for each in probes if each.person is not None]
    deed.rows = len(matches[:top])
    return Matches(
        probe=next(iter(persons), None),
        probes=persons,
        people=people,
        kind="frames" if by_frames else "sightings",
        calibration=_calibration(likeness),
        more=len(matches) > top and offset + top <= FURTHEST_MATCH,
        matches=matches[:top],
    )


def hashes_of(asked: Asked) -> list[str]:
    """SHA-256 of the pictures and embeddings of the probe."""
    texts = [hashlib.sha256(each.encode()).hexdigest() for each in asked.embeddings]
    return [*map(sha256_of, asked.images), *texts]


def _said(values: Sequence[str] | None) -> list[str]:
    """A form's empty fields say nothing."""
    return [value for value in values or () if value]


def _matches(gallery: Gallery, found: Sequence[Sighting | Person], rank: int, likeness: Likeness | None) -> list[Match]:
    """Ranked from `rank` on. A sighting whose frames were forgotten meanwhile is none."""
    best = best_of(gallery, [each for each in found if isinstance(each, Sighting)])
    told = [(each, *_shown(each, best)) for each in found]
    alike = [(each.likeness or 0.0, person, seen) for each, person, seen in told if person is not None]
    return [
        Match(
            rank=place,
            likeness=round(cosine, 6),
            false_matches=None if likeness is None else float(f"{likeness.far(cosine):.2g}"),
            sighting=seen,
            **about(person),
        )
        for place, (cosine, person, seen) in enumerate(alike, rank)
    ]


def _shown(each: Sighting | Person, best: dict[str, Person]) -> tuple[Person | None, SeenSighting | None]:
    """Who stands for a match, and what is told of their sighting."""
    if isinstance(each, Person):
        return each, None
    seen = SeenSighting(**about_sighting(each, best))
    return next((best[person] for person in each.best if person in best), None), seen


def _calibration(likeness: Likeness | None) -> Calibration | None:
    if likeness is None:
        return None
    return Calibration(people=likeness.people, pairs=likeness.pairs, of=likeness.sets, least=likeness.least)
