"""Full-length people with a mask each, among others who have none."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.pictures.image import read_image
from training.data.files import DataError, instance_boxes, list_files, read_mask
from training.data.scene import UNKNOWN, Scene
from training.data.transforms import crop

_AROUND = 0.25
"""Surroundings that a scene shows on each side, in shares of the person's height. By eye: some background to tell the
person from, and few of the others in view."""


class PersonMasks:
    """`Scenes` of one person each: `images/NAME.jpg` and `masks/NAME.png`, 0 but where the main person is; by name.

    Of the clothing photos of CCP (Yang et al., CVPR 2014), for one. A scene is a window around that person. Whether
    anybody else stands there is not known, so all of it beside the person's box is ignored: it is no background.

    Raises:
        DataError: A missing or empty folder, or a picture without its mask (when made); a mask of another size than its
            picture, or without a person (when it is asked for).
        ImageError: A picture that cannot be read (when it is asked for).
    """

    identity_count = 0

    def __init__(self, folder: str | Path):
        self._images = list_files(Path(folder) / "images", ".jpg")
        self._masks = [Path(folder) / "masks" / f"{image.stem}.png" for image in self._images]
        for image, mask in zip(self._images, self._masks, strict=True):
            if not mask.is_file():
                raise DataError(f"{image} has no mask {mask}, but one is expected. Unpack the dataset again.")

    @property
    def names(self) -> list[str]:
        """The pictures' file names, in order."""
        return [image.name for image in self._images]

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._images)

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The pictures of these numbers."""
        return {self._images[index] for index in indices}

    def __getitem__(self, index: int) -> Scene:
        """One person and their surroundings, read from the files."""
        path = self._images[index]
        image = read_image(path)
        height, width = image.shape[:2]
        instances = (read_mask(self._masks[index], (height, width)) > 0).astype(np.uint16)
        boxes = instance_boxes(instances, 1)
        x1, y1, x2, y2 = boxes[0].astype(int).tolist()
        if x1 == x2:
            raise DataError(f"The mask {self._masks[index]} is black, but it is to show a person. Unpack it again.")
        around = round(_AROUND * (y2 - y1))
        window = (max(0, x1 - around), max(0, y1 - around), min(width, x2 + around), min(height, y2 + around))
        scene = Scene(path.name, image, boxes, np.array([UNKNOWN]), instances, ignored=_beside(boxes[0], width, height))
        return crop(scene, window)


def _beside(box: Floats, width: int, height: int) -> Floats:
    """What of a picture lies left, right, above and below of a box [4], as boxes [I, 4]."""
    x1, y1, x2, y2 = box
    strips = [(0, 0, x1, height), (x2, 0, width, height), (x1, 0, x2, y1), (x1, y2, x2, height)]
    return np.array([strip for strip in strips if strip[0] < strip[2] and strip[1] < strip[3]], np.float32).reshape(
        -1, 4
    )
