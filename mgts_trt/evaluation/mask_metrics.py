"""How well masks fit: IoU with the labelled ones, as the boxes' metrics are in `metrics`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Bools
from mgts_trt.errors import MetricError


@dataclass(frozen=True, eq=False)
class MaskResult:
    """How well the masks of the people found fit.

    Attributes:
        mean_iou: Mean of `ious`, 0…1; NaN where there was no true positive.
        ious: float64 [T], one a true positive, in the order given.
    """

    mean_iou: float
    ious: NDArray[np.float64]


def mask_iou(a: Bools, b: Bools, *, empty: float) -> float:
    """Intersection over union of two masks, bool [H, W].

    Args:
        a: One.
        b: The other.
        empty: What two empty masks give: 0 where finding nothing is no success, 1 where it is agreement.

    Raises:
        MetricError: The shapes differ.
    """
    if a.shape != b.shape:
        raise MetricError(f"Masks of shapes {a.shape} and {b.shape} do not lie on the same picture. Pass equal shapes.")
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else empty


def evaluate_masks(images: Iterable[tuple[Sequence[Bools] | Bools, Array, Array]]) -> MaskResult:
    """Mask IoU over the true positives of a set of images, which may be a generator: one image is held at a time.

    Args:
        images: Of each image, the predicted masks, N of bool [H, W]; the instance map of the ground truth, [H, W],
            k + 1 where the person of row k is visible; and the detections' matches [N]: a row k, or -1.

    Raises:
        MetricError: Shapes or lengths differ.
    """
    ious: list[float] = []
    for i, (masks, instances, matches) in enumerate(images):
        if len(masks) != len(matches):
            raise MetricError(f"Image {i} has {len(masks)} masks but {len(matches)} matches. Pass one a detection.")
        ious += [mask_iou(masks[n], instances == k + 1, empty=0) for n, k in enumerate(matches) if k >= 0]
    return MaskResult(float(np.mean(ious)) if ious else float("nan"), np.array(ious, np.float64))
