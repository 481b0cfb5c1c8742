"""What every dataset gives: a picture, the people in it, and what is known of them."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Floats, Image

UNKNOWN = -1
"""An identity that is not labelled, or a camera that is not known."""

IGNORED_COVER = 0.5
"""Share of its area from which a box that is no person's counts as lying on an ignored one: the measure by which
pedestrian detectors and COCO's crowds are evaluated (Dollár et al., PAMI 2012), at the usual ½."""


def no_boxes() -> Floats:
    """No box at all, float32 [0, 4]."""
    return np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class Scene:
    """One picture and its N labelled people. A crop of one person is a scene that the person fills.

    Attributes:
        name: Unique in its dataset.
        image: uint8 [H, W, 3], RGB.
        boxes: float32 [N, 4], xyxy, pixels of the picture.
        identities: int64 [N]; 0 … L−1, or `UNKNOWN`.
        instances: uint16 [H, W], 0 for background and k + 1 where the person of row k is visible; None without masks.
        camera: Number of the camera, or `UNKNOWN`.
        ignored: float32 [I, 4], xyxy, pixels of the picture: crowds and doubtful people. What lies there is neither
            learnt nor counted, for it is neither quite a person nor background.
        others: float32 [O, 4], xyxy, pixels of the picture: things that are no people (bicycles, chairs, …) where a
            dataset has boxes of them. Background that is worth looking at.
    """

    name: str
    image: Image
    boxes: Floats
    identities: NDArray[np.int64]
    instances: NDArray[np.uint16] | None = None
    camera: int = UNKNOWN
    ignored: Floats = field(default_factory=no_boxes)
    others: Floats = field(default_factory=no_boxes)


class Scenes(Protocol):
    """A dataset: scenes by number, each made or read when it is asked for, the same every time."""

    identity_count: int
    """L: labelled identities are 0 … L−1."""

    def __len__(self) -> int:
        """How many scenes there are."""
        ...

    def __getitem__(self, index: int) -> Scene:
        """One scene."""
        ...
