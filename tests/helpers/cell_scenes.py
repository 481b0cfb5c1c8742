"""Scenes of bright cells, which the tiny bundle takes for people."""

import numpy as np

from tests.helpers.tiny_bundle import CANVAS, CELL
from training.data.scene import UNKNOWN, Scene

CLOTHES = ((255, 255, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255))
"""Of the identities; bright, as the tiny bundle's people are."""


class Listed(list):
    """Scenes in a list."""

    identity_count = 10


def scene(name: str, people: dict[tuple[int, int], int], camera: int = UNKNOWN, hide: int = 0) -> Scene:
    """White cells on grey are people to the tiny bundle; `people` maps a cell to its identity.

    The first `hide` are painted grey: labelled, but not to be found.
    """
    image = np.full((*CANVAS, 3), 90, np.uint8)
    instances = np.zeros(CANVAS, np.uint16)
    boxes = []
    for k, ((row, column), identity) in enumerate(people.items()):
        y, x = row * CELL[0], column * CELL[1]
        if k >= hide:
            image[y : y + CELL[0], x : x + CELL[1]] = CLOTHES[identity]
        instances[y : y + CELL[0], x : x + CELL[1]] = k + 1
        boxes.append([x, y, x + CELL[1], y + CELL[0]])
    identities = np.array(list(people.values()), np.int64)
    return Scene(name, image, np.array(boxes, np.float32).reshape(-1, 4), identities, instances, camera)
