"""What the readers of datasets share: their error, folders of files, and masks."""

from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage

from mgts_trt._typing import Floats
from mgts_trt.errors import MgtsError, first_fault

T = TypeVar("T")

Instances = NDArray[np.uint16]
"""uint16 [H, W]: 0 for background, k + 1 for the person of row k."""


class DataError(MgtsError):
    """A dataset that is missing, incomplete, or not laid out as published."""


def list_files(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder with a suffix such as ".jpg", sorted by name.

    Raises:
        DataError: no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}, but the dataset keeps its *{suffix} there. Check the path.")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == suffix and not file.name.startswith("."))
    if not files:
        raise DataError(f"{folder} holds no *{suffix}, but at least one is expected. Unpack the dataset there again.")
    return files


def read_json(path: Path, form: TypeAdapter[T]) -> T:
    """Annotations in JSON.

    Args:
        path: The file.
        form: What it is to hold.

    Raises:
        DataError: no such file, or not of that form.
    """
    try:
        return form.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"There is no file {path}, but the dataset's labels are kept there. Check the path.") from None
    except ValidationError as error:
        raise DataError(f"{path} is malformed {first_fault(error)}. Unpack the dataset again.") from error


def read_mask(path: Path, image_hw: tuple[int, int]) -> Instances:
    """Read a grey PNG whose values label pixels.

    Args:
        path: The mask.
        image_hw: Height and width of the picture it belongs to.

    Returns:
        uint16 [H, W], the values as stored.

    Raises:
        DataError: no such file, not a grey picture, or of another size than the picture.
    """
    if not path.is_file():
        raise DataError(f"There is no mask {path}, but every picture of the dataset has one. Unpack the dataset again.")
    data = np.frombuffer(path.read_bytes(), np.uint8)
    mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if mask is None:
        raise DataError(f"{path} ({data.size} bytes) is not a picture, but a grey PNG is expected. Unpack it again.")
    if mask.ndim != 2:
        raise DataError(f"{path} has {mask.shape[2]} channels, but a mask has one. Save it as a grey PNG.")
    if mask.shape != image_hw:
        raise DataError(
            f"The mask {path} has height and width {list(mask.shape)}, but its picture has {list(image_hw)}. "
            "Replace whichever was resized."
        )
    return mask.astype(np.uint16)


def instance_boxes(instances: Instances, count: int) -> Floats:
    """The bounding boxes of instances 1 … `count`.

    Args:
        instances: uint16 [H, W], 0 for background and k + 1 where the person of row k is visible.
        count: How many rows; greater numbers in the map are passed over.

    Returns:
        float32 [count, 4], xyxy: x1 and y1 are the first column and row, x2 and y2 lie one past the last. Zeros for
        an instance without pixels.
    """
    boxes = np.zeros((count, 4), np.float32)
    for row, extent in enumerate(ndimage.find_objects(instances.astype(np.int32), count)):
        if extent is not None:
            ys, xs = extent
            boxes[row] = xs.start, ys.start, xs.stop, ys.stop
    return boxes


def keep_instances(instances: Instances, kept: NDArray[np.intp]) -> Instances:
    """An instance map of some rows alone.

    Args:
        instances: uint16 [H, W], k + 1 where the person of row k is visible.
        kept: int64 [K], distinct rows; those that are nowhere visible may be among them.

    Returns:
        uint16 [H, W], k + 1 where the person of row `kept[k]` is visible; all others are background.
    """
    numbers = np.zeros(int(instances.max(initial=0)) + 2, np.uint16)
    present = kept + 1 < len(numbers)
    numbers[kept[present] + 1] = np.flatnonzero(present) + 1
    return numbers[instances]
