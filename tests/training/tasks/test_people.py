from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
from training.data.scene import UNKNOWN
from training.tasks.people import People, epoch_order


def people(rows: list[tuple[int, int]]) -> People:
    """One scene each, of identities and cameras."""
    identities, cameras = np.array(rows, np.int64).reshape(-1, 2).T
    numbers = np.arange(len(rows))
    return People(numbers, np.zeros_like(numbers), identities, cameras, masks=False)


def order(everyone: People, seed: int = 0, k: int = 4) -> np.ndarray:
    return epoch_order(everyone, np.random.default_rng(seed), "identities", per_identity=k, others=0)


def test_an_identity_comes_from_all_its_cameras() -> None:
    """Twelve of camera 1 and two each of two others: the first four of a person show all three cameras."""
    everyone = people([(p, c) for p in range(5) for c in [1] * 12 + [2] * 2 + [3] * 2])
    for seed in range(5):
        chosen = order(everyone, seed)
        assert sorted(chosen) == list(range(len(everyone.rows)))
        cameras = Counter()
        for batch in chosen.reshape(-1, 4):
            assert len(set(everyone.identities[batch])) == 1
            cameras[tuple(sorted(set(everyone.cameras[batch].tolist())))] += 1
        # Each camera in turn, then again, and then camera 1 alone.
        assert cameras[(1, 2, 3)] >= 5
        assert cameras[(1,)] == 10
        assert all(len(seen) > 1 for seen in cameras if seen != (1,))


def test_two_cameras_halve_what_is_drawn() -> None:
    everyone = people([(0, 1)] * 4 + [(0, 2)] * 4)
    for batch in order(everyone).reshape(-1, 4):
        assert Counter(everyone.cameras[batch].tolist()) == {1: 2, 2: 2}


def test_few_people_come_again() -> None:
    everyone = people([(0, 1), (0, 2), (1, 1), (1, 1), (1, 2), (1, 1), (1, 1), (UNKNOWN, 1)])
    chosen = order(everyone)
    assert Counter(everyone.identities[chosen].tolist()) == {0: 4, 1: 8}
    assert set(chosen.tolist()) == set(range(7))


def test_the_seed_draws_others() -> None:
    everyone = people([(p, c % 3) for p in range(6) for c in range(9)])
    assert order(everyone, 1).tolist() == order(everyone, 1).tolist()
    assert order(everyone, 1).tolist() != order(everyone, 2).tolist()
