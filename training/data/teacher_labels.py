"""What a teacher sees as labels: people it is sure of, regions of doubt, and things, in the form of `boxes.json`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import ImageError
from mgts_trt.pictures.image import read_image
from training.data.annotated import xywh_to_xyxy
from training.data.scene import IGNORED_COVER
from training.data.teacher import CATEGORIES, PERSON, Sightings, ious

SURE = 0.58
"""Score from which a person counts. Measured for YOLOX-nano, each picture and its mirror, on 130 training photos of
`coco_person` and 80 of `inria_person`: a precision of .92 at IoU ½, and .54 of the people are found."""

SURE_IN_TILES = 0.68
"""The same where people who are small are looked for in tiles: a precision of .90, and .57 of the people are found."""

DOUBTFUL = 0.15
"""Score from which somebody who does not count is a region to ignore where others count: .81 of the people score more,
and of what scores between this and `SURE` .4 are people."""

NOBODY = 0.3
"""A picture where nobody scores so much shows nobody, and nothing in it is ignored: in each of the 210 photos somebody
scores more than .45, and what the teacher doubts in photos without people is what a student must learn to refuse."""

THING = 0.5
"""Score from which something else than a person counts."""

_IN_ITS_PLACE = 0.7
"""Whose box is another thing's by this IoU, and who scores at most half as much again, is doubtful: by eye, a dog in a
pullover. Of the 210 photos' people none is so."""

_KNOWN = 0.3
"""A sighting that overlaps a person labelled by hand by this IoU is that person."""

Entry = dict[str, Any]
"""One picture of `boxes.json`, as JSON has it."""


class Looks(Protocol):
    """Whoever sees people and things in a picture."""

    def look(self, image: Image) -> Sightings:
        """Everything in a picture, uint8 [H, W, 3], RGB."""
        ...


def labelled(
    teacher: Looks,
    files: Iterable[Path],
    names: Mapping[Path, str],
    sure: float,
    on_unread: Callable[[str], None] = lambda _: None,
) -> Iterator[Entry]:
    """Labels of pictures, one by one, as the teacher sees them.

    Args:
        teacher: Who looks.
        files: Pictures.
        names: What each file is to be called.
        sure: As for `label`.
        on_unread: Is told of a file that cannot be read, which costs that file alone.
    """
    for file in files:
        try:
            image = read_image(file)
        except ImageError as error:
            on_unread(str(error))
            continue
        height, width = image.shape[:2]
        yield {"file": names[file], "width": width, "height": height, **label(teacher.look(image), sure)}


def label(seen: Sightings, sure: float = SURE) -> Entry:
    """The people, the regions to ignore and the things in one picture.

    Args:
        seen: What the teacher sees.
        sure: Score from which a person counts.
    """
    seen = seen[(seen.boxes[:, 2:] - seen.boxes[:, :2] >= 1).all(1)]
    people, things = seen[seen.classes == PERSON], seen[(seen.classes != PERSON) & (seen.scores >= THING)]
    least = DOUBTFUL if people.scores.max(initial=0) >= NOBODY else 1.0
    in_place = (ious(people.boxes, things.boxes) >= _IN_ITS_PLACE) & (people.scores[:, None] <= 1.5 * things.scores)
    counts = (people.scores >= sure) & ~in_place.any(1)
    certain, doubtful = people[counts], people[~counts & (people.scores >= least)]
    return {
        "persons": [
            {"bbox": _xywh(box), "score": round(float(score), 3)}
            for box, score in zip(certain.boxes, certain.scores, strict=True)
        ],
        "ignore": [_xywh(box) for box in doubtful.boxes],
        "others": [
            {"category": CATEGORIES[number], "bbox": _xywh(box), "score": round(float(score), 3)}
            for box, score, number in zip(things.boxes, things.scores, things.classes, strict=True)
        ],
    }


def completed(by_hand: Entry, taught: Entry) -> Entry:
    """Labels made by hand, and as regions to ignore whoever they lack and the teacher is sure of.

    What lies half in a region that is ignored already is passed over. All else in `by_hand` stays as it is.
    """
    people = _boxes([person["bbox"] for person in by_hand["persons"]])
    ignored = _boxes(by_hand.get("ignore", []))
    found = _boxes([person["bbox"] for person in taught["persons"]])
    known = (ious(found, people) >= _KNOWN).any(1) | (_covered(found, ignored) >= IGNORED_COVER).any(1)
    more = [person["bbox"] for person, old in zip(taught["persons"], known, strict=True) if not old]
    return {**by_hand, "ignore": [*by_hand.get("ignore", []), *more]}


def _xywh(box: Floats) -> list[float]:
    left, top, right, bottom = (float(value) for value in box)
    return [round(left, 1), round(top, 1), round(right - left, 1), round(bottom - top, 1)]


def _boxes(boxes: list[list[float]]) -> Floats:
    return xywh_to_xyxy(np.array(boxes))


def _covered(boxes: Floats, regions: Floats) -> Floats:
    """Which share of each box lies in each region, [N, M]."""
    low, high = np.maximum(boxes[:, None, :2], regions[:, :2]), np.minimum(boxes[:, None, 2:], regions[:, 2:])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    covered: Floats = np.clip(high - low, 0, None).prod(2) / np.maximum(areas, 1e-6)[:, None]
    return covered
