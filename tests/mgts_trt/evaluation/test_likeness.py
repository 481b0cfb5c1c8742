"""What a cosine means."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import LIKENESS_POINTS, FalseMatches, Manifest, write_manifest
from mgts_trt.errors import MetricError, MgtsError
from mgts_trt.evaluation.likeness import LEAST_ERRORS, Crops, Likeness, false_matches
from tests.helpers.tiny_bundle import make_tiny_bundle

NETWORK = "a" * 64


def crops(people: int = 60, cameras: int = 4, seed: int = 0, name: str = "square") -> Crops:
    """Everybody once a camera: directions around each person's own."""
    random = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), cameras)
    embeddings = random.normal(size=(people, 16))[identities] + random.normal(size=(people * cameras, 16))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Crops(name, embeddings.astype(np.float32), identities, np.tile(np.arange(cameras), people))


def impostors(of: Crops) -> np.ndarray:
    """The cosines of all pairs of different people and cameras, by the definition."""
    rows = range(len(of.embeddings))
    pairs = [(a, b) for a in rows for b in rows if a < b and of.identities[a] != of.identities[b]]
    return np.array([of.embeddings[a] @ of.embeddings[b] for a, b in pairs if of.cameras[a] != of.cameras[b]])


def stored(root: Path, record: FalseMatches | None = None) -> Bundle:
    """A tiny bundle, calibrated in mode `net`."""
    bundle = Bundle.open(make_tiny_bundle(root))
    record = record or false_matches([crops()], bundle.model("mgts").weights)
    write_manifest(root, bundle.manifest.model_copy(update={"likeness": {"net": record}}))
    return Bundle.open(root)


@pytest.fixture(scope="module")
def likeness(tmp_path_factory: pytest.TempPathFactory) -> Likeness:
    known = Likeness.of(stored(tmp_path_factory.mktemp("bundle")), "net")
    assert known is not None
    return known


@pytest.mark.parametrize("seed", range(3))
def test_each_point_is_the_share_of_pairs(seed: int) -> None:
    everybody = crops(seed=seed)
    record, cosines = false_matches([everybody], NETWORK), impostors(everybody)
    assert (record.pairs, record.people, record.of) == (len(cosines), 60, "square")
    assert len(record.far) <= LIKENESS_POINTS
    for cosine, far in zip(record.cosines, record.far, strict=True):
        # A pair that lies on the border may be rounded to either side.
        assert np.mean(cosines >= cosine + 1e-6) <= far <= np.mean(cosines >= cosine - 1e-6)
    assert record.far[0] == 1
    assert LEAST_ERRORS <= record.far[-1] * record.pairs < 2 * LEAST_ERRORS


def test_sets_are_not_compared_with_each_other() -> None:
    one, other = crops(name="one"), crops(people=40, seed=1, name="other")
    record = false_matches([one, other], NETWORK)
    assert record.pairs == len(impostors(one)) + len(impostors(other))
    assert (record.people, record.of) == (100, "one, other")


def test_pairs_of_one_camera_and_unknown_people_do_not_count() -> None:
    everybody = crops()
    unknown = everybody.identities.copy()
    unknown[:40] = -1
    one_camera = replace(crops(name="one camera"), cameras=np.zeros(240, np.int64))
    record = false_matches([replace(everybody, identities=unknown), one_camera], NETWORK)
    assert record.pairs == 200 * 199 // 2 - 50 * 6 - 4 * (50 * 49 // 2)
    assert (record.people, record.of) == (50, "square")


def test_far_falls_and_ends_where_it_is_known(likeness: Likeness) -> None:
    rates = [likeness.far(cosine) for cosine in np.linspace(-1, 1, 500)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1
    assert rates[-1] == pytest.approx(likeness.least)


def test_far_and_cosine_are_each_other_s_inverse(likeness: Likeness) -> None:
    for far in np.geomspace(1, likeness.least, 50):
        assert likeness.far(likeness.cosine(far)) == pytest.approx(far, rel=1e-6)
    for cosine in np.linspace(likeness.cosines[0], likeness.cosines[-1], 50):
        assert likeness.cosine(likeness.far(cosine)) == pytest.approx(cosine, abs=1e-6)


def test_between_points_it_is_near_the_share(likeness: Likeness) -> None:
    cosines = impostors(crops())
    for cosine in np.linspace(0, 0.6, 25):
        assert likeness.far(cosine) == pytest.approx(np.mean(cosines >= cosine), rel=0.2)


@pytest.mark.parametrize("far", [1e-9, 0, -1, 1.01, float("nan")])
def test_a_rate_that_cannot_be_is_refused(likeness: Likeness, far: float) -> None:
    with pytest.raises(MgtsError, match="false-match rate of"):
        likeness.cosine(far)


@pytest.mark.parametrize(
    "sets",
    [
        [],
        [crops(people=2, cameras=2)],
        [replace(crops(), embeddings=np.full((240, 16), np.nan, np.float32))],
        [replace(crops(), embeddings=np.eye(1, 16, dtype=np.float32).repeat(240, axis=0))],
    ],
    ids=["nobody", "two people", "nan", "all the same"],
)
def test_what_gives_no_curve_is_refused(sets: list[Crops]) -> None:
    with pytest.raises(MetricError):
        false_matches(sets, NETWORK)


def test_a_bundle_without_is_not_calibrated(tmp_path: Path) -> None:
    bundle = stored(tmp_path)
    assert Likeness.of(bundle, "net") is not None
    assert Likeness.of(bundle, "box") is None


def test_another_network_s_curve_does_not_count(tmp_path: Path) -> None:
    assert Likeness.of(stored(tmp_path, false_matches([crops()], NETWORK)), "net") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: {"cosines": record["cosines"][::-1]},
        lambda record: {"far": record["far"][::-1]},
        lambda record: {"far": [0.9, *record["far"][1:]]},
        lambda record: {"far": record["far"][:-1]},
        lambda record: {"far": [*record["far"][:-1], 0.0]},
        lambda record: {"cosines": [0.0], "far": [1.0]},
        lambda record: {"cosines": np.linspace(0, 1, 65).tolist(), "far": np.linspace(1, 0.1, 65).tolist()},
        lambda record: {"pairs": 0},
        lambda record: {"network": "?"},
        lambda record: {"more": 1},
    ],
)
def test_a_malformed_curve_is_refused(tmp_path: Path, spoil: Callable[[dict], dict]) -> None:
    data = stored(tmp_path).manifest.model_dump(mode="json")
    Manifest.model_validate(data)
    data["likeness"]["net"] |= spoil(data["likeness"]["net"])
    with pytest.raises(ValidationError, match="likeness"):
        Manifest.model_validate(data)
