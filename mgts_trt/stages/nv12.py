"""NV12, as video decoders give frames, to RGB."""

from typing import NamedTuple

import numpy as np

from mgts_trt._typing import Array, Image, Self

_BITS = 20
_WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""Kr and Kb of BT.709 and BT.2020, by FFmpeg's `AVColorSpace`."""
_BT601 = (0.299, 0.114)


class YuvMatrix(NamedTuple):
    """From luma and two colours to RGB, in integers of which 2²⁰ is one (ITU-R BT.601, BT.709 and BT.2020)."""

    black: int
    """Luma of black; what is below is black, too."""
    luma: int
    red_v: int
    green_u: int
    green_v: int
    blue_u: int

    @classmethod
    def of(cls, space: int, *, full: bool) -> Self:
        """The matrix of a video.

        Args:
            space: FFmpeg's `AVColorSpace`; where it is unknown BT.601 is taken, as FFmpeg does.
            full: Whether luma and colours use all of 0 … 255.
        """
        red, blue = _WEIGHTS.get(space, _BT601)
        green = 1 - red - blue
        luma, colour = (1.0, 1.0) if full else (255 / 219, 255 / 224)
        gains = (
            luma,
            2 * (1 - red) * colour,
            -2 * (1 - blue) * blue / green * colour,
            -2 * (1 - red) * red / green * colour,
            2 * (1 - blue) * colour,
        )
        return cls(0 if full else 16, *(round(gain * (1 << _BITS)) for gain in gains))


def nv12_to_rgb(luma: Array, chroma: Array, matrix: YuvMatrix, turns: int = 0) -> Image:
    """A frame in RGB; four pixels share their colour.

    Args:
        luma: uint8 [H, W].
        chroma: uint8 [⌈H / 2⌉, ⌈W / 2⌉, 2], U and V.
        matrix: Of the video.
        turns: Quarters the frame is turned by, clockwise.

    Returns:
        uint8 [H, W, 3], RGB; or [W, H, 3], turned by one or three quarters.
    """
    height, width = luma.shape
    u, v = (
        plane.repeat(2, 0).repeat(2, 1)[:height, :width].astype(np.int32) - 128 for plane in np.moveaxis(chroma, 2, 0)
    )
    bright = np.maximum(luma.astype(np.int32) - matrix.black, 0) * matrix.luma + (1 << _BITS - 1)
    red = bright + matrix.red_v * v
    green = bright + matrix.green_u * u + matrix.green_v * v
    blue = bright + matrix.blue_u * u
    rgb = np.clip(np.stack([red, green, blue], 2) >> _BITS, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(rgb, -turns))
