"""Letterbox: any picture onto the canvas of a bundle, and boxes between the two."""

from dataclasses import dataclass

import cv2
import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.errors import ImageError


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies on the canvas: scaled uniformly until it fits, at the top left, padded right and below.

    Top left, because the strides of the detector then fall on the picture as they do without padding. A small
    picture is enlarged (Sec. 4.3: at least 900 pixels on the short side, at most 1500 on the long one).

    Attributes:
        image_hw: Height and width of the picture, pixels.
        canvas_hw: Height and width of the canvas, pixels.

    Raises:
        ImageError: a side that is not at least one pixel.
    """

    image_hw: tuple[int, int]
    canvas_hw: tuple[int, int]

    def __post_init__(self) -> None:
        for name, (height, width) in (("image", self.image_hw), ("canvas", self.canvas_hw)):
            if height < 1 or width < 1:
                raise ImageError(
                    f"A letterbox's {name} has height {height} and width {width}, but both are at least 1 pixel. "
                    "Pass the shape of a picture that is not empty."
                )

    @property
    def content_hw(self) -> tuple[int, int]:
        """Height and width of the picture on the canvas: rounded to whole pixels, 1 ≤ side ≤ the canvas's."""
        (height, width), (canvas_height, canvas_width) = self.image_hw, self.canvas_hw
        # In integers, so that every implementation gets the same size.
        if canvas_height * width <= canvas_width * height:
            return canvas_height, max(1, (2 * width * canvas_height + height) // (2 * height))
        return max(1, (2 * height * canvas_width + width) // (2 * width)), canvas_width

    @property
    def scale(self) -> tuple[float, float]:
        """(sx, sy), canvas pixels per image pixel: exactly content / image, so equal only up to the rounding."""
        (height, width), (content_height, content_width) = self.image_hw, self.content_hw
        return content_width / width, content_height / height

    def apply(self, image: Image, pad: tuple[int, int, int]) -> Image:
        """Draw the picture on the canvas.

        Shrinking averages (`INTER_AREA`), enlarging is bilinear with half-pixel centres (`INTER_LINEAR`), and at
        equal size the pixels are copied.

        Args:
            image: uint8 [H, W, 3], RGB, of `image_hw`.
            pad: RGB of the canvas beside the picture, 0..255.

        Returns:
            uint8 [Hc, Wc, 3], RGB.

        Raises:
            ImageError: `image` is not of `image_hw`.
        """
        if image.shape != (*self.image_hw, 3):
            raise ImageError(
                f"The picture is {list(image.shape)}, but this letterbox was made for {[*self.image_hw, 3]}. "
                "Make one for this picture: Letterbox(image.shape[:2], canvas_hw)."
            )
        height, width = self.content_hw
        content: Array = image
        if self.content_hw != self.image_hw:
            shrinks = height < self.image_hw[0] or width < self.image_hw[1]
            method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            content = cv2.resize(image, (width, height), interpolation=method)
        below, beside = self.canvas_hw[0] - height, self.canvas_hw[1] - width
        canvas = cv2.copyMakeBorder(content, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=pad)
        return np.asarray(canvas, np.uint8)

    def to_canvas(self, boxes: Array) -> Floats:
        """Boxes of the image [N, 4] in canvas pixels, float32 [N, 4]; in float64 between, and not clipped."""
        return np.asarray(_rows(boxes) * np.tile(self.scale, 2), np.float32)

    def to_image(self, boxes: Array) -> Floats:
        """Canvas boxes [N, 4] in image pixels, float32 [N, 4]: the inverse of `to_canvas` up to float32's rounding."""
        return np.asarray(_rows(boxes) / np.tile(self.scale, 2), np.float32)

    def clip(self, boxes: Array) -> Floats:
        """Canvas boxes [N, 4] cut to the picture's part of the canvas, float32 [N, 4]."""
        height, width = self.content_hw
        return np.asarray(np.clip(_rows(boxes), 0, (width, height, width, height)), np.float32)


def _rows(boxes: Array) -> Array:
    """Boxes as float64 [N, 4]; an empty list is [0, 4]."""
    return np.asarray(boxes, np.float64).reshape(-1, 4)
