"""Ways to ask, on people made here."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the sets' loaders need PyTorch")

from benchmarks.asking_quality import KNOWN, Held, measure


def held(noise: float) -> Held:
    """40 people, four times under each of three cameras, each around a direction of their own."""
    random = np.random.default_rng(0)
    identities, cameras = np.repeat(np.arange(40), 12), np.tile(np.repeat(np.arange(3), 4), 40)
    rows = random.normal(size=(40, 16))[identities] + random.normal(size=(480, 16)) * noise
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Held.of(rows.astype(np.float32), identities, cameras)


def test_a_sighting_is_of_one_person_and_camera() -> None:
    made = held(1)
    assert made.identities.tolist() == np.repeat(np.arange(40), 3).tolist()
    assert {len(crops) for crops in made.crops} == {KNOWN}
    assert np.linalg.norm(made.sightings, axis=1) == pytest.approx(np.ones(120), abs=1e-6)


def test_who_always_looks_the_same_is_found_however_one_asks() -> None:
    for row in measure(held(0.001)):
        assert (row["probes"], row["map"], row["rank_1"]) == (120, 1, 1)


def test_more_crops_find_more() -> None:
    found = {row["asked"]: row["map"] for row in measure(held(1))}
    ways = ("a frame of each", "sightings, 1 probe", "sightings, 2 probes, mean", "sightings, 3 probes, mean")
    means = [found[way] for way in ways]
    assert means == sorted(means)
    assert means[0] < means[-1] - 0.1
