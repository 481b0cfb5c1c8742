"""k-reciprocal re-ranking."""

import numpy as np
import pytest

from mgts_trt.gallery.reranking import rerank


def people(count: int, seed: int = 0, length: int = 16) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, length))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def crowd(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """30 people, six times each around a direction of their own, in random order, and whose each is."""
    random = np.random.default_rng(seed)
    identities = random.permutation(np.repeat(np.arange(30), 6))
    rows = people(30, seed)[identities] + random.normal(size=(180, 16)) * 0.25
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), identities


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50, 130])
@pytest.mark.parametrize("first", [1, 10, 100])
def test_the_same_people_and_the_rest_as_before(count: int, first: int) -> None:
    probe, candidates = people(1)[0], people(count, 1)
    order = rerank(probe, candidates, first=first)
    before = np.argsort(-(candidates @ probe), kind="stable")
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))
    assert order[first:].tolist() == before[first:].tolist()
    assert sorted(order[:first].tolist()) == sorted(before[:first].tolist())


def test_the_distance_alone_changes_nothing() -> None:
    probe, candidates = people(1)[0], people(60, 1)
    expected = np.argsort(-(candidates @ probe), kind="stable")
    assert rerank(probe, candidates, weight=1).tolist() == expected.tolist()


def test_likeness_given_decides_who_is_first() -> None:
    probe, candidates = people(1)[0], people(60, 1)
    likeness = np.random.default_rng(2).uniform(size=60).astype(np.float32)
    expected = np.argsort(-likeness, kind="stable")
    assert rerank(probe, candidates, likeness, weight=1).tolist() == expected.tolist()
    assert rerank(probe, candidates, likeness, first=0).tolist() == expected.tolist()


def test_the_order_of_the_gallery_does_not_count() -> None:
    candidates, _ = crowd()
    places = np.random.default_rng(1).permutation(len(candidates))
    order, other = rerank(candidates[0], candidates[1:]), rerank(candidates[0], candidates[1:][places[places > 0] - 1])
    assert order.tolist() == [int(places[places > 0][row] - 1) for row in other]


def test_several_probes_stand_for_their_mean() -> None:
    candidates, _ = crowd()
    probes = candidates[:3]
    mean = probes.mean(axis=0) / np.linalg.norm(probes.mean(axis=0))
    assert rerank(probes, candidates[3:]).tolist() == rerank(mean, candidates[3:]).tolist()


def test_it_finds_more_of_a_crowd() -> None:
    precision: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(3):
        candidates, identities = crowd(seed)
        for row in range(0, 180, 6):
            rest = np.delete(np.arange(180), row)
            wanted = identities[rest] == identities[row]
            orders = {
                True: rerank(candidates[row], candidates[rest]),
                False: np.argsort(-(candidates[rest] @ candidates[row])),
            }
            for how, order in orders.items():
                precision[how].append(wanted[order[:5]].mean())
    assert np.mean(precision[False]) < 0.9, "there is something to gain"
    assert np.mean(precision[True]) > np.mean(precision[False]) + 0.02


def test_who_shares_the_probe_s_neighbours_comes_first() -> None:
    """Two are equally alike to the probe; one is a neighbour of its neighbours, the other stands among strangers."""
    probe = np.array([1, 0, 0, 0], np.float32)

    def towards(*direction: float) -> np.ndarray:
        row = np.array([0.8, *direction])
        return row / np.linalg.norm(row)

    friends = [towards(0.60, 0.02 * n, 0) for n in range(-2, 3)]
    strangers = [towards(0, 0, -0.60) for _ in range(1)] + [towards(0, 0, -0.9 - 0.02 * n) for n in range(5)]
    candidates = np.array([*strangers, *friends], np.float32)
    alone, among = 0, 8  # the first stranger, and the friend in the middle: both have a cosine of 0.8
    assert candidates[alone] @ probe == pytest.approx(candidates[among] @ probe)
    order = rerank(probe, candidates, neighbours=5, expansion=1, weight=0.3).tolist()
    assert order.index(among) < order.index(alone)
