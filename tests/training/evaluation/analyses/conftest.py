"""Data that held-out scenes are composed of."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.datasets.splits import MARKET_HELD_OUT

OVAL = cv2.ellipse(np.zeros((128, 64), np.uint8), ((32, 64), (44, 116), 0), 255, -1)
BACKGROUNDS = ("store_aisle/0000", "one_by_one/0000", "one_by_one/0480", "one_by_one/0900")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What held-out scenes are composed of: two crops of each identity, with masks, and four pictures of nobody."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for identity in range(1, MARKET_HELD_OUT + 3):
        for camera in (1, 2):
            crop = rng.integers(0, 255, (8, 4, 3)).astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)
            for kind, suffix, picture in (("images", "jpg", crop), ("masks", "png", OVAL)):
                folder = root / "market1501" / kind / f"{identity:04d}"
                folder.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f"{identity:04d}_c{camera}s1_000001_01.{suffix}"), picture)
    for name in BACKGROUNDS:
        path = root / "intel_samples" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(60, 90, (240, 400, 3)).astype(np.uint8))
    return root
