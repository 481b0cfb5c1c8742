"""Where the boxes of tracks are, and where they will be: Kalman filters of constant velocity, for any lapse of time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Self

_MEASURED = np.array([0.05, 0.05, 0.1, 0.05])
"""Standard deviation of a found box's centre x, y, width, height, in heights; the stride swings the width."""
_SPEED = np.array([0.8, 0.4, 0.1, 0.2])
"""Of the speed of somebody new, in heights a second."""
_PUSH = np.array([1.0, 0.5, 0.2, 0.3])
"""How much a speed changes within a second, in heights a second."""
LONGEST = 1.0
"""Seconds that a speed is trusted for; then the box stays where that brings it."""

Doubles = NDArray[np.float64]


class Motion(NamedTuple):
    """What is known of T boxes, each at the time it was last seen.

    The four coordinates (centre x, y, width, height) are filtered apart. Boxes are predicted from when they were last
    seen, not from frame to frame, so that frames in which nobody was seen change nothing.
    """

    at: Doubles
    """[T, 4], pixels."""
    speed: Doubles
    """[T, 4], pixels a second."""
    spread: Doubles
    """[T, 4, 3]: variance of `at`, its covariance with `speed`, variance of `speed`."""

    @classmethod
    def start(cls, boxes: Array) -> Self:
        """Of boxes seen for the first time, xyxy [T, 4]."""
        at = _centred(boxes)
        height = at[:, 3:]
        spread = np.zeros((len(at), 4, 3))
        spread[:, :, 0], spread[:, :, 2] = (_MEASURED * height) ** 2, (_SPEED * height) ** 2
        return cls(at, np.zeros_like(at), spread)

    def pick(self, rows: Array) -> Self:
        """That of some."""
        return type(self)(*(each[rows] for each in self))

    def join(self, other: Self) -> Self:
        """That of both, one after the other."""
        return type(self)(*(np.concatenate(both) for both in zip(self, other, strict=True)))

    def ahead(self, seconds: Doubles) -> Self:
        """What is known so many seconds [T] later."""
        lapse = np.minimum(seconds, LONGEST)[:, None]
        push = (_PUSH * self.at[:, 3:]) ** 2
        near, both, fast = np.moveaxis(self.spread, 2, 0)
        spread = (
            near + 2 * lapse * both + lapse**2 * fast + push * lapse**3 / 3,
            both + lapse * fast + push * lapse**2 / 2,
            fast + push * lapse,
        )
        at = self.at + lapse * self.speed
        # Whoever comes closer never shrinks to nothing.
        at[:, 2:] = np.maximum(at[:, 2:], self.at[:, 2:] / 2)
        return type(self)(at, self.speed, np.stack(spread, 2))

    def corrected(self, boxes: Array) -> Self:
        """What is known once boxes, xyxy [T, 4], were seen there."""
        seen = _centred(boxes)
        near, both, fast = np.moveaxis(self.spread, 2, 0)
        total = near + (_MEASURED * seen[:, 3:]) ** 2
        missed = seen - self.at
        gain, pull = near / total, both / total
        spread = np.stack(((1 - gain) * near, (1 - gain) * both, fast - pull * both), 2)
        return type(self)(self.at + gain * missed, self.speed + pull * missed, spread)

    @property
    def boxes(self) -> Doubles:
        """Xyxy [T, 4], pixels."""
        half = self.at[:, 2:] / 2
        return np.concatenate((self.at[:, :2] - half, self.at[:, :2] + half), 1)


def _centred(boxes: Array) -> Doubles:
    """Centre x, y, width, height of boxes, xyxy [N, 4]; no side is below a pixel, which would stop a filter."""
    boxes = np.asarray(boxes, np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, sides), 1)
