"""Where composed people walk: pictures without people, and pictures whose people are labelled with masks."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mgts_trt.pictures.image import read_image
from training.data.files import DataError
from training.data.scene import Scene

# Parts of pictures, as x1, y1, x2, y2 in shares of width and height, that were looked at and show nobody.
_STREETS: dict[str, tuple[float, float, float, float]] = {
    "public_photos/34501842524_3c858b3080_k.jpg": (0.0, 0.0, 1.0, 1.0),
    "public_photos/33887522274_eebd074106_k.jpg": (0.0, 0.0, 0.76, 1.0),
    "public_photos/18124840932_e42b3e377c_k.jpg": (0.28, 0.0, 1.0, 1.0),
    "public_photos/19064748793_bb942deea1_k.jpg": (0.0, 0.0, 0.72, 1.0),
}
_SHOPS: dict[str, tuple[float, float, float, float]] = {
    "intel_samples/store_aisle/0000.jpg": (0.0, 0.0, 0.5, 1.0),
    "intel_samples/one_by_one/0000.jpg": (0.0, 0.0, 1.0, 1.0),
    "intel_samples/one_by_one/0480.jpg": (0.0, 0.0, 1.0, 1.0),
    "intel_samples/one_by_one/0900.jpg": (0.0, 0.0, 1.0, 1.0),
}


class EmptyScenes:
    """`Scenes` of pictures that show nobody.

    Args:
        parts: Pictures, each with the part to use: x1, y1, x2, y2 in shares of its width and height, 0 … 1.

    Raises:
        DataError: a file that is not there, or a part that is empty or leaves the picture.
    """

    identity_count = 0

    def __init__(self, parts: dict[Path, tuple[float, float, float, float]]):
        for path, (x1, y1, x2, y2) in parts.items():
            if not path.is_file():
                raise DataError(f"There is no background {path}. Check the path or leave it out.")
            if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
                raise DataError(
                    f"The part {(x1, y1, x2, y2)} of {path} is no part: 0 ≤ x1 < x2 ≤ 1 and 0 ≤ y1 < y2 ≤ 1 in shares "
                    "of its width and height are expected."
                )
        self._parts = list(parts.items())

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._parts)

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The pictures of these numbers."""
        return {self._parts[index][0] for index in indices}

    def __getitem__(self, index: int) -> Scene:
        """The part of one picture."""
        path, (x1, y1, x2, y2) = self._parts[index]
        image = read_image(path)
        height, width = image.shape[:2]
        part = image[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)]
        none = np.zeros((0, 4), np.float32)
        mask = np.zeros(part.shape[:2], np.uint16)
        return Scene(path.name, np.ascontiguousarray(part), none, np.zeros(0, np.int64), mask)


def street_scenes(data: str | Path) -> EmptyScenes:
    """The parts of the street photos of the folder of development data that show nobody, for training.

    Chosen by eye. Pictures full of unlabelled people are not used at all; and TUD Campus is not, because its boxes come
    without masks and people sit behind its windows.

    Args:
        data: The folder that holds `public_photos`.

    Raises:
        DataError: one of the pictures is missing.
    """
    return EmptyScenes({Path(data) / name: part for name, part in _STREETS.items()})


def shop_scenes(data: str | Path) -> EmptyScenes:
    """The parts of four frames of the videos that show nobody, for evaluation: training sees nothing of these videos.

    Args:
        data: The folder that holds `intel_samples`.

    Raises:
        DataError: one of the frames is missing.
    """
    return EmptyScenes({Path(data) / name: part for name, part in _SHOPS.items()})
