"""Which person of a frame is which of the frames before."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.boxes import box_iou
from mgts_trt.runtime.people import People
from mgts_trt.tracking.assignment import assign
from mgts_trt.tracking.motion import Doubles, Motion


@dataclass(frozen=True)
class TrackerOptions:
    """When a person is taken for one of those seen before.

    Attributes:
        patience: Seconds that a track waits for its person to return; longer silence ends it. At least the time from
            one frame to the next, or everybody is somebody new.
        sure: Score from which people choose their tracks first; those below it get what is left.
        overlap: Least IoU of a person's box with where motion expects the track, 0…1, a second after it was seen. The
            next moment a quarter of it is enough: somebody half out of the picture touches little.
        unlike: Cosine, -1…1, below which nobody is taken for the person of a track in whose very place they are. The
            less boxes overlap, the less is asked (`unlike` times the IoU): whoever leaves the picture changes both.
        like: Cosine, -1…1, from which somebody is, as far from there as a person can have come.
        appearance: Weight of the cosine against the IoU where several could be meant, 0…1.
    """

    patience: float = 5.0
    sure: float = 0.8
    overlap: float = 0.15
    unlike: float = 0.4
    like: float = 0.6
    appearance: float = 0.5

    def __post_init__(self) -> None:
        if not (np.isfinite(self.patience) and self.patience > 0):
            raise MgtsError(f"A track's patience is a number of seconds above 0, got {self.patience}.")
        for name, least in (("sure", 0), ("overlap", 0), ("unlike", -1), ("like", -1), ("appearance", 0)):
            value = getattr(self, name)
            if not least <= value <= 1:
                raise MgtsError(f"A tracker's `{name}` is a number from {least} to 1, got {value}.")


class Update(NamedTuple):
    """What a frame brought."""

    tracks: NDArray[np.int64]
    """[N]: the track of each person, from 0, never used again, no two of a frame the same."""
    ended: list[int]
    """The tracks that ended by now, ascending: at a cut, or since nobody of theirs was seen for longer than
    `TrackerOptions.patience`."""


_MOMENT = 2.0
"""Seconds for which a track is looked for where its motion leads; afterwards appearance alone finds it."""
_GAP = 3.0
"""Seconds that are taken to have passed where a clock goes back, unless patience is shorter."""
_ROUNDING = 1e-3
"""Seconds: times of frames come in milliseconds."""
_REACH = 1.0, 2.0
"""How far a person gets: heights at once, heights a second."""
_SMOOTH = 0.1
"""Least weight of a new embedding in a track's."""


class Tracker:
    """Joins the people of one camera's frames into tracks; one a camera and run of frames.

    Times in seconds decide, not frames: gaps and variable rates are all right. The same boxes, scores, embeddings and
    times give the same tracks; frames in which nobody is seen may be left out, as long as the clock does not go back.

    Example:
        ```python
        tracker = Tracker()
        for frame in video_frames("clip.mp4", lambda number: True):
            tracks, ended = tracker.update(frame.seconds, people := search(frame.image))
        left = tracker.finish()
        ```
    """

    def __init__(self, options: TrackerOptions = TrackerOptions()) -> None:
        self.options = options
        self._next = 0
        self._finish()

    def _finish(self) -> None:
        self._names = np.zeros(0, np.int64)
        self._seen = np.zeros(0)
        """When each track was last seen, by `_clock`."""
        self._count = np.zeros(0, np.int64)
        self._motion = Motion.start(np.zeros((0, 4)))
        self._looks: Doubles = np.zeros((0, 0))
        self._time: float | None = None
        self._ahead = 0.0
        """How much the times given went back, and the gaps there, in all."""
        self._clock = 0.0
        """The time that never goes back: the one given, and `_ahead`."""

    def update(self, time: float, people: People, *, cut: bool = False) -> Update:
        """Name the track of everybody in the next frame.

        Args:
            time: Seconds, of any origin. Where it goes back, a gap is taken to lie between: appearance has to find
                whoever is still there.
            people: N of them. With nobody, it tells which tracks ended by now.
            cut: Whether the frame begins another scene: all tracks end before it.

        Raises:
            MgtsError: The time is not finite, or the embeddings are not of the length of those before.
        """
        if not np.isfinite(time):
            raise MgtsError(f"The time of a frame is a number of seconds, got {time}.")
        before = self.finish() if cut else []
        if self._time is not None and time < self._time:
            self._ahead += self._time - time + min(_GAP, self.options.patience)
        self._time, self._clock = time, time + self._ahead
        ended = before + self._end_silent()
        if len(people) == 0:
            return Update(np.zeros(0, np.int64), ended)
        looks = np.asarray(people.embeddings, np.float64)
        if len(self._names) and looks.shape[1] != self._looks.shape[1]:
            raise MgtsError(
                f"Embeddings of {self._looks.shape[1]} numbers expected, as in the frames before, got {looks.shape[1]}."
            )
        rows = self._rows(people, looks)
        self._note(rows, people, looks)
        return Update(self._names[rows], ended)

    def finish(self) -> list[int]:
        """End all tracks, and give those that were open; what comes afterwards is another run of frames."""
        names = [int(name) for name in self._names]
        self._finish()
        return names

    def _end_silent(self) -> list[int]:
        open_ = self._clock - self._seen <= self.options.patience + _ROUNDING
        ended = [int(name) for name in self._names[~open_]]
        if ended:
            self._names, self._seen, self._count = self._names[open_], self._seen[open_], self._count[open_]
            self._motion, self._looks = self._motion.pick(open_), self._looks[open_]
        return ended

    def _rows(self, people: People, looks: Doubles) -> NDArray[np.int64]:
        """The row of each person's track: of one that is there, or from `len(self._names)` on of one that begins."""
        rows = np.full(len(people), -1, np.int64)
        if len(self._names):
            gains = self._gains(people.boxes, looks)
            sure = people.scores >= self.options.sure
            for those in (sure, ~sure):
                for row, person in assign(np.where(those, gains, 0)):
                    rows[person] = row
                    gains[row] = 0
        new = rows < 0
        rows[new] = len(self._names) + np.arange(new.sum())
        return rows

    def _gains(self, boxes: Array, looks: Doubles) -> Doubles:
        """How much speaks for each person [N] being that of each track [T]: [T, N], 0 where none does."""
        options, lapse = self.options, self._clock - self._seen
        ahead = self._motion.ahead(lapse)
        overlap = box_iou(ahead.boxes, boxes).astype(np.float64)
        cosine = np.einsum("td,nd->tn", self._looks, looks)
        seen = Motion.start(boxes).at
        height = (ahead.at[:, None, 3] + seen[None, :, 3]) / 2
        away = np.linalg.norm(ahead.at[:, None, :2] - seen[None, :, :2], axis=2) / height
        least = options.overlap * (0.25 + 0.75 * np.minimum(lapse, 1))[:, None]
        there = (overlap >= least) & (overlap > 0) & (lapse <= _MOMENT)[:, None]
        near = there & (cosine >= options.unlike * overlap)
        reached = (away <= _REACH[0] + _REACH[1] * lapse[:, None]) & (cosine >= options.like)
        value = options.appearance * np.maximum(cosine, 0) + (1 - options.appearance) * overlap
        return np.where(near | reached, value + 1e-3, 0)

    def _note(self, rows: NDArray[np.int64], people: People, looks: Doubles) -> None:
        """Take over what was seen of the tracks, those that begin included."""
        begins = rows >= len(self._names)
        went_on, old = ~begins, rows[~begins]
        if len(old):
            known = self._motion.pick(old).ahead(self._clock - self._seen[old]).corrected(people.boxes[went_on])
            for mine, theirs in zip(self._motion, known, strict=True):
                mine[old] = theirs
            self._count[old] += 1
            weight = np.maximum(1 / self._count[old], _SMOOTH)[:, None]
            self._looks[old] = _unit((1 - weight) * self._looks[old] + weight * looks[went_on])
            self._seen[old] = self._clock
        if count := int(begins.sum()):
            self._names = np.append(self._names, self._next + np.arange(count))
            self._next += count
            self._seen = np.append(self._seen, np.full(count, self._clock))
            self._count = np.append(self._count, np.ones(count, np.int64))
            self._motion = self._motion.join(Motion.start(people.boxes[begins]))
            self._looks = np.concatenate((self._looks.reshape(-1, looks.shape[1]), looks[begins]))


def _unit(rows: Doubles) -> Doubles:
    """Of length 1; rows of length 0 stay."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
