"""In which order training sees scenes, and how many of each kind."""

from collections.abc import Sequence

import numpy as np

from training.data.datasets.splits import Joined
from training.data.files import DataError
from training.data.scene import Scenes


class Mixed(Joined):
    """Several datasets one after the other, of which training sees given shares, however large each is.

    Args:
        parts: The datasets, each with how many of its scenes are in a round of training; those that are empty are left
            out. What a dataset has twice is seen twice as often as the rest of it.

    Raises:
        DataError: No part has any scenes, or a number is below 1.
    """

    def __init__(self, *parts: tuple[Scenes, int]):
        parts = tuple(part for part in parts if len(part[0]))
        if not parts or min(count for _, count in parts) < 1:
            raise DataError("A mix needs scenes, and at least one of each part in a round. Leave out what is not due.")
        super().__init__(*(scenes for scenes, _ in parts))
        self.shares = [(len(scenes), count) for scenes, count in parts]


class Order:
    """Which scene training sees at which place: a function of seed and place, and of nothing else.

    Args:
        parts: How many scenes each part of the dataset has, and how many of them each round of places has. They are
            spread over the round. Each scene of a part is seen once before any is seen again, each time in a new order.
        seed: Of the order.
    """

    def __init__(self, parts: Sequence[tuple[int, int]], seed: int):
        self._sizes, self._counts = zip(*parts, strict=True)
        self._starts = np.cumsum([0, *self._sizes[:-1]]).tolist()
        slots = [(rank, part) for part, count in enumerate(self._counts) for rank in range(count)]
        self._slots = sorted(slots, key=lambda slot: (slot[0] + 0.5) / self._counts[slot[1]])
        self._seed = seed

    @classmethod
    def of(cls, scenes: Scenes, seed: int) -> "Order":
        """The order of a dataset: by its shares if it is `Mixed`."""
        return cls(scenes.shares if isinstance(scenes, Mixed) else [(len(scenes), 1)], seed)

    def __call__(self, place: int) -> int:
        """Number of the scene at a place, which is 0 or more."""
        turn, slot = divmod(place, len(self._slots))
        rank, part = self._slots[slot]
        epoch, position = divmod(turn * self._counts[part] + rank, self._sizes[part])
        order = np.random.default_rng([self._seed, 0, epoch, part]).permutation(self._sizes[part])
        return int(self._starts[part] + order[position])
