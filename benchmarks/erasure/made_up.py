"""People nobody has seen: films of them in a gallery, and the bytes that tell of them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mgts_trt.gallery import Entry, Frame, Gallery, Sighting, Space
from mgts_trt.gallery.sighting import sighting_id
from mgts_trt.gallery.tables import person_id
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

SPACE = Space(model="mgts", weights="a" * 64, mode="box", gamma=1.3, patch=(256, 128), embedding=64, preset="edge")
PERSONS = 2


class Film(NamedTuple):
    """Frames of two people, each with a time of a clock, as live streams have.

    Attributes:
        source, sha256, camera: Of its frames.
        start: Unix seconds of the first one; each further one is a second later.
        frames: How many.
        followed: Whether its people have sightings.
        ends: Whether it is known how many frames it has, as of a video and of no live stream.
        without: Of its people, by number, those who are not in the gallery any more, though its frames are.
    """

    source: str
    sha256: str
    camera: str
    start: float
    frames: int = 6
    followed: bool = True
    ends: bool = True
    without: tuple[int, ...] = ()

    def entries(self) -> list[Entry]:
        """What `index` makes of it."""
        entries = [self._entry(number) for number in range(self.frames)]
        ids = [each.id for each in self.sightings()] if self.followed else None
        return entries if ids is None else [Entry(each.frame, each.people, each.thumbnails, ids) for each in entries]

    def sightings(self) -> list[Sighting]:
        """Of its people, one each."""
        if not self.followed:
            return []
        frame, end = self._frame(0), self.start + self.frames - 1
        return [
            Sighting(
                id=sighting_id(person_id(frame.key, i)), likeness=None, source=self.source, camera=self.camera,
                sha256=self.sha256, start=self.start, end=end, first=0, last=self.frames - 1, frames=self.frames,
                path=np.float32([[0, 10, 5, 20, 25]]), best=(person_id(frame.key, i),), closed=True, scores=(0.9, 0.9),
                embedding=self._drawn(99, i),
            )
            for i in range(PERSONS)
            if i not in self.without
        ]  # fmt: skip

    def index_into(self, gallery: Gallery) -> None:
        """As `index` does: in two commits, each with the sightings as they are by then."""
        entries, sightings = self.entries(), self.sightings()
        for part in (entries[: self.frames // 3], entries[self.frames // 3 :]):
            gallery.add(part, sightings)
        if self.ends:
            gallery.end_video(self.source, self.sha256, self.frames)

    def secrets(self) -> Iterator[bytes]:
        """What no file may hold once its content is erased; source and camera are not among it."""
        yield self.sha256.encode()
        for entry in self.entries():
            yield entry.frame.key.encode()
            yield from entry.thumbnails or ()
            yield from (row[:8].tobytes() for row in entry.people.embeddings)
        yield from (each.embedding[:8].tobytes() for each in self.sightings())

    def secrets_of(self, person: int) -> Iterator[bytes]:
        """What no file may hold once one of its people, by number, is erased."""
        for entry in self.entries():
            yield (entry.thumbnails or [])[person]
            yield entry.people.embeddings[person][:8].tobytes()
        yield self.sightings()[person].embedding[:8].tobytes()
        yield self.sightings()[person].id.encode()

    def rows(self) -> list[tuple[object, ...]]:
        """Its people as `stored` gives them."""
        return [
            (self.source, entry.frame.number, self.sha256, self.camera, row.tobytes(), picture)
            for entry in self.entries()
            for i, (row, picture) in enumerate(zip(entry.people.embeddings, entry.thumbnails or (), strict=True))
            if i not in self.without
        ]

    def _frame(self, number: int) -> Frame:
        return Frame(self.source, number, self.sha256, self.start + number, self.camera)

    def _entry(self, number: int) -> Entry:
        boxes = np.float32([[10, 5, 20, 25], [30, 5, 40, 25]])
        people = People(
            boxes=boxes, scores=np.full(PERSONS, 0.9, np.float32),
            embeddings=np.stack([self._drawn(number, i) for i in range(PERSONS)]),
            instances=np.zeros(PERSONS, np.int32), crops=boxes.astype(np.int32),
            letterbox=Letterbox((60, 80), (60, 80)), timings={}, canvas_boxes=boxes, instance_map=None,
        )  # fmt: skip
        return Entry(self._frame(number), people, [self._chance(number, 50 + i).bytes(700) for i in range(PERSONS)])

    def _drawn(self, number: int, row: int) -> np.ndarray:
        vector = self._chance(number, row).normal(size=SPACE.embedding).astype(np.float32)
        return vector / np.linalg.norm(vector)

    def _chance(self, number: int, row: int) -> np.random.Generator:
        seed = hashlib.sha256(f"{self.source} {self.sha256} {number} {row}".encode()).digest()[:8]
        return np.random.default_rng(int.from_bytes(seed, "little"))


def stored(gallery: Gallery) -> list[tuple[object, ...]]:
    """Everybody in a gallery, in order; whoever is there twice is twice in it."""
    rows = [
        (each.source, each.number, each.sha256, each.camera, row.tobytes(), each.thumbnail)
        for each, row in gallery.rows()
    ]
    return sorted(rows, key=repr)


def holding(folder: Path, secrets: set[bytes]) -> str:
    """Which file holds one of some secrets, and which; empty if none does."""
    for file in filter(Path.is_file, folder.rglob("*")):
        data = file.read_bytes()
        for secret in secrets:
            if secret in data:
                return f"{file.relative_to(folder)} holds {secret[:40]!r}"
    return ""
