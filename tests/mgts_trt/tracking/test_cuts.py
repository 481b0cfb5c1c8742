from itertools import pairwise

import cv2
import numpy as np
import pytest

from mgts_trt.tracking.cuts import Look


def room(seed: int, light: float = 1.0) -> np.ndarray:
    """Some large coloured things in a coloured room, uint8 [360, 640, 3]."""
    chance = np.random.default_rng(seed)
    image = np.full((360, 640, 3), chance.integers(30, 200, 3), np.uint8)
    for _ in range(6):
        x, y = chance.integers(0, 520), chance.integers(0, 260)
        cv2.rectangle(image, (int(x), int(y)), (int(x) + 160, int(y) + 120), chance.integers(0, 255, 3).tolist(), -1)
    return np.clip(image * light, 0, 255).astype(np.uint8)


def with_somebody(image: np.ndarray, x: int) -> np.ndarray:
    """A large person in red before it."""
    out = image.copy()
    cv2.rectangle(out, (x, 60), (x + 130, 359), (200, 20, 30), -1)
    return out


def test_another_room_is_a_cut() -> None:
    pairs = [(Look(room(seed)), Look(with_somebody(room(seed + 100), 300))) for seed in range(100)]
    assert sum(other.is_cut_from(one) for one, other in pairs) >= 95
    assert all(other.is_cut_from(one) == one.is_cut_from(other) for one, other in pairs)


@pytest.mark.parametrize("seed", range(20))
def test_who_walks_through_a_room_is_none(seed: int) -> None:
    places = [Look(with_somebody(room(seed), x)) for x in range(0, 640, 100)]
    assert not any(now.is_cut_from(before) for before, now in pairwise(places))
    assert not places[0].is_cut_from(Look(room(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_light_that_changes_is_none(seed: int) -> None:
    noise = np.random.default_rng(0).normal(0, 8, (360, 640, 3))
    for light in (0.5, 0.8, 1.3):
        changed = np.clip(room(seed, light) + noise, 0, 255).astype(np.uint8)
        assert not Look(changed).is_cut_from(Look(room(seed)))


def test_pictures_of_one_colour() -> None:
    black, grey = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 128, np.uint8)
    assert not Look(black).is_cut_from(Look(black))
    assert not Look(grey).is_cut_from(Look(black)), "a fade"
    assert Look(room(1)).is_cut_from(Look(black))
    assert Look(np.zeros((1, 1, 3), np.uint8)).is_cut_from(Look(room(1)))
