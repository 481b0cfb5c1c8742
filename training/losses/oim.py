"""Online Instance Matching: the loss of the re-ID networks (Sec. 3.3, Eq. 3–4; Xiao et al., CVPR 2017)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mgts_trt.errors import MgtsError
from training.data.scene import UNKNOWN


class LabelError(MgtsError):
    """Labels that do not fit the embeddings or the number of identities."""


class OIM(nn.Module):
    """−log p_t of an embedding against the centres of all identities and a queue of unlabelled persons.

    p_t = exp(v_tᵀx/τ) / (Σ_j exp(v_jᵀx/τ) + Σ_k exp(u_kᵀx/τ)) (Eq. 3). The centres v and the queue u are remembered,
    not learnt. Both start at zero, as published.

    The loss and the update of what is remembered are two calls. Published code updates during the backward pass; a
    separate step leaves the loss a pure function, which can be differentiated numerically, evaluated without side
    effects, and whose gradient is taken against the very centres the loss saw.

    Args:
        identities: L, the number of labelled identities; at least 1.
        dimension: d of the embeddings.
        queue: Q, places for unlabelled persons; 0 for none (Sec. 4.3: 5000).
        temperature: τ (Sec. 4.3: 1/30).
        momentum: η, the share a centre keeps (Sec. 4.3: 0.5).

    Raises:
        LabelError: There is no identity to learn.
    """

    lookup: Tensor
    queue: Tensor
    position: Tensor

    def __init__(
        self,
        identities: int,
        dimension: int,
        *,
        queue: int = 5000,
        temperature: float = 1 / 30,
        momentum: float = 0.5,
    ) -> None:
        if identities < 1:
            raise LabelError(f"OIM with {identities} identities has nothing to tell apart. Give it labelled people.")
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        self.register_buffer("lookup", torch.zeros(identities, dimension))
        self.register_buffer("queue", torch.zeros(queue, dimension))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """The mean of −log p_t over the labelled rows; 0, with a gradient of 0, where no row is labelled.

        Args:
            x: Embeddings [N, d] of length 1.
            labels: int64 [N]: 0 … L−1, or `UNKNOWN`.

        Returns:
            A scalar, never negative.

        Raises:
            LabelError: The labels are not N integers of that range.
        """
        self._check(x, labels)
        # Half precision is too coarse for exp(30 · cos).
        with torch.autocast(x.device.type, enabled=False):
            # A copy, so that an update before the backward pass leaves the gradient alone.
            remembered = torch.cat([self.lookup, self.queue])
            logits = x.to(remembered.dtype) @ remembered.T / self.temperature
            total = functional.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
            return total / (labels != UNKNOWN).sum().clamp(min=1)

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor) -> None:
        """Remember a batch: v_t ← ηv_t + (1−η)x (Eq. 4), then length 1; unlabelled rows enter the queue.

        Rows of one identity update its centre one after another. The newest unlabelled rows displace the oldest.

        Args:
            x: Embeddings [N, d] of length 1.
            labels: int64 [N]: 0 … L−1, or `UNKNOWN`.

        Raises:
            LabelError: The labels are not N integers of that range.
        """
        self._check(x, labels)
        x = x.to(self.lookup.dtype)
        self._push(x[labels == UNKNOWN])
        x, labels = x[labels != UNKNOWN], labels[labels != UNKNOWN]
        # In rounds that hold each identity once: the same as row after row, but with few kernels.
        occurrence = (labels[:, None] == labels[None, :]).tril(-1).sum(dim=1)
        for turn in range(int(occurrence.max()) + 1 if len(labels) else 0):
            rows = occurrence == turn
            moved = self.momentum * self.lookup[labels[rows]] + (1 - self.momentum) * x[rows]
            self.lookup[labels[rows]] = functional.normalize(moved, dim=1)

    def _push(self, x: Tensor) -> None:
        size = len(self.queue)
        if not size:
            return
        places = (self.position + torch.arange(len(x), device=x.device)) % size
        # Of more rows than places only the last stay; an index must not name a place twice.
        self.queue[places[-size:]] = x[-size:]
        self.position.add_(len(x)).remainder_(size)

    def _check(self, x: Tensor, labels: Tensor) -> None:
        if labels.shape != x.shape[:1] or labels.dtype != torch.int64:
            raise LabelError(
                f"Labels are {labels.dtype} {list(labels.shape)} for embeddings {list(x.shape)}; expected one int64 "
                "label a row."
            )
        known = len(self.lookup)
        wrong = labels[(labels < UNKNOWN) | (labels >= known)]
        if len(wrong):
            raise LabelError(
                f"There is no identity {int(wrong[0])}: labels are 0 … {known - 1}, or {UNKNOWN} for the unlabelled. "
                "Renumber the identities, or make the loss for as many as the dataset has."
            )
