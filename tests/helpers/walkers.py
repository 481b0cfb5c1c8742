"""People who walk through a video that nobody has to decode: frames with boxes, scores and embeddings."""

from collections.abc import Sequence

import numpy as np

from mgts_trt.gallery import Entry, Frame, Gallery
from mgts_trt.gallery.tables import SIGHTING
from tests.helpers.stored_people import SPACE, people_with, unit


def walk(
    seed: int, frames: int = 60, source: str = "/walk.mp4", sha256: str = "9" * 64, start: float = 0.0
) -> list[Entry]:
    """Some people come, cross, are missed, leave and return; the rate varies, and sometimes nobody is there.

    Args:
        seed: Tells all.
        frames: How many.
        source: Name of the video or stream.
        sha256: Of the video; empty for a stream.
        start: Time of the first frame.
    """
    chance = np.random.default_rng(seed)
    looks = unit(seed, rows=5)
    speed, place = chance.normal(0, 30, (5, 2)), chance.uniform(0, 500, (5, 2))
    there = chance.random(5) < 0.6
    time, entries = start, list[Entry]()
    for number in range(frames):
        lapse = float(chance.choice([0.1, 0.2, 1.0, 7.0], p=[0.6, 0.3, 0.08, 0.02]))
        time, place = round(time + lapse, 3), place + speed * lapse
        there ^= chance.random(5) < 0.05
        seen = np.flatnonzero(there & (chance.random(5) < 0.9) & (number % 17 != 3))
        chance.shuffle(seen)
        noisy = looks[seen] + chance.normal(0, 0.1, (len(seen), SPACE.embedding))
        noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
        people = people_with(np.float32(noisy))
        people.boxes[:] = np.concatenate([place[seen], place[seen] + [40, 100]], 1) + chance.normal(
            0, 1, (len(seen), 4)
        )
        people.scores[:] = chance.uniform(0.5, 1, len(seen))
        frame = Frame(source, number, sha256, time, "walk")
        entries.append(Entry(frame, people, [b"jpeg of %d" % i for i in seen]))
    return entries


def sightings_held(gallery: Gallery) -> tuple[dict, dict]:
    """All sightings bit for bit, by id; and the sighting of each row of people."""
    rows = gallery.sightings.search().to_arrow().to_pylist()
    of_people = gallery.tables[0].search().select(["id", SIGHTING]).to_arrow().to_pylist()
    return {row["id"]: row for row in rows}, {row["id"]: row[SIGHTING] for row in of_people}


def agree(gallery: Gallery, source: str, *, closed: bool | None = True) -> None:
    """Assert that rows and sightings of a source tell the same: nothing is lost, nothing there twice."""
    sightings, of_people = sightings_held(gallery)
    rows = [person for person, _ in gallery.rows() if person.source == source]
    frames = dict[str, list]()
    for person in rows:
        frames.setdefault(of_people[person.id], []).append(person)
    held = {name: row for name, row in sightings.items() if row["source"] == source}
    assert held.keys() == frames.keys()
    for name, seen in frames.items():
        row, times = held[name], sorted(person.time for person in seen)
        assert row["frames"] == len(seen) == len({person.time for person in seen}), "one row a frame"
        assert (row["first_time"], row["last_time"]) == (times[0], times[-1])
        assert name == f"s-{min(seen, key=lambda person: person.time).id}"
        assert set(row["best"]) <= {person.id for person in seen}
        assert closed is None or row["closed"] == closed


def stored_in_batches(gallery: Gallery, followers: object, entries: Sequence[Entry], size: int = 8) -> None:
    """As indexing does it; call `followers.finish` and this with no entries at the end."""
    for i in range(0, max(len(entries), 1), size):
        batch = [followers.name(each) for each in entries[i : i + size]]
        gallery.add(batch, followers.changed())
        followers.stored()
