"""The instance map: the mask net's persons painted onto one canvas."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array

InstanceMap: TypeAlias = NDArray[np.uint16]
"""uint16 [Hc, Wc]: 0 is background, k the k-th instance, the best-scored first."""


def paint_instances(
    boxes: Array,
    scores: Array,
    masks: Array,
    canvas_hw: tuple[int, int],
    *,
    score_threshold: float,
    mask_threshold: float,
) -> InstanceMap:
    """Paint scored masks into the instance map M of Algorithm 1.

    A pixel belongs to an instance if its centre (x + ½, y + ½) lies in the box (x1 ≤ x + ½ < x2, rows alike) and the
    mask there reaches `mask_threshold`. The mask is sampled bilinearly at u = (x + ½ - x1) / (x2 - x1) · m - ½ and at v
    alike, both clamped to 0 … m - 1. Where instances overlap, the better-scored one keeps the pixel.

    Args:
        boxes: Canvas boxes [K, 4], canvas pixels; parts outside the canvas are not painted, and a box without
            width or height (padding) paints nothing.
        scores: [K], 0..1.
        masks: Probabilities of the person [K, m, m], 0..1, each stretched over its box.
        canvas_hw: Height and width of the canvas.
        score_threshold: Instances below it are left out.
        mask_threshold: Probability from which a pixel is the person.

    Returns:
        uint16 [Hc, Wc]: 0 is background, k the k-th instance in descending score among those that reach
        `score_threshold`, from 1; of equal scores the earlier row comes first.
    """
    instances = np.zeros(canvas_hw, np.uint16)
    scores = np.asarray(scores)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= score_threshold]
    for k, row in reversed(list(enumerate(order, start=1))):  # worst first: the better ones paint over it
        box = np.asarray(boxes[row], np.float64)
        x1, y1, x2, y2 = box
        if not (np.isfinite(box).all() and x1 < x2 and y1 < y2):
            continue
        xs, ys = _pixels(x1, x2, canvas_hw[1]), _pixels(y1, y2, canvas_hw[0])
        if xs.start == xs.stop or ys.start == ys.stop:
            continue
        mask = np.asarray(masks[row], np.float64)
        values = _weights(ys, y1, y2, mask.shape[0]) @ mask @ _weights(xs, x1, x2, mask.shape[1]).T
        instances[ys, xs][values >= mask_threshold] = k
    return instances


def _pixels(low: float, high: float, size: int) -> slice:
    """The pixels of 0 … size - 1 whose centres lie in low ≤ p + ½ < high."""
    start, stop = np.clip(np.ceil((low - 0.5, high - 0.5)), 0, size).astype(int)
    return slice(start, stop)


def _weights(pixels: slice, low: float, high: float, m: int) -> Array:
    """Bilinear weights [pixels, m] of the mask's cells along one axis of the box; two a row, summing to 1."""
    centres = np.arange(pixels.start, pixels.stop) + 0.5
    u = np.clip((centres - low) / (high - low) * m - 0.5, 0, m - 1)
    weights: Array = np.clip(1 - np.abs(u[:, None] - np.arange(m)), 0, None)
    return weights
