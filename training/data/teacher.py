"""A teacher: another project's detector, YOLOX, that finds the people and things in pictures nobody has labelled."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mgts_trt._typing import Floats, Image
from training.data.files import DataError

PERSON = 0
"""Number of the class `person` among COCO's."""

# fmt: off
CATEGORIES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""COCO's categories in the order of the detector's classes."""

_STRIDES = (8, 16, 32)
_GREY = 114
"""What fills a canvas beside the picture, as the detector learnt it."""
_LEAST = 0.05
"""Scores below are never looked at: the detector says so of most of its 3,549 places."""
_SAME = 0.5
"""Two views' boxes with this IoU show one thing; the field's usual threshold."""
_PART = 0.8
"""A box of a tile with this share of its area inside a greater one that scores more is a part of it: a tile shows half
a person where the whole picture shows all."""

_TILE = 0.6
"""Side of a tile, in sides of the picture: two across overlap by a third, so that whoever is small is whole in one."""
_SMALL = 0.3
"""People lower than this, in the picture's longer side, make it worth looking at tiles; in tiles they reach half."""
_HINT = 0.1
"""Score from which somebody small is a reason to look at tiles."""


@dataclass(frozen=True, eq=False)
class Sightings:
    """What the teacher sees in a picture.

    Attributes:
        boxes: float32 [N, 4], xyxy, pixels of the picture, cut to it.
        scores: float32 [N], 0 … 1, falling.
        classes: int64 [N], numbers of `CATEGORIES`.
    """

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Sightings":
        """Some of them."""
        return Sightings(self.boxes[rows], self.scores[rows], self.classes[rows])


class Teacher:
    """YOLOX on ONNX Runtime.

    Args:
        path: Its ONNX file, with one input [1, 3, S, S] and one output [1, P, 85] of undecoded places.
        tiled: Look at tiles, too, where people are small: up to five times as long.
        threads: Of ONNX Runtime; None as it likes.

    Raises:
        DataError: The file is not there or not such a detector.
    """

    def __init__(self, path: str | Path, *, tiled: bool = False, threads: int | None = None):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no class
            raise DataError(f"{path} cannot be opened as an ONNX file: {error}. Name a YOLOX detector.") from error
        (taken, *_), (given, *_) = self._session.get_inputs(), self._session.get_outputs()
        side = taken.shape[-1]
        places = sum((side // stride) ** 2 for stride in _STRIDES) if isinstance(side, int) else None
        if list(taken.shape) != [1, 3, side, side] or list(given.shape) != [1, places, 5 + len(CATEGORIES)]:
            raise DataError(
                f"{path} takes {taken.shape} and gives {given.shape}, but of a YOLOX detector for COCO [1, 3, S, S] "
                f"and [1, places, {5 + len(CATEGORIES)}] are expected. Name another file."
            )
        self._input, self._side, self._tiled = taken.name, int(side), tiled

    def look(self, image: Image) -> Sightings:
        """Everything in a picture, seen as it is and in the mirror, and where people are small, in tiles if wanted.

        Args:
            image: uint8 [H, W, 3], RGB.
        """
        whole = self._both_ways(image)
        height, width = image.shape[:2]
        small = (whole.boxes[:, 3] - whole.boxes[:, 1] < _SMALL * max(height, width)) & (whole.scores >= _HINT)
        if not self._tiled or not (small & (whole.classes == PERSON)).any():
            return whole
        return suppressed([whole, *(self._tile(image, tile) for tile in tiles(height, width))])

    def _both_ways(self, image: Image) -> Sightings:
        """What is seen in a picture and in its mirror, agreed: whatever one of them misses counts half."""
        return agreed(self._once(image), mirrored(self._once(np.ascontiguousarray(image[:, ::-1])), image.shape[1]))

    def _tile(self, image: Image, tile: tuple[int, int, int, int]) -> Sightings:
        """What is seen in a part of a picture, but what its inner edges cut: another tile shows that whole."""
        left, top, right, bottom = tile
        seen = self._both_ways(image[top:bottom, left:right])
        boxes = seen.boxes + np.array((left, top, left, top), np.float32)
        height, width = image.shape[:2]
        margin = 0.01 * (right - left)
        cut = (
            ((boxes[:, 0] < left + margin) & (left > 0))
            | ((boxes[:, 1] < top + margin) & (top > 0))
            | ((boxes[:, 2] > right - margin) & (right < width))
            | ((boxes[:, 3] > bottom - margin) & (bottom < height))
        )
        return Sightings(boxes, seen.scores, seen.classes)[~cut]

    def _once(self, image: Image) -> Sightings:
        canvas, scale = letterboxed(image, self._side)
        output = self._session.run(None, {self._input: canvas})[0][0]
        height, width = image.shape[:2]
        return decoded(output, self._side, scale, (height, width))


def letterboxed(image: Image, side: int) -> tuple[Floats, float]:
    """A picture in the upper left corner of a square canvas.

    Args:
        image: uint8 [H, W, 3], RGB.
        side: Of the canvas, pixels.

    Returns:
        float32 [1, 3, side, side], BGR, 0 … 255; and by how much the picture was scaled.
    """
    scale = side / max(image.shape[:2])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    height, width = (max(1, min(side, round(length * scale))) for length in image.shape[:2])
    canvas = np.full((side, side, 3), _GREY, np.uint8)
    canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=kind)[:, :, ::-1]
    return canvas.transpose(2, 0, 1)[None].astype(np.float32), scale


def decoded(output: Floats, side: int, scale: float, hw: tuple[int, int]) -> Sightings:
    """What the detector's output says of a picture, before suppression: the best class of each place.

    Args:
        output: float32 [P, 5 + C]: centre, as an offset in cells from the place's own, the logarithm of width and
            height in cells, objectness, and the classes' probabilities; the places of all strides, row by row.
        side: Of the canvas, pixels.
        scale: From the picture to the canvas.
        hw: Height and width of the picture, to which boxes are cut.
    """
    cells, strides = [], []
    for stride in _STRIDES:
        count = side // stride
        ys, xs = np.mgrid[:count, :count]
        cells.append(np.stack([xs, ys], -1).reshape(-1, 2))
        strides.append(np.full((count * count, 1), stride))
    stride = np.concatenate(strides)
    centres = (output[:, :2] + np.concatenate(cells)) * stride
    sizes = np.exp(output[:, 2:4]) * stride
    classes = output[:, 5:].argmax(1)
    scores = output[:, 4] * output[:, 5:].max(1)
    boxes = np.hstack([centres - sizes / 2, centres + sizes / 2]) / scale
    height, width = hw
    boxes = np.clip(boxes, 0, (width, height, width, height))
    kept = (scores >= _LEAST) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    raw = Sightings(boxes.astype(np.float32), scores.astype(np.float32), classes.astype(np.int64))
    return suppressed([raw[kept]])


def tiles(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Squares that cover a picture and overlap: left, top, right, bottom."""
    side = round(_TILE * max(height, width))

    def starts(length: int) -> list[int]:
        count = 1 if length <= side else 2
        return [round(number * (length - side)) for number in range(count)]

    return [
        (left, top, min(left + side, width), min(top + side, height))
        for top in starts(height)
        for left in starts(width)
    ]


def mirrored(seen: Sightings, width: int) -> Sightings:
    """The same in the mirror of a picture that is so wide."""
    left, top, right, bottom = seen.boxes.T
    return Sightings(np.stack([width - right, top, width - left, bottom], 1), seen.scores, seen.classes)


def agreed(one: Sightings, other: Sightings) -> Sightings:
    """Two views of one picture: boxes that meet are averaged by their scores, and scores are averaged.

    What only one view has keeps its box and half its score.
    """
    overlaps = ious(one.boxes, other.boxes) * (one.classes[:, None] == other.classes)
    boxes, scores, free = one.boxes.copy(), one.scores / 2, np.ones(len(other.scores), bool)
    for row in range(len(one.scores)):  # by falling score
        fits = np.where(free, overlaps[row], 0)
        best = int(fits.argmax()) if len(fits) else 0
        if len(fits) and fits[best] >= _SAME:
            weights = one.scores[row], other.scores[best]
            boxes[row] = np.average([one.boxes[row], other.boxes[best]], axis=0, weights=weights)
            scores[row] += other.scores[best] / 2
            free[best] = False
    return _by_score(
        Sightings(
            np.vstack([boxes, other.boxes[free]]),
            np.concatenate([scores, other.scores[free] / 2]),
            np.concatenate([one.classes, other.classes[free]]),
        )
    )


def suppressed(views: list[Sightings]) -> Sightings:
    """Each thing once, of the box that scores most.

    Args:
        views: The first of the whole picture, further ones of its tiles: of these also goes what lies in a greater box.
    """
    tiled = np.concatenate([np.full(len(view.scores), number > 0) for number, view in enumerate(views)])
    seen = Sightings(
        np.vstack([view.boxes for view in views]),
        np.concatenate([view.scores for view in views]),
        np.concatenate([view.classes for view in views]),
    )
    order = np.argsort(-seen.scores, kind="stable")
    seen, tiled = seen[order], tiled[order]
    same = (ious(seen.boxes, seen.boxes) >= _SAME) | ((covers(seen.boxes, seen.boxes) >= _PART) & tiled[:, None])
    same &= seen.classes[:, None] == seen.classes
    kept = np.ones(len(order), bool)
    for row in range(len(order)):
        kept[row] = not (same[row, :row] & kept[:row]).any()
    return seen[kept]


def ious(one: Floats, other: Floats) -> Floats:
    """Intersection over union of boxes [N, 4] and [M, 4], [N, M]."""
    shared = _shared(one, other)
    return shared / np.maximum(_areas(one)[:, None] + _areas(other) - shared, 1e-6)


def covers(one: Floats, other: Floats) -> Floats:
    """Which share of each of the boxes [N, 4] lies in each of those [M, 4] that are greater, [N, M]; 0 in lesser."""
    areas = _areas(one)[:, None]
    return np.where(areas < _areas(other), _shared(one, other) / np.maximum(areas, 1e-6), 0)


def _shared(one: Floats, other: Floats) -> Floats:
    low, high = np.maximum(one[:, None, :2], other[None, :, :2]), np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared: Floats = np.clip(high - low, 0, None).prod(2)
    return shared


def _areas(boxes: Floats) -> Floats:
    areas: Floats = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return areas


def _by_score(seen: Sightings) -> Sightings:
    return seen[np.argsort(-seen.scores, kind="stable")]
