"""How authors bring a crop to their network's size, in plain NumPy: the reference of what our pipeline does instead.

The pipeline resizes bilinearly, in float32 and without antialiasing (`stages.separate`), on the host as on the GPU.
Libraries differ from that in three ways: a wider kernel where a crop is made smaller, a cubic kernel, and rounding to
8 bits behind each pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mgts_trt._typing import Array, Floats, Image

ResizeRule = Literal["bilinear", "opencv-bilinear", "opencv-bicubic", "pil-bilinear", "pil-bicubic"]
"""`bilinear` is the pipeline's own; `opencv-…` are `cv2.resize`, `pil-…` Pillow and torchvision on its pictures."""

RESIZE_RULES: tuple[ResizeRule, ...] = get_args(ResizeRule)


@dataclass(frozen=True)
class _Kernel:
    weight: Callable[[Array], Array]
    reach: float
    antialias: bool = False
    rounded: bool = True


def _triangle(x: Array) -> Array:
    return np.asarray(np.maximum(1 - np.abs(x), 0))


def _cubic(a: float) -> Callable[[Array], Array]:
    """Keys' kernel (1981) with its free parameter."""

    def weight(x: Array) -> Array:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.where(x < 1, near, np.where(x < 2, far, 0))

    return weight


_KERNELS: dict[ResizeRule, _Kernel] = {
    "bilinear": _Kernel(_triangle, 1, rounded=False),
    "opencv-bilinear": _Kernel(_triangle, 1),
    "opencv-bicubic": _Kernel(_cubic(-0.75), 2),
    "pil-bilinear": _Kernel(_triangle, 1, antialias=True),
    "pil-bicubic": _Kernel(_cubic(-0.5), 2, antialias=True),
}


def resize(image: Image, size: tuple[int, int], rule: ResizeRule) -> Floats:
    """Resize a picture by one of the rules above.

    Args:
        image: uint8 [h, w, 3].
        size: Height and width of the result.
        rule: Whose.

    Returns:
        float32 [H, W, 3], 0…255; whole numbers but for `bilinear`. Within 1 of the library's.
    """
    kernel = _KERNELS[rule]
    rows = _weights(image.shape[0], size[0], kernel)
    columns = _weights(image.shape[1], size[1], kernel)
    # Pillow rounds between its passes, OpenCV behind both.
    wide = np.einsum("xw,hwc->hxc", columns, image.astype(np.float64))
    if kernel.antialias:
        wide = _to_bytes(wide)
    result = np.einsum("yh,hxc->yxc", rows, wide)
    return np.asarray(_to_bytes(result) if kernel.rounded else result, np.float32)


def _weights(source: int, target: int, kernel: _Kernel) -> Array:
    """What each of `target` points takes of `source` pixels: [target, source], rows of sum 1."""
    scale = source / target
    centre = (np.arange(target) + 0.5) * scale
    pixel = np.arange(source) + 0.5
    if kernel.antialias:
        wide = max(scale, 1.0)
        weights = kernel.weight((pixel[None] - centre[:, None]) / wide)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))
    # Without antialiasing the kernel reaches beyond the border, where the outermost pixel is repeated.
    weights = np.zeros((target, source))
    first = np.floor(centre - 0.5).astype(int) - int(kernel.reach) + 1
    for step in range(2 * int(kernel.reach)):
        at = first + step
        np.add.at(weights, (np.arange(target), np.clip(at, 0, source - 1)), kernel.weight(at + 0.5 - centre))
    return weights


def _to_bytes(values: Array) -> Array:
    return np.asarray(np.clip(np.floor(values + 0.5), 0, 255))
