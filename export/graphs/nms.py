"""Non-maximum suppression without data-dependent shapes: Cluster-NMS (Zheng et al., 2020)."""

import math

import torch
from torch import Tensor


def float_below(threshold: float) -> float:
    """The greatest float32 ≤ `threshold`.

    `iou > threshold` then has one answer whether it is computed in float32 (the graph) or in float64 (torchvision,
    which compares a float32 IoU with a double: for 0.3, whose nearest float32 lies above it, the two differ).
    """
    nearest = torch.tensor(threshold, dtype=torch.float32)
    if nearest.double().item() > threshold:
        nearest = torch.nextafter(nearest, torch.tensor(-math.inf))
    return nearest.item()


def suppression_matrix(boxes: Tensor, threshold: float) -> Tensor:
    """M[j, i] = 1 where box j outranks box i and their IoU exceeds `threshold`. Boxes [N, 4], best first → [N, N]."""
    # One [N, N] tensor a coordinate, not one [N, N, 2]: nothing is strided or sliced at that size.
    x1, y1, x2, y2 = boxes.split(1, dim=1)
    area = (x2 - x1) * (y2 - y1)
    width = torch.clamp(torch.minimum(x2, x2.T) - torch.maximum(x1, x1.T), min=0)
    height = torch.clamp(torch.minimum(y2, y2.T) - torch.maximum(y1, y1.T), min=0)
    intersection = width * height
    # Two empty boxes: 0 / tiny = 0, where torchvision has NaN; neither exceeds a threshold.
    union = torch.clamp(area + area.T - intersection, min=torch.finfo(torch.float32).tiny)
    return torch.triu(((intersection / union) > float_below(threshold)).float(), diagonal=1)


def cluster_nms(boxes: Tensor, threshold: float, rounds: int) -> Tensor:
    """Greedy NMS as a fixed-point iteration: keep ← (keep · M < ½), from all ones.

    After r rounds every box at the end of chains of at most r overlaps (each box overlaps the next, r + 1 boxes in all,
    best first) is decided as greedy NMS decides it. For longer chains the iteration alternates around the answer:
    after an even number of rounds it keeps all that greedy NMS keeps and perhaps a few boxes more, after an odd number
    it may drop some. So `rounds` must be even: a duplicate box is a nuisance, a lost person is an error.

    Args:
        boxes: xyxy [N, 4], best first.
        threshold: IoU above which the lesser box goes.
        rounds: Even; each is one [1, N] × [N, N] product.

    Returns:
        float32 [N]: 1 for the boxes kept.
    """
    if rounds < 2 or rounds % 2:
        raise ValueError(f"an even number of rounds ≥ 2 expected, got {rounds}")
    one = torch.ones_like(boxes[:, :1]).T
    negated = -suppression_matrix(boxes, threshold)
    keep = one
    for _ in range(rounds):
        # max(0, 1 − suppressors kept): the comparison written as product, bias and ReLU, which runtimes fuse.
        keep = torch.relu(torch.addmm(one, keep, negated))
    return keep[0]


def rounds_needed(boxes: Tensor, threshold: float) -> int:
    """After how many rounds `cluster_nms` has reached greedy NMS on these boxes. xyxy [N, 4], best first."""
    matrix = suppression_matrix(boxes, threshold)
    keep = torch.ones(1, len(boxes))
    for done in range(len(boxes) + 1):
        following = (keep @ matrix < 0.5).float()
        if torch.equal(following, keep):
            return done
        keep = following
    raise AssertionError("a chain of suppressions is never longer than there are boxes")


def compact(keep: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows to keep, in order, in a fixed number of places.

    Args:
        keep: float [N], 1 or 0.
        count: Places, ≤ N.

    Returns:
        int64 [count], row numbers; and float32 [count], 1 where the place is taken, 0 where it is padding.
    """
    # Distinct keys, so that no implementation's way with ties shows: N, N−1, …, 1 for rows kept, 0 or less elsewhere.
    n = keep.shape[0]
    order = torch.arange(n, 0, -1, dtype=torch.float32)
    key, index = torch.topk(keep * order - (1 - keep) * (n - order), count)
    return index, (key > 0.5).float()
