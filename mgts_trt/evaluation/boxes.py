"""Boxes as plain arrays: xyxy, float pixels, one row a box."""

import numpy as np

from mgts_trt._typing import Array, Floats, Ints


def box_area(boxes: Array) -> Floats:
    """Areas of `boxes` [N, 4] in square pixels; a box turned inside out has area 0. Returns float32 [N]."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    area: Floats = (sides[:, 0] * sides[:, 1]).astype(np.float32)
    return area


def box_iou(a: Array, b: Array) -> Floats:
    """Intersection over union of every pair: `a` [N, 4], `b` [M, 4] → float32 [N, M] in [0, 1]; empty boxes give 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    overlap = np.clip(np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0, None)
    intersection = overlap[..., 0] * overlap[..., 1]
    union = box_area(a)[:, None] + box_area(b)[None, :] - intersection
    iou: Floats = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0).astype(np.float32)
    return iou


def match_boxes(a: Array, b: Array, threshold: float = 0.5) -> Ints:
    """For each row of `a` [N, 4], in order, the best row of `b` [M, 4] not taken yet.

    Returns int32 [N]: the index into `b`, or -1 where no free row reaches an IoU of `threshold`.
    """
    iou = box_iou(a, b)
    matches = np.full(len(a), -1, np.int32)
    for i in range(len(a)):
        if iou.shape[1] and iou[i].max() >= threshold and iou[i].max() > 0:
            matches[i] = iou[i].argmax()
            iou[:, matches[i]] = 0
    return matches
