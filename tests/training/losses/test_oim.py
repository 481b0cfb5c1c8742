import numpy as np
import pytest

pytest.importorskip("torch", reason="the loss needs PyTorch")
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from training.data.scene import UNKNOWN
from training.losses.oim import OIM, LabelError

L, D = 5, 6


class Literal:
    """Eq. 3 and 4, symbol by symbol, row by row."""

    def __init__(self, places: int, tau: float, eta: float) -> None:
        self.v, self.u = np.zeros((L, D)), [np.zeros(D) for _ in range(places)]
        self.tau, self.eta = tau, eta

    def loss(self, x: np.ndarray, labels: list[int]) -> float:
        terms = []
        for row, t in zip(x, labels, strict=True):
            if t == UNKNOWN:
                continue
            below = sum(np.exp(v @ row / self.tau) for v in self.v) + sum(np.exp(u @ row / self.tau) for u in self.u)
            terms.append(-np.log(np.exp(self.v[t] @ row / self.tau) / below))
        return float(np.mean(terms)) if terms else 0.0

    def update(self, x: np.ndarray, labels: list[int]) -> None:
        for row, t in zip(x, labels, strict=True):
            if t != UNKNOWN:
                v = self.eta * self.v[t] + (1 - self.eta) * row
                self.v[t] = v / np.linalg.norm(v)
            elif self.u:
                self.u = [*self.u[1:], row]


def embeddings(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.normal(size=(n, D))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


labels_of_batches = st.lists(st.lists(st.integers(UNKNOWN, L - 1), max_size=12), min_size=1, max_size=6)


@settings(max_examples=60)
@given(
    batches=labels_of_batches,
    places=st.sampled_from([0, 1, 3, 7, 50]),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_equations(batches: list[list[int]], places: int, momentum: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    oim = OIM(L, D, queue=places, momentum=momentum).double()
    literal = Literal(places, 1 / 30, momentum)
    for labels in batches:
        x = embeddings(rng, len(labels))
        tensors = torch.from_numpy(x), torch.tensor(labels, dtype=torch.int64)
        assert float(oim(*tensors)) == pytest.approx(literal.loss(x, labels), abs=1e-6)
        oim.update(*tensors)
        literal.update(x, labels)
        np.testing.assert_allclose(oim.lookup.numpy(), literal.v, atol=1e-6)
        # The queue is circular: its oldest row lies at the position.
        oldest_first = np.roll(oim.queue.numpy(), -int(oim.position), axis=0)
        np.testing.assert_allclose(oldest_first, np.array(literal.u).reshape(places, D), atol=1e-6)


def filled(rng: np.random.Generator) -> OIM:
    oim = OIM(L, D, queue=4)
    x = torch.from_numpy(embeddings(rng, 12))
    oim.update(x, torch.tensor([0, 1, 2, 3, 4, 0, -1, -1, -1, -1, -1, 2]))
    return oim


def test_constants_are_the_papers() -> None:
    oim = OIM(L, D)
    assert (oim.temperature, oim.momentum, len(oim.queue)) == (1 / 30, 0.5, 5000)


def test_gradient() -> None:
    rng = np.random.default_rng(0)
    oim = filled(rng).double()
    x = torch.from_numpy(embeddings(rng, 5)).requires_grad_()
    labels = torch.tensor([3, -1, 0, 0, 4])
    assert torch.autograd.gradcheck(lambda x: oim(x, labels), (x,))
    # The eps of normalisation is no part of the loss: the gradient through it is right as well.
    assert torch.autograd.gradcheck(lambda x: oim(functional.normalize(x, dim=1), labels), (x,))


def test_an_update_before_the_backward_pass_leaves_the_gradient_alone() -> None:
    rng = np.random.default_rng(1)
    labels = torch.tensor([3, -1, 0])
    start = torch.from_numpy(embeddings(rng, 3)).float()
    gradients = []
    for update in (False, True):
        oim, x = filled(np.random.default_rng(2)), start.clone().requires_grad_()
        loss = oim(x, labels)
        if update:
            oim.update(x, labels)
        loss.backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
    assert gradients[0][0].abs().max() > 0
    assert torch.equal(gradients[0][1], torch.zeros(D))


@pytest.mark.parametrize("labels", [[], [UNKNOWN, UNKNOWN]])
def test_without_labelled_people(labels: list[int]) -> None:
    rng = np.random.default_rng(3)
    oim = filled(rng)
    x = torch.from_numpy(embeddings(rng, len(labels))).float().requires_grad_()
    loss = oim(x, torch.tensor(labels, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_state_survives_saving() -> None:
    rng = np.random.default_rng(4)
    oim, other = filled(rng), OIM(L, D, queue=4)
    assert int(oim.position) == 1
    assert set(oim.state_dict()) == {"lookup", "queue", "position"}
    other.load_state_dict(oim.state_dict())
    x, labels = torch.from_numpy(embeddings(rng, 6)).float(), torch.tensor([-1, 2, -1, 2, 0, -1])
    for each in (oim, other):
        each.update(x, labels)
    assert torch.equal(oim(x, labels), other(x, labels))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in oim.state_dict().items())


def test_keeps_its_precision_under_autocast() -> None:
    rng = np.random.default_rng(5)
    oim = filled(rng)
    x, labels = torch.from_numpy(embeddings(rng, 6)).float(), torch.tensor([0, 1, 2, 3, 4, 0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = oim(x, labels)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, oim(x, labels))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (torch.tensor([0, L]), f"no identity {L}: labels are 0 … {L - 1}"),
        (torch.tensor([-2, L]), "no identity -2"),
        (torch.tensor([0]), r"int64 \[1\] for embeddings \[2, 6\]"),
        (torch.tensor([0.0, 1.0]), "torch.float32"),
    ],
)
def test_labels_are_checked(labels: torch.Tensor, says: str) -> None:
    oim = OIM(L, D)
    for call in (oim, oim.update):
        with pytest.raises(LabelError, match=says):
            call(torch.zeros(2, D), labels)
    assert not oim.lookup.any()


def test_needs_an_identity() -> None:
    with pytest.raises(LabelError, match="0 identities"):
        OIM(0, D)
