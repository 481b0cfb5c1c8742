"""Foreground separation: from a person's box to the pair of patches that MGTS takes (Sec. 3.3, Algorithm 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mgts_trt._typing import Array, Bools, Floats, Image, Ints
from mgts_trt.stages.instances import InstanceMap


@dataclass(frozen=True)
class Separation:
    """What Algorithm 1 makes of one box, in canvas pixels.

    Attributes:
        original: I′, the crop of the canvas: uint8 [h, w, 3], a view.
        mask: M′_b, the person in that crop: bool [h, w].
        foreground: I′_M = M′_b ⊙ I′, black outside the mask: uint8 [h, w, 3].
        box: b_γ, the crop's x1, y1, x2, y2 on the canvas.
        instance: k, the dominant instance's id in the instance map; 0 where the tight box was the mask.
    """

    original: Image
    mask: Bools
    foreground: Image
    box: tuple[int, int, int, int]
    instance: int


@dataclass(frozen=True)
class Patches:
    """The inputs of MGTS for N persons of one image.

    Attributes:
        foreground: float32 [N, 3, H, W], normalised; the person alone, on what was black.
        original: float32 [N, 3, H, W], normalised.
        boxes: Expanded canvas boxes, int32 [N, 4].
        instances: int32 [N]; 0 where the tight box was the mask.
    """

    foreground: Floats
    original: Floats
    boxes: Ints
    instances: Ints


def expand_boxes(boxes: Array, gamma: float, content_hw: tuple[int, int]) -> Ints:
    """Expand boxes about their centres, and take the whole pixels they touch (Algorithm 1, step 1: b ∈ N⁴).

    Each side grows by the factor `gamma`: x = (x1 + x2) / 2 ∓ (x2 - x1) · γ / 2, in float64. The result is rounded
    outwards and clipped to the content; it holds at least one pixel of the content, wherever the box lies. A box
    turned inside out counts as the point at its centre.

    Args:
        boxes: Canvas boxes [N, 4], finite.
        gamma: Ratio of the expanded side to the side; at least 1, which gives the tight
            box; the paper's is 1.3 (Sec. 4.3).
        content_hw: Height and width of the picture on the canvas.

    Returns:
        int32 [N, 4], x1 < x2 and y1 < y2, within the content.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    size = np.array((content_hw[1], content_hw[0]))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum(boxes[:, 2:] - boxes[:, :2], 0) * gamma / 2
    low = np.clip(np.floor(centre - half), 0, size - 1)
    high = np.clip(np.ceil(centre + half), low + 1, size)
    return np.hstack([low, high]).astype(np.int32)


def dominant_instance(mask_crop: InstanceMap) -> int:
    """The instance with the most pixels in a crop of the instance map (Algorithm 1, step 4: majority vote).

    The vote is among instances: background has none. Of equals the smaller id wins, which is the better-scored one.

    Args:
        mask_crop: [h, w], 0 is background.

    Returns:
        The instance's id, or 0 where the crop holds none.
    """
    votes = np.bincount(mask_crop.ravel(), minlength=1)
    votes[0] = 0
    return int(votes.argmax())


def separate(
    canvas: Image,
    box: Array,
    instance_map: InstanceMap | None,
    *,
    gamma: float,
    content_hw: tuple[int, int],
) -> Separation:
    """Separate one person from the background (Algorithm 1).

    Without an instance map (mode `box`, Sec. 4.7), or with no instance in the patch, the tight box, rounded outwards
    to whole pixels, is the mask.

    Args:
        canvas: uint8 [Hc, Wc, 3].
        box: The person's tight canvas box [4].
        instance_map: M, uint16 [Hc, Wc], or None.
        gamma: Expand ratio, at least 1.
        content_hw: Height and width of the picture on the canvas; no patch leaves it.
    """
    x1, y1, x2, y2 = (int(v) for v in expand_boxes(box, gamma, content_hw)[0])
    original = canvas[y1:y2, x1:x2]
    mask_crop = np.zeros((0, 0), np.uint16) if instance_map is None else instance_map[y1:y2, x1:x2]
    instance = dominant_instance(mask_crop)
    if instance:
        mask = mask_crop == instance
    else:
        tight = expand_boxes(box, 1.0, content_hw)[0]
        mask = np.zeros((y2 - y1, x2 - x1), np.bool_)
        mask[tight[1] - y1 : tight[3] - y1, tight[0] - x1 : tight[2] - x1] = True
    foreground = np.asarray(cv2.copyTo(original, mask.view(np.uint8)), np.uint8)  # black elsewhere
    return Separation(original, mask, foreground, (x1, y1, x2, y2), instance)


def person_patches(
    canvas: Image,
    boxes: Array,
    instance_map: InstanceMap | None,
    *,
    gamma: float,
    patch_hw: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    content_hw: tuple[int, int],
) -> Patches:
    """Make the patches of every box: separate, resize, normalise.

    The crops are resized in float32, bilinear with half-pixel centres and without antialiasing, so that nothing is
    rounded to 8 bits in between; then (x - mean) / std.

    Args:
        canvas: uint8 [Hc, Wc, 3].
        boxes: Tight canvas boxes [N, 4].
        instance_map: uint16 [Hc, Wc], or None where the tight box is to be the mask.
        gamma: Expand ratio, at least 1.
        patch_hw: Height and width of a patch; the paper's are 256 and 128 (Sec. 4.3).
        mean: Per channel, on the scale of 0..255.
        std: Per channel, on the scale of 0..255.
        content_hw: Height and width of the picture on the canvas.

    Returns:
        A row for each box, N = 0 included; patches float32 [N, 3, h, w].
    """
    boxes = np.asarray(boxes).reshape(-1, 4)
    n, (height, width) = len(boxes), patch_hw
    patches = Patches(
        foreground=np.empty((n, 3, height, width), np.float32),
        original=np.empty((n, 3, height, width), np.float32),
        boxes=np.empty((n, 4), np.int32),
        instances=np.empty(n, np.int32),
    )
    mean_chw = np.asarray(mean, np.float32).reshape(3, 1, 1)
    std_chw = np.asarray(std, np.float32).reshape(3, 1, 1)
    for i, box in enumerate(boxes):
        person = separate(canvas, box, instance_map, gamma=gamma, content_hw=content_hw)
        for crop, out in ((person.foreground, patches.foreground), (person.original, patches.original)):
            resized = cv2.resize(crop.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
            np.subtract(resized.transpose(2, 0, 1), mean_chw, out=out[i])
            out[i] /= std_chw
        patches.boxes[i] = person.box
        patches.instances[i] = person.instance
    return patches


def denormalise(patches: Array, mean: Sequence[float], std: Sequence[float]) -> Image:
    """Turn normalised patches back into pictures: float [N, 3, H, W] → uint8 [N, H, W, 3], rounded."""
    pixels = patches.transpose(0, 2, 3, 1) * np.asarray(std, np.float32) + np.asarray(mean, np.float32)
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)
