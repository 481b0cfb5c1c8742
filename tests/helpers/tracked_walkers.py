"""People who walk through a camera's view, and what a detector and a re-ID network see of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

VIEW = (480, 800)
"""Height and width of the picture."""
LOOKS = 128
"""Numbers of an embedding."""


@dataclass(frozen=True)
class Walker:
    """Somebody who walks straight on, from one time to another."""

    look: int
    """Who it is, below LOOKS: decides the embedding."""
    at: tuple[float, float]
    """Centre at time 0, pixels."""
    speed: tuple[float, float]
    """Pixels a second."""
    since: float = 0.0
    until: float = np.inf
    hidden: tuple[float, float] = (np.inf, np.inf)
    """From when to when something stands before them."""
    height: float = 160.0
    score: float = 0.95

    def visible(self, time: float) -> bool:
        """Whether they are seen."""
        return self.since <= time <= self.until and not self.hidden[0] <= time <= self.hidden[1]

    def box(self, time: float) -> np.ndarray:
        """xyxy, pixels, float32 [4]."""
        x, y = np.add(self.at, np.multiply(self.speed, time))
        wide, high = self.height / 5, self.height / 2
        return np.float32([x - wide, y - high, x + wide, y + high])

    def embedding(self, time: float, noise: float) -> np.ndarray:
        """Of length 1, float32 [LOOKS]: that of `look`, with noise of this length that the time decides."""
        shake = np.random.default_rng([self.look, int(time * 1e6) % 2**32]).normal(size=LOOKS)
        both = look(self.look) + noise * shake / np.linalg.norm(shake)
        return (both / np.linalg.norm(both)).astype(np.float32)


def look(number: int) -> np.ndarray:
    """The embedding of a person, of length 1, at a right angle to anybody else's."""
    return np.eye(LOOKS)[number]


def seen(walkers: Sequence[Walker], time: float, noise: float = 0.5) -> tuple[People, list[int]]:
    """The people in the frame of a time, best first, and which walker each is."""
    there = [i for i, each in enumerate(walkers) if each.visible(time)]
    there.sort(key=lambda i: -walkers[i].score)
    return people_of(
        [walkers[i].box(time) for i in there],
        [walkers[i].score for i in there],
        [walkers[i].embedding(time, noise) for i in there],
    ), there


def people_of(boxes: Sequence[np.ndarray], scores: Sequence[float], embeddings: Sequence[np.ndarray]) -> People:
    """`People` of these boxes (xyxy), scores and embeddings."""
    rows = np.float32(boxes).reshape(-1, 4)
    looks = np.float32(embeddings) if len(rows) else np.zeros((0, LOOKS), np.float32)
    return People(
        boxes=rows, scores=np.float32(scores), embeddings=looks,
        instances=np.zeros(len(rows), np.int32), crops=rows.astype(np.int32), letterbox=Letterbox(VIEW, VIEW),
        timings={}, canvas_boxes=rows, instance_map=None,
    )  # fmt: skip
