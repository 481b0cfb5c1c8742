"""A picture that people are pasted into, and the perspective they stand in."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Floats, Image
from training.data.cutouts import SOLID
from training.data.files import Instances
from training.data.scene import UNKNOWN, Scene

_CAMERA_LEVEL = (0.75, 1.1)
"""How high above the feet of a background's tallest person the camera is, in heights of that person: in the hand of
somebody who stands there. Measured: Penn-Fudan's people grow with how low they stand as from 0.98 (median; quartiles
0.84 and 1.24)."""

_HORIZON = (0.35, 0.55)
"""Row of the horizon in an empty background, in shares of its height: a camera held nearly level. By eye."""

_NEAREST = (0.4, 0.9)
"""Height of somebody who stands at the lower edge of an empty background, in shares of its height. By eye; the second
is the tallest that a `Composition` pastes by default."""

_LIGHTING = 1 / 3
"""How far something's brightness moves to that of the place where it is pasted, in the logarithm: a dark coat on a
bright street stays dark. By eye."""

_GAINS = (0.7, 1.3)
"""Least and greatest change of brightness by the place: more would wash people out. By eye."""


@dataclass(frozen=True)
class Perspective:
    """A level ground seen by a level camera: a person's height grows linearly with how low the feet are.

    Attributes:
        horizon: Row where heights vanish, pixels.
        slope: Height in pixels for each pixel that the feet are below the horizon.
    """

    horizon: float
    slope: float

    def feet(self, height: float) -> float:
        """The row where somebody `height` pixels high stands."""
        return self.horizon + height / self.slope


def draw_perspective(background: Scene, generator: np.random.Generator) -> Perspective:
    """A plausible perspective for a background: one its largest person fits, or any where it shows nobody."""
    rows = background.image.shape[0]
    if len(background.boxes):
        heights = background.boxes[:, 3] - background.boxes[:, 1]
        # Whoever the picture's edge cuts looks smaller than it is.
        whole = (background.boxes[:, 1] > 0) & (background.boxes[:, 3] < rows)
        tallest = int(np.where(whole | ~whole.any(), heights, -1).argmax())
        height, feet = max(float(heights[tallest]), 1.0), float(background.boxes[tallest, 3])
        # The horizon is at eye level of the camera, about a person's own height above the feet.
        level = height * generator.uniform(*_CAMERA_LEVEL)
        return Perspective(feet - level, height / level)
    horizon = rows * generator.uniform(*_HORIZON)
    return Perspective(horizon, rows * generator.uniform(*_NEAREST) / (rows - horizon))


class Picture:
    """A picture under composition.

    Attributes:
        image: uint8 [H, W, 3].
        instances: uint16 [H, W], k + 1 where the person of row k is visible.
        full: Pixels of each row's person when nothing hides it.
        identities: Identity of each row's person.
    """

    def __init__(self, background: Scene, instances: Instances):
        self.image: Image = background.image.copy()
        self.instances = instances.copy()
        count = len(background.boxes)
        self.full: list[int] = np.bincount(instances.ravel(), minlength=count + 1)[1:].tolist()
        self.identities: list[int] = [UNKNOWN] * count
        self._feet: list[float] = background.boxes[:, 3].tolist()

    def paste(self, image: Image, opacity: Floats, corner: tuple[int, int], feet: float, identity: int | None) -> None:
        """Paste something, behind everybody whose feet are lower.

        Args:
            image: uint8 [h, w, 3].
            opacity: float32 [h, w], 0 … 1; the thing itself is where it is at least `SOLID`.
            corner: Column and row of the top left pixel; may lie outside.
            feet: Row where it stands.
            identity: Of a person, who gets the next row; None for a thing, which gets none.
        """
        if identity is not None:
            self.full.append(int(np.count_nonzero(opacity >= SOLID)))
            self.identities.append(identity)
            self._feet.append(feet)
        here, there = _overlap(opacity.shape, corner, self.instances.shape)
        instances = self.instances[there]
        if not instances.size:
            return
        nearer = np.array([False, *(other > feet for other in self._feet)])
        opacity = np.where(nearer[instances], 0, opacity[here])
        target = self.image[there]
        mixed = target + (image[here].astype(np.float32) - target) * opacity[..., None]
        self.image[there] = np.rint(mixed).astype(np.uint8)
        # A thing hides who is behind it and is nobody.
        instances[opacity >= SOLID] = 0 if identity is None else len(self.full)

    def light(self, image: Image, opacity: Floats, corner: tuple[int, int]) -> Image:
        """Bring something's brightness a third of the way to that of the place where it is to be pasted.

        Args:
            image: uint8 [h, w, 3].
            opacity: float32 [h, w], 0 … 1: what counts of it.
            corner: Column and row of the top left pixel; may lie outside.

        Returns:
            uint8 [h, w, 3]; `image` itself where nothing of it would lie on the picture.
        """
        there = _overlap(opacity.shape, corner, self.instances.shape)[1]
        if not self.image[there].size:
            return image
        around = float(self.image[there].mean())
        own = float(np.average(image.mean(2), weights=opacity + 1e-6))
        # One grey level more on both sides: black has no brightness to multiply.
        gain = min(max(((around + 1) / (own + 1)) ** _LIGHTING, _GAINS[0]), _GAINS[1])
        return np.asarray(cv2.convertScaleAbs(image, alpha=gain), np.uint8)

    def visible_rows(self, hidden: float) -> NDArray[np.intp]:
        """Whom to label: int64 [K], ascending rows of those of whom at most `hidden` is hidden, and anything is seen.

        Args:
            hidden: Share of a person's pixels, 0 ≤ hidden < 1.
        """
        seen = np.bincount(self.instances.ravel(), minlength=len(self.full) + 1)[1:]
        # In pixels, with room for the rounding of 1 - hidden.
        return np.flatnonzero((seen > 0) & (seen + 1e-6 >= (1 - hidden) * np.array(self.full)))


def _overlap(
    shape: tuple[int, ...], corner: tuple[int, int], onto: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What of something with its top left pixel at `corner` is on a picture: in its own rows and columns, and there."""
    here, there = [], []
    for size, start, room in zip(shape[:2], corner[::-1], onto[:2], strict=True):
        low, high = min(max(start, 0), room), max(min(start + size, room), 0)
        high = max(low, high)
        here.append(slice(low - start, high - start))
        there.append(slice(low, high))
    return (here[0], here[1]), (there[0], there[1])
