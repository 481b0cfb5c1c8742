"""People as the joint network describes them, on host and GPU alike."""

from collections.abc import Mapping

import numpy as np

from mgts_trt._typing import Array, Floats
from mgts_trt.errors import ImageError
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox, expand_boxes

LEAST_OVERLAP = 0.5
"""IoU with a given box from which a person found is the one in the box: that from which boxes are matched in search
(Sec. 4.2). For networks that describe no given boxes."""


def rows_of_given(boxes: Array, scores: Array, given: Floats, letterbox: Letterbox) -> Array:
    """Which of the people found stand in given boxes, for a network that describes nobody else.

    Args:
        boxes: Found, [K, 4], xyxy, canvas pixels.
        scores: Theirs, [K]; 0 for padding.
        given: [N, 4], likewise, cut to the picture.
        letterbox: Names the boxes in pixels of the picture where it fails.

    Returns:
        int64 [N]: of each given box, the row it overlaps most.

    Raises:
        ImageError: A given box overlaps nobody by `LEAST_OVERLAP`.
    """
    rows = np.empty(len(given), np.int64)
    found = np.flatnonzero(scores > 0)
    for number, box in enumerate(given):
        overlaps = _overlaps(box, boxes[found])
        best = float(overlaps.max(initial=0))
        if best < LEAST_OVERLAP:
            said = [round(float(value), 1) for value in letterbox.to_image(box[None])[0]]
            raise ImageError(
                f"This bundle's joint network describes only people it finds itself, and nobody it finds is where the "
                f"box {said} is: the greatest IoU is {best:.2f}, and {LEAST_OVERLAP} is expected. Draw the box closer "
                "around the person, or take a bundle whose joint network has the input rois."
            )
        rows[number] = found[overlaps.argmax()]
    return rows


def joint_people(
    letterbox: Letterbox, boxes: Floats, scores: Floats, embeddings: Array, timings: Mapping[str, float]
) -> People:
    """People as the joint network describes them: of boxes on the canvas [N, 4], without masks or patches."""
    return People(
        boxes=letterbox.to_image(boxes),
        scores=scores,
        embeddings=np.asarray(embeddings, np.float32),
        instances=np.zeros(len(boxes), np.int32),
        crops=expand_boxes(boxes, 1.0, letterbox.content_hw).astype(np.int32),
        letterbox=letterbox,
        timings=dict(timings),
        canvas_boxes=boxes,
        instance_map=None,
        has_masks=False,
    )


def _overlaps(box: Array, boxes: Array) -> Array:
    """IoU of a box [4] with each of `boxes` [K, 4], float64 [K]; 0 for boxes without an area."""
    sides = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    shared = sides.prod(axis=1, dtype=np.float64)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1, dtype=np.float64)
    union = areas + np.prod(box[2:] - box[:2], dtype=np.float64) - shared
    overlaps: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps
