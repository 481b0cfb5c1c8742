"""Pictures in files with boxes from annotations, and MATLAB's annotation files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from mgts_trt._typing import Array, Floats
from mgts_trt.image import read_image
from training.data.files import DataError
from training.data.scene import UNKNOWN, Scene


@dataclass(frozen=True)
class Annotation:
    """What a dataset says of one picture.

    Attributes:
        path: The picture.
        boxes: float32 [N, 4], xyxy, pixels.
        identities: int64 [N]; 0 … L−1, or `UNKNOWN`.
        camera: Number of the camera, or `UNKNOWN`.
    """

    path: Path
    boxes: Floats
    identities: NDArray[np.int64]
    camera: int = UNKNOWN


class AnnotatedScenes:
    """`Scenes` of pictures with boxes and without masks.

    Boxes are cut to the picture when it is read; one that lies outside altogether is left out.

    Raises:
        DataError: a picture that is not there (when made).
        ImageError: a picture that cannot be read (when it is asked for).
    """

    def __init__(self, annotations: Sequence[Annotation], identity_count: int):
        for annotation in annotations:
            if not annotation.path.is_file():
                raise DataError(
                    f"There is no picture {annotation.path}, but the dataset's annotations name it. "
                    "Unpack the dataset's pictures again."
                )
        self.annotations = list(annotations)
        self.identity_count = identity_count

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.annotations)

    def __getitem__(self, index: int) -> Scene:
        """One picture, read from its file."""
        annotation = self.annotations[index]
        image = read_image(annotation.path)
        height, width = image.shape[:2]
        boxes = np.clip(annotation.boxes, 0, np.array((width, height, width, height), np.float32))
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return Scene(
            annotation.path.name, image, boxes[inside], annotation.identities[inside], camera=annotation.camera
        )


def xywh_to_xyxy(boxes: Array) -> Floats:
    """Boxes given as left, top, width and height [N, 4] as xyxy, float32 [N, 4]."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def read_mat(path: Path, key: str | Sequence[str]) -> Any:
    """One variable of a MATLAB file (before 7.3): structs as dicts, cells as arrays, single elements bare.

    Args:
        path: The file.
        key: The variable, or several of which the first that is there is taken.

    Raises:
        DataError: no such file, not a MATLAB file, or none of the variables in it.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}, but the dataset is published with it. Unpack the dataset again.")
    try:
        content = loadmat(path, simplify_cells=True)
    except Exception as error:  # scipy raises whatever its parser stumbles over
        raise DataError(f"{path} is not a MATLAB file scipy can read: {error}. Unpack the dataset again.") from error
    keys = [key] if isinstance(key, str) else list(key)
    for name in keys:
        if name in content:
            return content[name]
    found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
    raise DataError(f"{path} holds {found}, but {' or '.join(keys)} is expected. Check that it is the right file.")


def as_list(value: Any) -> list[Any]:
    """A MATLAB array of structs or cells as a list, also where `read_mat` stripped a single element bare."""
    return (
        list(np.atleast_1d(value)) if isinstance(value, np.ndarray) else value if isinstance(value, list) else [value]
    )
