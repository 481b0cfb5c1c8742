"""People cut out of pictures by their masks, ready to be pasted elsewhere."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Bools, Floats, Image
from training.data.files import DataError
from training.data.scene import Scene, Scenes

LEAST_HEIGHT = 48
"""Pixels: a smaller mask has too little of a person to be shown larger. By eye."""

LEAST_COVER = 0.85
"""Share of the box's height that a mask must reach, or the feet or the head are missing. Measured: all but one of 293
of Penn-Fudan's masks, drawn by hand, do; of Market-1501's, which a network drew, 72 of 100 do."""

LEAST_WHOLE = 0.9
"""Share of a mask that its largest part must hold. Measured: 99 of 100 of Penn-Fudan's masks have at least 0.94 in one
part, and 98 of 100 of Market-1501's at least 0.9."""

UPRIGHT = (0.25, 1.0)
"""Least and most width over height of somebody who stands or walks. Measured: 98 of 100 of Penn-Fudan's masks lie
between, and 99 of 100 are narrower than 0.6. The upper bound lets arms and bags stick out, but nobody lie."""

SOLID = 0.5
"""Opacity from which a pixel belongs to the person: in the middle of the soft edge."""

_MARGIN = 4
"""Pixels of surroundings kept around a mask, into which its blurred edge can run: more than three standard deviations
of the composer's blur, at the cut-out's own scale."""

_SMOOTHING = 0.4
"""Least blur of an edge, pixels of the cut-out: hides the steps of an enlarged mask. By eye."""

_EDGE = (0.35, 0.85)
"""Values of the blurred mask that become the opacities 0 and 1, by eye. Their middle is above ½, so that the edge moves
a little inwards: the outermost pixels of a mask show what was behind the person."""


@dataclass(frozen=True)
class CutOut:
    """One person without surroundings.

    Attributes:
        image: uint8 [h, w, 3], RGB: the person with a margin of what was around.
        mask: bool [h, w], the person's largest connected part; its extent is all but the margin.
        reshaped: It comes from a crop that its box fills. Datasets bring such crops to one shape, which makes most
            people broader than they are.
    """

    image: Image
    mask: Bools
    reshaped: bool

    @property
    def height(self) -> int:
        """Height of the person, pixels."""
        return int(self.mask.shape[0]) - 2 * _MARGIN


@dataclass(frozen=True)
class People:
    """The people of a dataset whose masks are good enough to cut them out, one element a person.

    Attributes:
        scenes: int64 [P], number of the scene.
        rows: int64 [P], row in the scene.
        identities: int64 [P].
        cameras: int64 [P].
    """

    scenes: NDArray[np.int64]
    rows: NDArray[np.int64]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]


def find_people(scenes: Scenes) -> People:
    """Look through a dataset once (about a millisecond a crop) for people that can be cut out.

    Left out are people without a mask, and those whose mask is no upright, whole-looking person: less than
    `LEAST_HEIGHT` or `LEAST_COVER` of the box high, not as wide beside its height as `UPRIGHT` says, or in pieces (the
    largest holds less than `LEAST_WHOLE`).

    Raises:
        DataError: nobody is left.
    """
    found = []
    for number in range(len(scenes)):
        scene = scenes[number]
        found += [
            (number, row, int(scene.identities[row]), scene.camera)
            for row in range(len(scene.boxes))
            if cut_out(scene, row) is not None
        ]
    if not found:
        raise DataError(
            f"None of the {len(scenes)} scenes holds a person with a usable mask, but the composer pastes such people. "
            "Pass a dataset with masks."
        )
    return People(*np.array(found, np.int64).T)


def cut_out(scene: Scene, row: int) -> CutOut | None:
    """Cut out the person of a row, or None where the mask does not show one (see `find_people`)."""
    if scene.instances is None:
        return None
    height, width = scene.instances.shape
    x1, y1 = np.floor(scene.boxes[row, :2]).astype(int)
    x2, y2 = np.ceil(scene.boxes[row, 2:]).astype(int)
    window = (slice(max(y1, 0), min(y2, height)), slice(max(x1, 0), min(x2, width)))
    mask = (scene.instances[window] == row + 1).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, wide, high, area = (int(value) for value in stats[largest])
    whole = area >= LEAST_WHOLE * stats[1:, cv2.CC_STAT_AREA].sum()
    upright = UPRIGHT[0] * high <= wide <= UPRIGHT[1] * high
    if not whole or high < max(LEAST_HEIGHT, LEAST_COVER * (y2 - y1)) or not upright:
        return None
    left, top = left + window[1].start, top + window[0].start
    part = np.zeros((high + 2 * _MARGIN, wide + 2 * _MARGIN), np.bool_)
    part[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = (labels == largest)[
        top - window[0].start : top - window[0].start + high, left - window[1].start : left - window[1].start + wide
    ]
    ys = np.clip(np.arange(top - _MARGIN, top + high + _MARGIN), 0, height - 1)
    xs = np.clip(np.arange(left - _MARGIN, left + wide + _MARGIN), 0, width - 1)
    return CutOut(scene.image[np.ix_(ys, xs)], part, reshaped=mask.shape == (height, width))


def resize_cutout(cutout: CutOut, height: float, feather: float, narrowing: float = 1.0) -> tuple[Image, Floats]:
    """Scale a cut-out so that the person is `height` pixels high, with a soft edge.

    Args:
        cutout: The person.
        height: Pixels.
        feather: Standard deviation of the edge's blur, pixels; the edge is then about twice as wide.
        narrowing: Factor of the width beside that of the height.

    Returns:
        The picture, uint8 [h, w, 3], and its opacity, float32 [h, w] in 0 … 1. The person is where opacity ≥ ½.
    """
    scale = height / cutout.height
    size = (max(1, round(cutout.mask.shape[1] * scale * narrowing)), max(1, round(cutout.mask.shape[0] * scale)))
    image = cv2.resize(cutout.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    soft = cv2.resize(cutout.mask.astype(np.float32), size, interpolation=method)
    soft = cv2.GaussianBlur(soft, (0, 0), max(feather, _SMOOTHING * scale))
    opacity = np.clip((soft - _EDGE[0]) / (_EDGE[1] - _EDGE[0]), 0, 1)
    return np.asarray(image, np.uint8), np.asarray(opacity, np.float32)
