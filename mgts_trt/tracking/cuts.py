"""Where another scene begins: a film that is cut shows other people from one frame to the next.

Two frames are of one scene as long as either their colours or their outlines are alike. Somebody who walks through a
room changes few of both; a light, or what is near the camera, one of them.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Image

_COLOURS = 0.35
"""Least share of pixels that have another colour after a cut.

Measured where two films are joined: 0.40 … 1; within one, of frames up to five seconds apart: 0 … 0.23.
"""

_OUTLINES = 0.6
"""Least 1 − correlation of lightness after a cut. Measured likewise: 0.67 and more; 0 … 0.56."""

_SIZE = (32, 18)
_BINS = [8, 4, 4]


class Look:
    """What a frame looks like, at a glance: 128 shares of colours, and 32×18 pixels of lightness.

    Args:
        image: uint8 [H, W, 3], RGB.
    """

    def __init__(self, image: Image) -> None:
        small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
        colours = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
        counts = cv2.calcHist([colours], [0, 1, 2], None, _BINS, [0, 180, 0, 256, 0, 256]).ravel()
        self._colours: Shares = np.asarray(counts / counts.sum(), np.float32)
        light = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32).ravel()
        self._outlines: Shares = np.asarray(light - light.mean(), np.float32)

    def is_cut_from(self, before: "Look") -> bool:
        """Whether a scene ended between another frame and this one."""
        other = 1 - float(np.minimum(self._colours, before._colours).sum())
        return other >= _COLOURS and 1 - self._correlation(before) >= _OUTLINES

    def _correlation(self, other: "Look") -> float:
        """Of two frames without outlines, all black for one, 1; of one without and one with, 0."""
        lengths = float(np.linalg.norm(self._outlines)), float(np.linalg.norm(other._outlines))
        if max(lengths) < 1:
            return 1.0
        return float(self._outlines @ other._outlines) / max(lengths[0] * lengths[1], 1.0)


Shares: TypeAlias = NDArray[np.float32]
