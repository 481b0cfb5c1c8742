"""Pictures in files with boxes from annotations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Floats
from mgts_trt.pictures.image import read_image
from training.data.files import DataError
from training.data.scene import UNKNOWN, Scene, no_boxes


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """The people labelled in one image.

    Attributes:
        image: File name.
        boxes: float32 [N, 4], xyxy, pixels of the image.
        identities: int64 [N]; 0 … L−1, or `UNKNOWN`.
        camera: Number of the camera, or `UNKNOWN`.
        ignored: float32 [I, 4], as in `Scene`.
        others: float32 [O, 4], as in `Scene`.
    """

    image: str
    boxes: Floats
    identities: NDArray[np.int64]
    camera: int = UNKNOWN
    ignored: Floats = field(default_factory=no_boxes)
    others: Floats = field(default_factory=no_boxes)


class AnnotatedScenes:
    """`Scenes` of labelled images, without masks; L is one more than the greatest identity.

    Boxes are cut to the picture when it is read; one that lies outside altogether is left out.

    Args:
        folder: Of the pictures.
        images: At least one.

    Raises:
        DataError: no image, or a picture that is not there (when made).
        ImageError: a picture that cannot be read (when it is asked for).
    """

    def __init__(self, folder: Path, images: Sequence[LabelledImage]):
        if not images:
            raise DataError(f"The annotations list no picture of {folder} to train on. Unpack the dataset again.")
        for labelled in images:
            if not (folder / labelled.image).is_file():
                raise DataError(
                    f"There is no picture {folder / labelled.image}, but the dataset's annotations name it. "
                    "Unpack the dataset's pictures again."
                )
        self.folder, self.images = folder, list(images)
        self.identity_count = 1 + max(int(labelled.identities.max(initial=UNKNOWN)) for labelled in images)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.images)

    def __getitem__(self, index: int) -> Scene:
        """One picture, read from its file."""
        labelled = self.images[index]
        image = read_image(self.folder / labelled.image)
        height, width = image.shape[:2]
        boxes, inside = cut_boxes(labelled.boxes, (height, width))
        ignored, seen = cut_boxes(labelled.ignored, (height, width))
        others, there = cut_boxes(labelled.others, (height, width))
        return Scene(
            labelled.image,
            image,
            boxes[inside],
            labelled.identities[inside],
            camera=labelled.camera,
            ignored=ignored[seen],
            others=others[there],
        )

    @property
    def counts(self) -> list[int]:
        """How many people the annotations have in each picture."""
        return [len(labelled.boxes) for labelled in self.images]

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The pictures of these numbers."""
        return {self.folder / self.images[index].image for index in indices}

    @property
    def names(self) -> list[str]:
        """The pictures' file names, in order."""
        return [labelled.image for labelled in self.images]


def cut_boxes(boxes: Floats, hw: tuple[int, int]) -> tuple[Floats, NDArray[np.bool_]]:
    """Boxes [N, 4] cut to a picture of this height and width, and whether anything of each is left, [N]."""
    height, width = hw
    boxes = np.clip(boxes, 0, np.array((width, height, width, height), np.float32))
    return boxes, (boxes[:, 2:] > boxes[:, :2]).all(1)


def xywh_to_xyxy(boxes: Array) -> Floats:
    """Boxes given as left, top, width and height [N, 4] as xyxy, float32 [N, 4]."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)  # files hold uint8 and uint16, whose sums overflow
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).astype(np.float32)
