"""Several probes, and negatives."""

import numpy as np
import pytest

from mgts_trt.errors import QueryError
from mgts_trt.gallery.combining import METHODS, NEGATIVE_WEIGHT, Method, combine

NOBODY = np.zeros((0, 16), np.float32)


def people(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("method", ["mean", "max"])
@pytest.mark.parametrize("seed", range(3))
def test_one_probe_gives_the_cosine(method: Method, seed: int) -> None:
    probe, candidates = people(1, seed), people(50, seed + 10)
    assert combine(probe, NOBODY, candidates, method=method) == pytest.approx(candidates @ probe[0], abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_one_probe_ranks_as_the_cosine_does(method: Method) -> None:
    probe, candidates = people(1), people(50, 1)
    ranked = np.argsort(-combine(probe, NOBODY, candidates, method=method))
    assert ranked.tolist() == np.argsort(-(candidates @ probe[0])).tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("negatives", [0, 1, 3])
def test_what_holds_of_every_method(method: Method, negatives: int) -> None:
    probes, others, candidates = people(3), people(negatives, 1), people(50, 2)
    likeness = combine(probes, others, candidates, method=method)
    assert likeness.shape == (50,)
    assert likeness.dtype == np.float32
    assert np.all(likeness <= 1)
    swapped = combine(probes[::-1], others[::-1], candidates[::-1], method=method)
    assert swapped == pytest.approx(likeness[::-1], abs=1e-6), "no order counts"
    again = combine(np.concatenate([probes, probes]), others, candidates, method=method)
    assert again == pytest.approx(likeness, abs=1e-6), "nor how often all of them are named"


def test_the_mean_and_the_greatest_of_the_cosines() -> None:
    probes, candidates = people(3), people(50, 1)
    cosines = np.array([[probe @ candidate for candidate in candidates] for probe in probes])
    assert combine(probes, NOBODY, candidates, method="mean") == pytest.approx(cosines.mean(axis=0), abs=1e-6)
    assert combine(probes, NOBODY, candidates, method="max") == pytest.approx(cosines.max(axis=0), abs=1e-6)


def test_reciprocal_ranks() -> None:
    probes = np.eye(2, 3, dtype=np.float32)
    candidates = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    # Ranks from 0: of the first probe 0, 1, 2, 3; of the second 2, 1, 0, 3.
    expected = [(1 + 60 / 62) / 2, 60 / 61, (1 + 60 / 62) / 2, 60 / 63]
    none = np.zeros((0, 3), np.float32)
    assert combine(probes, none, candidates, method="rank") == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_only_who_is_more_like_a_negative_is_less_alike(method: Method) -> None:
    probes, negatives, candidates = people(2), people(3, 1), people(80, 2)
    without = combine(probes, NOBODY, candidates, method=method)
    likeness = combine(probes, negatives, candidates, method=method)
    ours = (probes @ candidates.T).max(axis=0) if method == "max" else (probes @ candidates.T).mean(axis=0)
    more = (negatives @ candidates.T).max(axis=0) > ours
    assert 0 < more.sum() < 80
    assert np.all(likeness[more] < without[more])
    assert likeness[~more].tolist() == without[~more].tolist()


def test_a_negative_itself_loses_its_share() -> None:
    probe, negative = people(1), people(1, 1)
    cosine = float(probe[0] @ negative[0])
    lost = NEGATIVE_WEIGHT * (1 - cosine)
    assert combine(probe, negative, negative) == pytest.approx([cosine - lost], abs=1e-6)
    assert combine(probe, negative, negative, negative_weight=1) == pytest.approx([2 * cosine - 1], abs=1e-6)


def test_nobody_to_compare() -> None:
    assert combine(people(2), people(1), NOBODY).shape == (0,)


@pytest.mark.parametrize(
    ("probes", "negatives", "candidates", "message"),
    [
        pytest.param(NOBODY, people(1), people(3), "at least one probe", id="negatives alone"),
        pytest.param(people(1)[:, :8], NOBODY, people(3), "8 and 16", id="lengths"),
        pytest.param(people(1), people(1)[:, :8], people(3), "8 and 16", id="of a negative"),
    ],
)
def test_what_cannot_be_combined(
    probes: np.ndarray, negatives: np.ndarray, candidates: np.ndarray, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        combine(probes, negatives, candidates)
