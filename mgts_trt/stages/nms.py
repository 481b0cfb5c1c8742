"""Non-maximum suppression, the greedy one: the operator `Nms`."""

import numpy as np

from mgts_trt._typing import Array, Floats


def nms(boxes: Array, threshold: float) -> Floats:
    """Remove what overlaps something better.

    Box after box, one that is still there removes all worse ones whose IoU with it is greater than the threshold. A box
    without area removes nothing and is not removed, nor is one that is not a number.

    Args:
        boxes: xyxy, best first, float32 [B, N, 4].
        threshold: An IoU, 0…1, taken as float32.

    Returns:
        float32 [B, N], 1 for what stays, else 0. Computed in float32, each operation rounded by itself.
    """
    x1, y1, x2, y2 = np.moveaxis(np.asarray(boxes, np.float32), 2, 0)
    limit, tiny = np.float32(threshold), np.finfo(np.float32).tiny
    keep = np.ones(x1.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # of boxes too large for an area
        areas = (x2 - x1) * (y2 - y1)
        for i in range(x1.shape[1]):
            one, worse = np.s_[:, i : i + 1], np.s_[:, i + 1 :]
            width = np.maximum(np.minimum(x2[one], x2[worse]) - np.maximum(x1[one], x1[worse]), 0)
            height = np.maximum(np.minimum(y2[one], y2[worse]) - np.maximum(y1[one], y1[worse]), 0)
            intersection = width * height
            union = areas[one] + areas[worse] - intersection
            removed = (intersection / np.maximum(union, tiny) > limit) & (keep[one] > 0)
            keep[worse][removed] = 0
    return keep
