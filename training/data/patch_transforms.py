"""People as other cameras would have shown them."""

import math

import cv2
import numpy as np

from mgts_trt._typing import Image
from training.data.transforms import jitter_colour, through_camera
from training.preset import PatchAugmentation

_COARSE = (32, 128)
"""Heights of a person in pixels, log-uniform: from the smallest anybody is told by, to those of published crops."""

_FAULTS = 0.3
"""Share of the coarse ones that get each of blur, noise and JPEG's artefacts. By eye."""


def other_camera(image: Image, generator: np.random.Generator, how: PatchAugmentation) -> Image:
    """A person's part of the picture in other colours, some in grey, and some as small as far cameras show people.

    Args:
        image: uint8 [H, W, 3], RGB.
        generator: The only source of chance.
        how: `colour`, `grey`, `coarse`.

    Returns:
        uint8 [H, W, 3]; not `image` itself, unless nothing is to be altered.
    """
    image = jitter_colour(image, generator, how.colour)
    if how.grey and generator.random() < how.grey:
        image = np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    if how.coarse and generator.random() < how.coarse:
        height, width = image.shape[:2]
        scale = math.exp(generator.uniform(*(math.log(side) for side in _COARSE))) / height
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            small = through_camera(small, generator, _FAULTS)
            image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return image
