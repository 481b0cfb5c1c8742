"""What the tests of datasets share: pictures to read, and what holds of every scene."""

from pathlib import Path

import cv2
import numpy as np

from mgts_trt._typing import Image
from training.data.scene import UNKNOWN, Scene


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


class Streets:
    """Scenes of three people side by side, one after another in identity; every third person is nobody known."""

    def __init__(self, count: int = 6, *, masks: bool = True, hw: tuple[int, int] = (80, 120)) -> None:
        self.identity_count, self._count, self._masks, self._hw = 4, count, masks, hw
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Scene:
        self.reads.append(index)
        rng = np.random.default_rng(index)
        height, width = self._hw
        image = rng.integers(40, 200, (height, width, 3)).astype(np.uint8)
        instances = np.zeros((height, width), np.uint16)
        boxes = np.array([[x, 10, x + 22, 70] for x in (5, 45, 85)], np.float32)
        for row, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
            instances[y1 + 5 : y2, x1 + 5 : x2 - 5] = row + 1
        identities = np.array([2 * index % 4, (2 * index + 1) % 4, UNKNOWN])
        return Scene(f"{index}", image, boxes, identities, instances if self._masks else None)


def drawn(seed: int, height: int = 180, width: int = 240) -> Image:
    """Ground and sky of changing light, and some things before them."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(40, 220, (5, 7, 3)).astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(25):
        corner = rng.integers((width, height))
        far = corner + rng.integers(6, 60, 2)
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        cv2.rectangle(soft, corner.tolist(), far.tolist(), colour, -1)
    return soft
