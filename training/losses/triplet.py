"""The batch-hard triplet loss (Hermans, Beyer & Leibe, 2017)."""

import torch
from torch import Tensor
from torch.nn import functional

from training.data.scene import UNKNOWN

MARGIN = 0.3
"""Between distances of embeddings of length 1, which are 0 … 2: the usual one in re-ID (Luo et al., CVPRW 2019)."""


def batch_hard_triplet(x: Tensor, labels: Tensor, margin: float = MARGIN) -> Tensor:
    """How much nearer the nearest other identity is than the farthest of one's own, and the margin, at least 0.

    Args:
        x: Embeddings [N, d] of length 1.
        labels: int64 [N]; rows that are `UNKNOWN` are left out.
        margin: By which others are to be farther.

    Returns:
        The mean over the labelled rows that have another of their own and one of others; 0, with a gradient of 0,
        where none has.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, labels = x.float()[labels != UNKNOWN], labels[labels != UNKNOWN]
        squared = (2 - 2 * x @ x.T).clamp(min=1e-6)  # the root's gradient is infinite at 0
        distances = squared.sqrt()
        same = labels[:, None] == labels[None, :]
        own = same & ~torch.eye(len(labels), dtype=torch.bool, device=x.device)
        farthest = distances.masked_fill(~own, 0).amax(dim=1) if len(labels) else distances.sum(dim=1)
        nearest = distances.masked_fill(same, 4).amin(dim=1) if len(labels) else distances.sum(dim=1)
        counted = own.any(dim=1) & (~same).any(dim=1)
        losses = functional.relu(farthest - nearest + margin)
        return (losses * counted).sum() / counted.sum().clamp(min=1)
