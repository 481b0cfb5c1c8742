"""What the tests of datasets share: pictures to read, and what holds of every scene."""

from pathlib import Path

import cv2
import numpy as np

from training.data.scene import Scene


def save(path: Path, height: int, width: int, mask: np.ndarray | None = None) -> Path:
    """A picture of noise, or a mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels if mask is None else mask)
    return path


def check_scene(scene: Scene) -> None:
    """What holds of every scene, whatever the dataset."""
    height, width = scene.image.shape[:2]
    assert scene.image.dtype == np.uint8
    assert scene.boxes.dtype == np.float32
    assert scene.boxes.shape == (len(scene.identities), 4)
    assert scene.identities.dtype == np.int64
    assert (scene.boxes[:, :2] >= 0).all()
    assert (scene.boxes[:, 2:] <= (width, height)).all()
    assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
    if scene.instances is not None:
        assert scene.instances.dtype == np.uint16
        assert scene.instances.shape == (height, width)
        assert set(np.unique(scene.instances)) <= set(range(len(scene.boxes) + 1))
