import numpy as np
import pytest

from training.data.patch_transforms import other_camera
from training.preset import PatchAugmentation

STILL = {"colour": 0.0, "grey": 0.0, "coarse": 0.0}


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (240, 120, 3)).astype(np.uint8)


def altered(image: np.ndarray, seed: int = 0, **how: float) -> np.ndarray:
    return other_camera(image, np.random.default_rng(seed), PatchAugmentation(**{**STILL, **how}))


def detail(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(int), axis=0)).mean())


def test_nothing_is_altered_where_nothing_is_asked_for(image: np.ndarray) -> None:
    assert np.array_equal(altered(image), image)


def test_grey_has_no_colours(image: np.ndarray) -> None:
    grey = altered(image, grey=1.0)
    assert (grey == grey[..., :1]).all()
    assert np.corrcoef(grey[..., 0].ravel(), image.mean(axis=-1).ravel())[0, 1] > 0.8


def test_coarse_has_no_detail(image: np.ndarray) -> None:
    for seed in range(5):
        coarse = altered(image, seed, coarse=1.0)
        assert (coarse.shape, coarse.dtype) == (image.shape, image.dtype)
        assert detail(coarse) < 0.5 * detail(image)


def test_a_small_one_is_not_enlarged(image: np.ndarray) -> None:
    small = np.ascontiguousarray(image[:30, :15])
    assert np.array_equal(altered(small, coarse=1.0), small)


@pytest.mark.parametrize("name", STILL)
def test_shares(image: np.ndarray, name: str) -> None:
    changed = [not np.array_equal(altered(image, seed, **{name: 0.5}), image) for seed in range(40)]
    assert 8 < sum(changed) < 32 if name != "colour" else all(changed)


def test_chance_comes_from_the_generator_alone(image: np.ndarray) -> None:
    how = {"colour": 0.5, "grey": 0.3, "coarse": 0.8}
    assert np.array_equal(altered(image, 3, **how), altered(image, 3, **how))
    assert not np.array_equal(altered(image, 3, **how), altered(image, 4, **how))
