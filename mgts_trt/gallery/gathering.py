"""From the frames of a track to its sighting, in bounded memory: a person may stand before a camera for hours."""

from dataclasses import dataclass, field

import numpy as np

from mgts_trt._typing import Array, Floats
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.sighting import BEST, PATH, Sighting, sighting_id

_STRETCHES = 12
"""Most stretches of a sighting of each of which the best row is kept: four for each of those that stand for it."""

_WORTH = 0.5
"""A row stands for a sighting if it is at least so good, compared with the best."""

_ALONE = 0.05
"""What is left of the quality of a row whose box is covered by another."""


@dataclass(frozen=True)
class Row:
    """Somebody in one frame.

    Attributes:
        id: Of the row of `people`.
        box: float32 [4], xyxy, pixels.
        score: The detector's.
        embedding: float32 [d].
        quality: See `qualities`.
    """

    id: str
    box: Floats
    score: float
    embedding: Floats = field(repr=False)
    quality: float = 0.0


def qualities(boxes: Array, scores: Array) -> Array:
    """How well each person of a frame is seen: large, sure, and not behind or before others.

    Args:
        boxes: xyxy [N, 4], pixels.
        scores: [N].

    Returns:
        float64 [N], above 0: score times the root of the area, times the share of the box that no other box covers.
    """
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
    area = sides.prod(axis=1)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    covered = np.maximum(high - low, 0).prod(axis=2) / area[:, None]
    np.fill_diagonal(covered, 0)
    alone = np.maximum(1 - covered.max(axis=1, initial=0), _ALONE)
    return np.asarray(np.maximum(scores, 1e-6) * np.sqrt(area) * alone)


class Gathering:
    """A sighting while it goes on. The same rows in the same order give the same one.

    Args:
        frame: Its first.
        row: Whoever was seen in it.
        time: See `add`.
    """

    def __init__(self, frame: Frame, row: Row, time: float) -> None:
        self.id = sighting_id(row.id)
        self._first, self._start = frame, time
        self._frames, self._least, self._greatest = 0, row.score, row.score
        self._path: list[Array] = []
        self._every = 1
        self._stretches: list[Row] = []
        """The best row of each stretch, but for the last one all of the same length."""
        self._length = 1
        self.add(frame, row, time)

    def add(self, frame: Frame, row: Row, time: float) -> None:
        """Go on with the next frame.

        Args:
            frame: Later than those before.
            row: The same person in it.
            time: In seconds, with the same origin for all frames.
        """
        self._last = frame
        self._end = np.array([time - self._start, *row.box.tolist()], np.float32)
        if not self._frames % self._every:
            self._path.append(self._end)
            if len(self._path) == PATH:
                self._path, self._every = self._path[::2], 2 * self._every
        if self._frames % self._length:
            self._stretches[-1] = _better(self._stretches[-1], row)
        else:
            self._stretches.append(row)
        self._frames += 1
        if len(self._stretches) > _STRETCHES and not self._frames % self._length:
            self._join_stretches()
        self._least, self._greatest = min(self._least, row.score), max(self._greatest, row.score)

    def _join_stretches(self) -> None:
        """Two and two; an odd one is left to grow."""
        old = self._stretches
        self._stretches = [_better(*old[i : i + 2]) if i + 1 < len(old) else old[i] for i in range(0, len(old), 2)]
        self._length *= 2

    def sighting(self, *, closed: bool) -> Sighting:
        """What is known so far."""
        best, first, last = self._best(), self._first, self._last
        weights = np.array([row.quality for row in best])
        mean = weights @ np.array([row.embedding for row in best], np.float64)
        length = float(np.linalg.norm(mean))
        embedding = mean / length if length > 1e-6 else best[0].embedding / np.linalg.norm(best[0].embedding)
        path = self._path if self._path[-1] is self._end else [*self._path, self._end]
        return Sighting(
            id=self.id,
            likeness=None,
            source=first.source,
            camera=first.camera,
            sha256=first.sha256,
            start=first.time,
            end=last.time,
            first=first.number,
            last=last.number,
            frames=self._frames,
            path=np.stack(path),
            best=tuple(row.id for row in best),
            closed=closed,
            embedding=np.asarray(embedding, np.float32),
            scores=(self._least, self._greatest),
        )

    def _best(self) -> list[Row]:
        """Of the beginning, the middle and the end, those that are worth it; the best first."""
        thirds = np.array_split(np.arange(len(self._stretches)), BEST)
        picks = [max((self._stretches[i] for i in third), key=_quality) for third in thirds if len(third)]
        least = _WORTH * max(map(_quality, picks))
        return sorted((row for row in picks if row.quality >= least), key=_quality, reverse=True)


def _better(one: Row, other: Row) -> Row:
    """The better of two; the earlier of equals."""
    return other if other.quality > one.quality else one


def _quality(row: Row) -> float:
    return row.quality
