"""Each rule against the library it is named after, and the pipeline's own against the pipeline."""

import cv2
import numpy as np
import pytest

from mgts_trt.importing.resizing import RESIZE_RULES, ResizeRule, resize
from mgts_trt.stages import person_patches

SIZES = [
    ((64, 32), (128, 64)),
    ((301, 117), (128, 64)),
    ((90, 200), (256, 128)),
    ((5, 1), (33, 17)),
    ((40, 40), (40, 40)),
]


def _library(image: np.ndarray, size: tuple[int, int], rule: ResizeRule) -> np.ndarray:
    if rule == "bilinear":
        height, width = image.shape[:2]
        patches = person_patches(
            image, np.array([[0, 0, width, height]]), None, gamma=1, patch_hw=size, mean=(0, 0, 0), std=(1, 1, 1),
            content_hw=(height, width),
        )  # fmt: skip
        return patches.original[0].transpose(1, 2, 0)
    if rule.startswith("opencv"):
        return cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC if "cubic" in rule else cv2.INTER_LINEAR)
    pil = pytest.importorskip("PIL.Image", reason="Pillow is the reference")
    kernel = pil.Resampling.BICUBIC if "cubic" in rule else pil.Resampling.BILINEAR
    return np.asarray(pil.fromarray(image).resize(size[::-1], kernel))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("rule", RESIZE_RULES)
def test_is_as_the_library(rule: ResizeRule, sizes) -> None:
    source, target = sizes
    image = np.random.default_rng(0).integers(0, 256, (*source, 3), np.uint8)
    ours, theirs = resize(image, target, rule), _library(image, target, rule).astype(np.float32)
    assert ours.dtype == np.float32
    assert ours.shape == (*target, 3)
    # OpenCV has weights of 11 bits; Pillow chooses the order of its passes by version and size, and rounds in between.
    assert np.abs(ours - theirs).max() <= (1e-3 if rule == "bilinear" else 6)
    assert np.abs(ours - theirs).mean() <= 0.25


def test_rules_differ_where_they_should() -> None:
    """A rule that did what another does would pass above only if the bound were too wide."""
    image = np.random.default_rng(0).integers(0, 256, (300, 150, 3), np.uint8)
    results = [resize(image, (128, 64), rule) for rule in RESIZE_RULES if rule != "bilinear"]
    for number, one in enumerate(results):
        for other in results[number + 1 :]:
            assert np.abs(one - other).mean() > 2
