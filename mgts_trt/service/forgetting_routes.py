"""Routes that forget a person, what a camera saw or a time, and that let a source in again."""

import asyncio
import math
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, UploadFile

from mgts_trt.evaluation.likeness import Likeness, least_cosine
from mgts_trt.gallery import Gallery, Person
from mgts_trt.gallery.choosing import Choice, choose, shown
from mgts_trt.gallery.choosing import Chosen as Found
from mgts_trt.gallery.forgetting import lift
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.sighting import Sighting
from mgts_trt.service.auditing import Deed, TheDeed
from mgts_trt.service.browsing import about
from mgts_trt.service.core import Service
from mgts_trt.service.fields import read_places
from mgts_trt.service.identity import CALLER
from mgts_trt.service.limits import MOST_MATCHES, MOST_PROBES
from mgts_trt.service.probes import Asked, find, vectors
from mgts_trt.service.refusal import Refusal
from mgts_trt.service.routing import PICTURE_FAILURES, TheService, failures
from mgts_trt.service.schemas import Chosen, Leaving, Recalled, SeenSighting
from mgts_trt.service.searching import SEVERAL, ShortText, hashes_of
from mgts_trt.service.sighting_routes import about_sighting, best_of

router = APIRouter()


@router.post("/forget", responses={**PICTURE_FAILURES, **failures(404, 409)}, tags=["gallery"])
async def forget(
    service: TheService,
    deed: TheDeed,
    request: Request,
    image: Annotated[
        list[UploadFile] | None,
        File(max_length=MOST_PROBES, description=f"A picture of the person.{SEVERAL} of one person"),
    ] = None,
    box: Annotated[
        list[ShortText] | None,
        Form(max_length=MOST_PROBES, description="Where they are in it: x1,y1,x2,y2 in pixels, as in POST /search"),
    ] = None,
    box_xywh: Annotated[
        list[ShortText] | None, Form(max_length=MOST_PROBES, description="Or: the same box as x,y,w,h")
    ] = None,
    point: Annotated[
        list[ShortText] | None, Form(max_length=MOST_PROBES, description="Or: x,y, for the person nearest to it")
    ] = None,
    embedding: Annotated[
        list[str] | None,
        Form(max_length=MOST_PROBES, description=f"Or: JSON, their embedding, as POST /embed gives it.{SEVERAL}"),
    ] = None,
    person: Annotated[
        list[ShortText] | None,
        Form(max_length=MOST_PROBES, description=f"Or: the id of somebody in the gallery, or of a sighting.{SEVERAL}"),
    ] = None,
    likeness: Annotated[
        float | None, Form(description="With a person: whoever is at least so alike", examples=[0.7])
    ] = None,
    far: Annotated[
        float | None,
        Form(description="Or: so alike that this share of pairs of different people is as much", examples=[0.0001]),
    ] = None,
    camera: Annotated[str | None, Form(max_length=1024, description="Whoever this camera saw")] = None,
    since: Annotated[float | None, Form(description="Whoever was seen then or later, Unix seconds")] = None,
    until: Annotated[float | None, Form(description="Whoever was seen then or before, Unix seconds")] = None,
    source: Annotated[str | None, Form(max_length=4096, description="In this source alone")] = None,
    dry_run: Annotated[bool, Form(description="Tell who would go, and change nothing")] = True,
    expected: Annotated[
        int | None,
        Form(ge=0, description="What people was when they were looked at; if it is another by now, 409, and nothing"),
    ] = None,
) -> Chosen:
    """Forget a person, what a camera saw, or a time; of several, all must hold. At first, it only tells who would go.

    Who was followed goes as a whole. Frames of a person count as searched; of a camera or a time, files that lie whole
    within stay out. What takes longer than a request may goes on all the same.
    """
    gallery = service.gallery
    asked = Asked(
        image or (),
        read_places(len(image or ()), box=box, box_xywh=box_xywh, point=point),
        [each for each in person or () if each],
        [each for each in embedding or () if each],
    )
    deed.more["dry_run"] = dry_run
    least = _least(service, asked, likeness, far)
    deed.probes = await asyncio.to_thread(hashes_of, asked)
    choice = Choice(await _question(service, asked), least, camera or None, since, until, source or None)
    _note(deed, choice, asked)
    chosen = await asyncio.to_thread(choose, gallery, choice)
    deed.rows = chosen.people
    if dry_run:
        may_look = request.scope[CALLER].may("search")
        leaving = await asyncio.to_thread(_leaving, gallery, chosen) if may_look else []
        return _told(chosen, leaving, dry_run=True)
    if expected is not None and expected != chosen.people:
        raise Refusal(
            409, f"It would be {chosen.people} by now, and {expected} were looked at. Look again who it is.", "changed"
        )
    await deed.tell("chosen")
    erased = await asyncio.to_thread(service.forget_chosen, chosen)
    deed.rows = erased.people
    return _told(chosen, [], dry_run=False)


@router.post("/recall", responses=failures(400, 401, 404, 408, 429, 503, 504), tags=["gallery"])
async def recall(
    service: TheService,
    deed: TheDeed,
    source: Annotated[str | None, Query(max_length=4096, description="Its name, as it was in the gallery")] = None,
    sha256: Annotated[
        str | None,
        Query(pattern="^[0-9a-f]{64}$", description="Or: of its file, as of a picture that came over HTTP"),
    ] = None,
) -> Recalled:
    """Let a source in again that was forgotten. What it brought has gone; it is to be indexed anew."""
    if sha256:
        deed.subjects["sha256"] = [sha256]
    if not source and not sha256:
        raise Refusal(400, "A source is expected, by its name or by the SHA-256 of its file.", "field")
    deed.rows = await asyncio.to_thread(lift, service.gallery, [source] if source else [], sha256 or "")
    if not deed.rows:
        raise Refusal(404, "The gallery was not told to forget such a source.", "unknown")
    return Recalled(recalled=deed.rows)


def _least(service: Service, asked: Asked, likeness: float | None, far: float | None) -> float | None:
    """From which likeness on somebody is the person.

    Raises:
        Refusal: 400, both or neither are told, or they are told of nobody.
        QueryError: See `least_cosine`.
    """
    if not len(asked):
        if (likeness, far) != (None, None):
            raise Refusal(400, "likeness and far tell how alike to a person, and none is named.", "field")
        return None
    if (likeness is None) == (far is None) or not math.isfinite(likeness or 0.0):
        raise Refusal(400, "From which likeness on is it the person? Send likeness or far, one of them.", "field")
    if far is None:
        return likeness
    return least_cosine(Likeness.of(service.search.bundle, service.search.mode), far, service.search.mode)


async def _question(service: Service, asked: Asked) -> Question | None:
    if not len(asked):
        return None
    length = service.gallery.space.embedding
    return Question(vectors(await find(service, asked, frames=False, include_own=True), length), vectors([], length))


def _note(deed: Deed, choice: Choice, asked: Asked) -> None:
    """What the log has of it."""
    named: dict[str, list[str | None]] = {"camera": [choice.camera], "source": [choice.source]}
    named["person"] = list(asked.people)
    deed.subjects |= {name: kept for name, of in named.items() if (kept := [each for each in of if each])}
    more = {"likeness": choice.least, "since": choice.since, "until": choice.until}
    deed.more |= {name: value for name, value in more.items() if value is not None}


def _told(chosen: Found, leaving: list[Leaving], *, dry_run: bool) -> Chosen:
    return Chosen(
        dry_run=dry_run,
        people=chosen.people,
        sightings=chosen.sightings,
        photos=chosen.photos,
        timeless=chosen.timeless,
        files=sum(bool(each.contents) for each in chosen.keep_out),
        leaving=leaving,
    )


def _leaving(gallery: Gallery, chosen: Found) -> list[Leaving]:
    found = shown(gallery, chosen, MOST_MATCHES)
    best = best_of(gallery, [each for each in found if isinstance(each, Sighting)])
    leaving = list[Leaving]()
    for each in found:
        likeness = None if each.likeness is None else round(each.likeness, 6)
        if isinstance(each, Person):
            leaving.append(Leaving(**about(each), likeness=likeness, sighting=None))
        elif person := next((best[name] for name in each.best if name in best), None):
            seen = SeenSighting(**about_sighting(each, best))
            leaving.append(Leaving(**about(person), likeness=likeness, sighting=seen))
    return leaving
