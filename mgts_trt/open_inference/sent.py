"""What a request brings: a picture, as pixels or as a file's bytes, and boxes."""

from collections.abc import Callable, Mapping

import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.errors import ImageError, ProtocolError
from mgts_trt.open_inference.models import ModelSpec
from mgts_trt.pictures.bounded import check_size, decode_bounded

MOST_BOXES = 300
"""That one request may name, at any door: as many as the paper's detector proposes (Sec. 4.2)."""


def picture_of(inputs: Mapping[str, Array], most_pixels: int) -> Callable[[], Image]:
    """What gives the picture of a request, decoded only then: for other threads.

    Args:
        inputs: By name: `image`, uint8 [H, W, 3], RGB, or `file`, bytes [1].
        most_pixels: Width times height.

    Returns:
        It gives uint8 [H, W, 3], RGB, or raises `TooLargeError` or `ImageError` for a file.

    Raises:
        ProtocolError: There is none, or there are two.
        ImageError: Its pixels are none.
        TooLargeError: They are too many.
    """
    image, file = inputs.get("image"), inputs.get("file")
    if (image is None) == (file is None):
        raise ProtocolError("Send the picture as one of the inputs image (UINT8 [H, W, 3]) and file (BYTES [1]).")
    if file is not None:
        data = bytes(file[0])
        return lambda: decode_bounded(data, "the input file", most_pixels)
    assert image is not None
    check_pixels(image)
    check_size("the input image", image.shape[1], image.shape[0], most_pixels)
    pixels = np.ascontiguousarray(image)
    return lambda: pixels


def boxes_of(inputs: Mapping[str, Array], spec: ModelSpec) -> Floats | None:
    """The boxes of a request to a model that takes some, else None.

    Raises:
        ProtocolError: There are none.
        ImageError: They are not of shape [N, 4], or more than `MOST_BOXES`.
    """
    if all(each.name != "boxes" for each in spec.inputs):
        return None
    if "boxes" not in inputs:
        raise ProtocolError(
            "The input boxes is missing, FP32 [N, 4]: x1, y1, x2, y2. person_search finds people itself."
        )
    return check_boxes(inputs["boxes"])


def check_pixels(image: Array) -> None:
    """Refuse what is no picture.

    Args:
        image: What came as `image`.

    Raises:
        ImageError: It is not uint8 [H, W, 3], or holds no pixel.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"The tensor image must be UINT8 of shape [H, W, 3], RGB, with a pixel at least; it is of shape "
            f"{list(image.shape)}."
        )


def check_boxes(boxes: Array) -> Floats:
    """The boxes that came, as they are computed with.

    Raises:
        ImageError: They are not of shape [N, 4].
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ImageError(f"The tensor boxes must have the shape [N, 4]: x1, y1, x2, y2; it has {list(boxes.shape)}.")
    if len(boxes) > MOST_BOXES:
        raise ImageError(f"The tensor boxes has {len(boxes)} boxes; at most {MOST_BOXES} are expected.")
    return np.asarray(boxes, np.float32)
