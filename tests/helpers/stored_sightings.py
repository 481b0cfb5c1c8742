"""Sightings to store, as a video with two of them brings."""

import numpy as np

from mgts_trt.gallery import Entry, Frame, Sighting
from mgts_trt.gallery.sighting import sighting_id
from mgts_trt.gallery.tables import person_id
from tests.helpers.stored_people import people_with, unit


def followed(
    source: str, who: tuple[int, ...] = (1, 2), frames: int = 3, start: float = 0.0, **frame: object
) -> tuple[list[Entry], list[Sighting]]:
    """Frames in which each person is seen, one frame a second, and the sighting of each.

    Args:
        source: Its name; of a content that `sha256` tells.
        who: Seeds of the people's embeddings.
        frames: How many.
        start: When the first frame was taken.
        frame: What else there is to tell of frames.
    """
    told = {"sha256": "5" * 64, "camera": "1", **frame}
    people = people_with(np.concatenate([unit(each, rows=1) for each in who]))
    shown = [Frame(source, number, time=start + number, **told) for number in range(frames)]
    ids = [sighting_id(person_id(shown[0].key, i)) for i in range(len(who))]
    entries = [Entry(each, people, [b"jpeg"] * len(who), ids) for each in shown]
    path = [np.float32([[0, *people.boxes[i]]]) for i in range(len(who))]
    sightings = [
        Sighting(
            id=ids[i], likeness=None, source=source, camera=told["camera"], sha256=told["sha256"], start=start,
            end=start + frames - 1, first=0, last=frames - 1, frames=frames, path=path[i],
            best=tuple(person_id(each.key, i) for each in shown[:2]), closed=True, embedding=people.embeddings[i],
            scores=(float(people.scores[i]), float(people.scores[i])),
        )
        for i in range(len(who))
    ]  # fmt: skip
    return entries, sightings
