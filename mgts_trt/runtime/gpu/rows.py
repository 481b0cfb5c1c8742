"""What is known of the people of the pictures in a slot, a row a person."""

from dataclasses import dataclass

import numpy as np

from mgts_trt._typing import Self
from mgts_trt.runtime.cuda.array import DeviceArray, PinnedArray
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.gpu.memory import Arena, Mirrored


@dataclass(frozen=True)
class PeopleRows:
    """Room for `places` people.

    Attributes:
        places: Rows of each array.
        boxes: Tight canvas boxes, float32 [places, 4].
        scores: float32 [places].
        crops: Expanded canvas boxes, int32 [places, 4].
        instances: int32 [places].
        tights: Tight canvas boxes in whole pixels, int32 [places, 4]; on the device alone.
        embeddings: float32 [places, d]; on the host alone.
    """

    places: int
    boxes: Mirrored
    scores: Mirrored
    crops: Mirrored
    instances: Mirrored
    tights: DeviceArray
    embeddings: PinnedArray

    @classmethod
    def allocate(cls, arena: Arena, stream: Stream, places: int, embedding: int) -> Self:
        """New rows, for use on `stream`."""
        return cls(
            places=places,
            boxes=arena.mirrored((places, 4), np.float32, stream),
            scores=arena.mirrored((places,), np.float32, stream),
            crops=arena.mirrored((places, 4), np.int32, stream),
            instances=arena.mirrored((places,), np.int32, stream),
            tights=arena.array((places, 4), np.int32, stream),
            embeddings=arena.pinned((places, embedding), np.float32),
        )

    def free(self, arena: Arena) -> None:
        """Free what is on the device."""
        for array in (*(each.device for each in (self.boxes, self.scores, self.crops, self.instances)), self.tights):
            arena.free(array)
