import numpy as np
import pytest

pytest.importorskip("torch", reason="the loss needs PyTorch")
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from training.data.scene import UNKNOWN
from training.losses.triplet import MARGIN, batch_hard_triplet


def literal(x: np.ndarray, labels: list[int], margin: float) -> float:
    """Row after row: the farthest of one's own against the nearest of the others."""
    rows = [row for row, label in enumerate(labels) if label != UNKNOWN]
    losses = []
    for a in rows:
        own = [np.linalg.norm(x[a] - x[p]) for p in rows if p != a and labels[p] == labels[a]]
        others = [np.linalg.norm(x[a] - x[n]) for n in rows if labels[n] != labels[a]]
        if own and others:
            losses.append(max(0.0, max(own) - min(others) + margin))
    return float(np.mean(losses)) if losses else 0.0


@given(
    labels=st.lists(st.integers(UNKNOWN, 3), max_size=9),
    seed=st.integers(0, 99),
    margin=st.sampled_from([0.0, MARGIN, 1.0]),
)
@settings(max_examples=60)
def test_as_written(labels: list[int], seed: int, margin: float) -> None:
    x = functional.normalize(torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(seed)), dim=1)
    x.requires_grad_(True)
    loss = batch_hard_triplet(x, torch.tensor(labels, dtype=torch.int64), margin)
    assert loss.item() == pytest.approx(literal(x.detach().numpy().astype(np.float64), labels, margin), abs=2e-3)
    loss.backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not x.grad[torch.tensor(labels, dtype=torch.int64) == UNKNOWN].any()


def test_the_same_picture_twice_has_a_finite_gradient() -> None:
    x = torch.eye(3)[[0, 0, 1]].requires_grad_(True)
    batch_hard_triplet(x, torch.tensor([0, 0, 1]), 2.0).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_learning_draws_people_together() -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    labels = torch.arange(8) // 4
    optimizer = torch.optim.SGD([x], lr=1.0)
    losses = []
    for _ in range(60):
        loss = batch_hard_triplet(functional.normalize(x, dim=1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > MARGIN
    assert losses[-1] < 0.05
