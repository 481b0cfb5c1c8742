"""How much of what a model finds in float32 it finds in another precision: one number, without labels."""

from collections.abc import Mapping, Sequence

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.evaluation.boxes import match_boxes
from mgts_trt.evaluation.mask_metrics import mask_iou
from mgts_trt.evaluation.metrics import evaluate_detection

IOUS = tuple(float(iou) for iou in np.arange(0.5, 1.0, 0.05))
"""Where boxes are compared, as COCO does."""


def agreement(
    reference: Sequence[Mapping[str, Array]], found: Sequence[Mapping[str, Array]], least_score: float
) -> float:
    """1 where two forms of a model give the same; less, the more of it is lost.

    Of a detector: AP of its boxes, where those of the reference are taken for the truth, averaged over `IOUS`; a mask
    net's is multiplied by the mean IoU of the matched masks. Of a re-ID network: the mean cosine of the embeddings.

    Args:
        reference: Outputs by name of each picture, float32: `boxes` [K, 4] (xyxy, canvas pixels) and `scores` [K], of a
            mask net also `masks` [K, m, m], or `embedding` [N, d] of length 1. Rows without a person have score 0.
        found: Outputs of the other form, as many pictures; of embeddings the same N people.
        least_score: Score, 0 … 1, from which boxes of the reference count.

    Returns:
        −1 … 1 for embeddings, else 0 … 1.

    Raises:
        MetricError: The reference finds nobody in any picture.
    """
    if "embedding" in reference[0]:
        cosines = [(a["embedding"] * b["embedding"]).sum(1) for a, b in zip(reference, found, strict=True)]
        return float(np.concatenate(cosines).mean())
    truths = [rows["boxes"][rows["scores"] >= least_score] for rows in reference]
    boxes = [(rows["boxes"][rows["scores"] > 0], rows["scores"][rows["scores"] > 0]) for rows in found]
    share = float(np.mean([evaluate_detection(boxes, truths, iou_threshold=iou).average_precision for iou in IOUS]))
    if "masks" in reference[0]:
        share *= _mask_agreement(reference, found, least_score)
    return share


def _mask_agreement(
    reference: Sequence[Mapping[str, Array]], found: Sequence[Mapping[str, Array]], least_score: float
) -> float:
    ious = []
    for rows, others in zip(reference, found, strict=True):
        truths = np.flatnonzero(rows["scores"] >= least_score)
        for i, j in enumerate(match_boxes(others["boxes"], rows["boxes"][truths], 0.5)):
            if j >= 0:
                ours, theirs = others["masks"][i] >= 0.5, rows["masks"][truths[j]] >= 0.5
                ious.append(mask_iou(ours, theirs, empty=0))
    return float(np.mean(ious)) if ious else 0.0
