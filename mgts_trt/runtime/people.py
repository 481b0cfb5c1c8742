"""The people found in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mgts_trt._typing import Array, Bools, Floats, Image, Ints, Self
from mgts_trt.errors import ImageError, MgtsError
from mgts_trt.stages import InstanceMap, Letterbox, expand_boxes

if TYPE_CHECKING:
    import supervision

STAGES = ("letterbox", "detector", "masknet", "joint", "separate", "reid")
"""What `People.timings` may name, in the order they run."""

_LARGEST_MASKS = 2**30
"""Bytes `People.masks` may take; beyond, masks are to be asked for one at a time."""


@dataclass(frozen=True, repr=False)
class People:
    """What `PersonSearch` found: arrays of N rows, one a person, best first.

    Example:
        ```python
        people = search(image)
        print(people)                                             # three lines: how many, how sure, how fast
        for box, score in zip(people.boxes, people.scores):
            print(box, score)
        similarity = people.embeddings @ probe.embeddings[0]      # cosines
        sure = people[people.scores >= 0.9]                       # some of them
        ```

    Attributes:
        boxes: float32 [N, 4], xyxy, pixels of the picture.
        scores: float32 [N], 0…1.
        embeddings: float32 [N, d], each of length 1: the dot product of two is their cosine.
        instances: int32 [N], the person's instance in the instance map; 0 where the tight box was the mask (always in
            mode `box`; in mode `net` where the mask net saw nobody in the box).
        crops: int32 [N, 4], the expanded boxes on the canvas that the patches were cut from; in mode `joint`, which
            cuts none, the boxes in whole pixels.
        letterbox: How the picture lies on the canvas.
        timings: Milliseconds by stage, in the order they ran, and their `total`.
    """

    boxes: Floats
    scores: Floats
    embeddings: Floats
    instances: Ints
    crops: Ints
    letterbox: Letterbox
    timings: dict[str, float] = field(compare=False)
    canvas_boxes: Floats
    instance_map: InstanceMap | None
    has_masks: bool = True
    """False in the modes `none` and `joint`, which look at no mask."""

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        height, width = self.letterbox.image_hw
        return f"<People: {len(self)} in a picture of {width}×{height} pixels>"

    def __str__(self) -> str:
        """Three lines: how many people and what their masks are, how sure the detector is of them, how long it took."""
        height, width = self.letterbox.image_hw
        if not self.has_masks:
            masks = "none"
        elif self.instance_map is None:
            masks = "their boxes"
        else:
            whole = int(self.boxes_as_masks.sum())
            masks = f"{len(self) - whole} from the mask net, {whole} the whole box"
        found = f"{self.scores.max():.2f} to {self.scores.min():.2f}" if len(self) else "none"
        stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in self.timings.items() if stage != "total")
        return (
            f"{len(self)} {'person' if len(self) == 1 else 'people'} in a picture of {width}×{height} pixels\n"
            f"scores: {found}; masks: {masks}; embeddings: {list(self.embeddings.shape)}\n"
            f"{self.timings.get('total', 0):.1f} ms: {stages}"
        )

    def __getitem__(self, rows: int | slice | Sequence[int] | Array) -> Self:
        """Some of the people, in the order asked for; of the same picture, with its timings.

        Args:
            rows: What picks rows of a NumPy array: bool [N], indices, a slice, or the index of one person.

        Raises:
            IndexError: An index is not below N, or so many booleans as people are expected.
        """
        chosen = np.arange(len(self))[rows].reshape(-1)
        return replace(
            self,
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            embeddings=self.embeddings[chosen],
            instances=self.instances[chosen],
            crops=self.crops[chosen],
            canvas_boxes=self.canvas_boxes[chosen],
        )

    @property
    def boxes_as_masks(self) -> Bools:
        """For whom the mask net found no mask, so that the box is it: bool [N]; all false but in mode `net`."""
        if self.instance_map is None:
            return np.zeros(len(self), np.bool_)
        return np.asarray(self.instances == 0)

    @property
    def masks(self) -> Bools | None:
        """All masks, bool [N, H, W] over the picture, or None in modes `none` and `joint`. Made at each access.

        A mask holds the pixels MGTS saw as foreground: those of the person's instance inside the expanded box, or of
        the tight box.

        Raises:
            ImageError: They would take more than a GiB; ask for them one at a time with `mask`.
        """
        if not self.has_masks:
            return None
        height, width = self.letterbox.image_hw
        if len(self) * height * width > _LARGEST_MASKS:
            gib = len(self) * height * width / 2**30
            raise ImageError(
                f"{len(self)} masks of {width}×{height} pixels would take {gib:.1f} GiB. "
                "Ask for them one at a time with people.mask(i)."
            )
        masks = np.zeros((len(self), height, width), np.bool_)
        for i in range(len(self)):
            masks[i] = self.mask(i)
        return masks

    def mask(self, i: int) -> Bools:
        """The mask of person `i`, bool [H, W] over the picture.

        Raises:
            ImageError: In the modes `none` and `joint`.
        """
        if not self.has_masks:
            raise ImageError("The modes none and joint look at no mask. Open the bundle in mode net or box.")
        height, width = self.letterbox.image_hw
        # A pixel of the picture takes the value of the canvas pixel its centre falls into.
        rows = ((np.arange(height) + 0.5) * self.letterbox.scale[1]).astype(np.int64)
        columns = ((np.arange(width) + 0.5) * self.letterbox.scale[0]).astype(np.int64)
        by_instance = self.instance_map is not None and self.instances[i] > 0
        tight = expand_boxes(self.canvas_boxes[i], 1.0, self.letterbox.content_hw)[0]
        x1, y1, x2, y2 = self.crops[i] if by_instance else tight
        inside_rows, inside_columns = (rows >= y1) & (rows < y2), (columns >= x1) & (columns < x2)
        mask = np.zeros((height, width), np.bool_)
        if self.instance_map is not None and by_instance:
            of_person = self.instance_map[np.ix_(rows[inside_rows], columns[inside_columns])] == self.instances[i]
            mask[np.ix_(inside_rows, inside_columns)] = of_person
        else:
            mask[np.ix_(inside_rows, inside_columns)] = True
        return mask

    def draw(self, image: Image) -> Image:
        """A copy of the picture, uint8 [H, W, 3] RGB, with boxes, scores and masks drawn on it, of the same shape.

        Where the mask net found no mask (`boxes_as_masks`), the box is dashed, and a legend says so.
        """
        from mgts_trt.pictures.draw import draw_people

        masks = self.mask if self.has_masks else None
        return draw_people(image, self.boxes, self.scores, masks, unmasked=self.boxes_as_masks)

    def to_supervision(self) -> "supervision.Detections":
        """The people as `supervision.Detections`, for its annotators, trackers and zones.

        Returns:
            N detections, in this order: `xyxy` float32 [N, 4] and `mask` bool [N, H, W] (None without masks) in pixels
            of the picture; `confidence` float32 [N]; `class_id` 0, a person; `data["embedding"]` float32 [N, d].

        Raises:
            MgtsError: The package supervision is not installed.
            ImageError: The masks would take more than a GiB, see `masks`.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise MgtsError(
                "People as supervision.Detections need supervision, which is not installed: `pip install supervision`."
            ) from error
        return Detections(
            xyxy=self.boxes.copy(),
            mask=self.masks,
            confidence=self.scores.copy(),
            class_id=np.zeros(len(self), np.int64),
            data={"embedding": self.embeddings.copy()},
        )

    def to_dict(self) -> dict[str, object]:
        """Everything but masks, as JSON takes it."""
        return {
            "image": {"height": self.letterbox.image_hw[0], "width": self.letterbox.image_hw[1]},
            "people": [
                {
                    "box": [round(float(v), 2) for v in self.boxes[i]],
                    "score": round(float(self.scores[i]), 6),
                    "mask": "instance" if self.instances[i] else ("box" if self.has_masks else None),
                    "embedding": [round(float(v), 6) for v in self.embeddings[i]],
                }
                for i in range(len(self))
            ],
            "timings_ms": {stage: round(ms, 3) for stage, ms in self.timings.items()},
        }


def people_among(boxes: Floats, scores: Array, least: float, top: int | None) -> Array:
    """The people among a network's rows: scored well enough, and on the picture rather than the padding.

    Args:
        boxes: [K, 4], canvas pixels, cut to the picture.
        scores: [K], best first; 0 is padding of the network's fixed number of places.
        least: Score of a person.
        top: At most so many; None takes all.

    Returns:
        Row numbers, int64 [N], in order.
    """
    on_picture = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
    return np.flatnonzero(on_picture & (scores >= least) & (scores > 0))[:top]


def given_boxes(boxes: Array, letterbox: Letterbox) -> Floats:
    """Boxes a caller gives for a picture, on the canvas and cut to the picture.

    Args:
        boxes: xyxy [N, 4], pixels of the picture.
        letterbox: How the picture lies on the canvas.

    Returns:
        float32 [N, 4].

    Raises:
        ImageError: They are not such rows, or one is not finite, has no area, or lies outside the picture.
    """
    rows = np.asarray(boxes, np.float64)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ImageError(f"Boxes of shape [N, 4] expected (xyxy, pixels), got {list(rows.shape)}.")
    clipped = letterbox.clip(letterbox.to_canvas(rows))
    for row, box in zip(rows, clipped, strict=True):
        if not np.isfinite(row).all() or (box[2:] <= box[:2]).any():
            height, width = letterbox.image_hw
            raise ImageError(
                f"The box {[round(float(v), 1) for v in row]} holds no pixel of the {width}×{height} picture. "
                "Boxes are x1, y1, x2, y2 in pixels of the picture."
            )
    return clipped
