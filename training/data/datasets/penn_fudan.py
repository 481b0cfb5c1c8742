"""Penn-Fudan: pedestrians with instance masks."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mgts_trt.pictures.image import read_image
from training.data.files import DataError, instance_boxes, list_files, read_mask
from training.data.scene import UNKNOWN, Scene


class PennFudan:
    """`Scenes` of Penn-Fudan (Wang et al., ACCV 2007): `images/NAME.jpg` and `masks/NAME.png`, sorted by name.

    A mask holds 0 for background and k for the k-th pedestrian; boxes are the extents of the masks. Not every person
    in view is labelled, and nobody's identity is.

    Raises:
        DataError: a missing or empty folder, or a picture without its mask (when made); a mask of another size than
            its picture, or without any pedestrian (when it is asked for).
        ImageError: a picture that cannot be read (when it is asked for).
    """

    def __init__(self, folder: str | Path):
        self.images = list_files(Path(folder) / "images", ".jpg")
        self.masks = [Path(folder) / "masks" / f"{image.stem}.png" for image in self.images]
        for image, mask in zip(self.images, self.masks, strict=True):
            if not mask.is_file():
                raise DataError(f"{image} has no mask {mask}, but one is expected. Unpack the dataset again.")
        self.identity_count = 0

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.images)

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The pictures of these numbers."""
        return {self.images[index] for index in indices}

    def __getitem__(self, index: int) -> Scene:
        """One picture, read from its files."""
        image = read_image(self.images[index])
        stored = read_mask(self.masks[index], image.shape[:2])
        labels = np.unique(stored[stored > 0])
        if not len(labels):
            raise DataError(f"The mask {self.masks[index]} is black, but it is to show a pedestrian. Unpack it again.")
        # A label without pixels would leave a row without a person.
        numbers = np.zeros(int(labels[-1]) + 1, np.uint16)
        numbers[labels] = np.arange(1, len(labels) + 1)
        instances = numbers[stored]
        return Scene(
            self.images[index].name,
            image,
            instance_boxes(instances, len(labels)),
            np.full(len(labels), UNKNOWN, np.int64),
            instances,
        )
