"""Who is hidden in what is drawn: everybody, or everybody but one person."""

from dataclasses import dataclass

import numpy as np

from mgts_trt._typing import Floats, Image
from mgts_trt.gallery.bystanders import mask_of
from mgts_trt.gallery.question import Question
from mgts_trt.pictures.hiding import hide_people
from mgts_trt.runtime.people import People

HOLD = 1.0
"""Seconds for which the place of somebody who was hidden stays so in a film, where they are not found again."""


@dataclass(frozen=True, eq=False)
class Blur:
    """Whom to hide.

    Attributes:
        asked: The person who is not hidden; None hides everybody.
        least: Likeness, −1 … 1, from which somebody is taken for that person. In a picture that is one at most, the
            most alike.
    """

    asked: Question | None = None
    least: float = 1.0

    def shown(self, people: People) -> int | None:
        """The row of the one who is not hidden, if they are there."""
        if self.asked is None or not len(people):
            return None
        likeness = self.asked.likeness(people.embeddings)
        best = int(likeness.argmax())
        return best if likeness[best] >= self.least else None


class Blurring:
    """Hides people in the pictures of one input, in order.

    A detector overlooks people in single frames. Where a track goes on later, or has just ended, the place where its
    person was last hidden stays covered for `HOLD` seconds.
    """

    def __init__(self, blur: Blur) -> None:
        self._blur = blur
        self._held: dict[int, tuple[float, Floats]] = {}

    def hide(
        self, image: Image, people: People, seconds: float = 0.0, tracks: list[int] | None = None
    ) -> tuple[Image, int | None]:
        """A copy of a picture without those who are to be hidden, and the row of the one who is not.

        Args:
            image: uint8 [H, W, 3], RGB.
            people: N, found in `image`.
            seconds: When it was seen.
            tracks: N numbers; None in a photo.
        """
        shown = self._blur.shown(people)
        hidden = [row for row in range(len(people)) if row != shown]
        boxes = people.boxes[hidden]
        if tracks is not None:
            for track in tracks:
                self._held.pop(track, None)
            self._held = {track: held for track, held in self._held.items() if abs(seconds - held[0]) <= HOLD}
            boxes = np.concatenate([boxes, *(box[None] for _, box in self._held.values())])
            self._held.update({tracks[row]: (seconds, people.boxes[row]) for row in hidden})
        if shown is None:
            return hide_people(image, boxes), None
        return hide_people(image, boxes, people.boxes[shown], mask_of(people, shown)), shown
