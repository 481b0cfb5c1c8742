"""From the canvas to a detector's input, in the graph: placement, size, colour, normalisation."""

import math

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.importing.detectors.node_writer import NodeWriter, floats, ints
from mgts_trt.importing.detectors.recognised import Recognised


def write_input(write: NodeWriter, image: str, found: Recognised, result: str) -> str | None:
    """Write the nodes from the canvas to the model's input.

    Args:
        write: Takes the nodes.
        image: uint8 [B, Hc, Wc, 3], RGB; the picture at the top left, `found.pad` beside it.
        found: What the detector expects.
        result: Name of the model's input.

    Returns:
        Name of a tensor [B, 1, 4]: by how much the picture was moved right, down, right, down on the input to lie
        centred, pixels; None if it stays in the corner.
    """
    pixels, pad, moved = write("Cast", image, to=1), floats(0, 0, 0), None
    resizes = found.canvas != found.image.hw
    if resizes or found.placement == "centre":
        pad = floats(*found.pad)
        pixels = write("Sub", pixels, pad)  # 0 where there is no picture
    if found.placement == "centre":
        moved = _shifts(write, pixels, found)
    if resizes:
        pixels = _resized(write, pixels, found)
    if moved is not None:
        pixels = _rolled(write, pixels, moved, found.image.hw)
    if found.colour == "bgr":
        pixels, pad = write("Gather", pixels, ints(2, 1, 0), axis=3), pad[::-1].copy()
    pixels = _normalised(write, pixels, pad, found)
    if found.image.layout == "NHWC":
        write("Identity", pixels, output=result)
    elif found.image.layout == "CHW":
        write("Transpose", write("Squeeze", pixels, ints(0)), output=result, perm=[2, 0, 1])
    else:
        write("Transpose", pixels, output=result, perm=[0, 3, 1, 2])
    if moved is None:
        return None
    down, right = moved
    return write("Unsqueeze", write("Concat", right, down, right, down, axis=1), ints(1))


def _normalised(write: NodeWriter, pixels: str, pad: Array, found: Recognised) -> str:
    mean, std = floats(*found.mean), floats(*found.std)
    offset = pad - mean
    if offset.any():
        pixels = write("Add", pixels, offset)
    return write("Div", pixels, std) if (std != 1).any() else pixels


def _resized(write: NodeWriter, pixels: str, found: Recognised) -> str:
    """[B, Hc, Wc, 3] → [B, H, W, 3]: scaled until it fits, at the top left, 0 beside it."""
    (height, width), (content_height, content_width) = found.image.hw, found.content_hw
    scaled = write("Transpose", pixels, perm=[0, 3, 1, 2])
    if found.content_hw != found.canvas:
        scales = [_scale(*sides) for sides in zip(found.canvas, found.content_hw, strict=True)]
        scaled = write(
            "Resize", scaled, "", floats(1, 1, *scales), mode="linear", coordinate_transformation_mode="half_pixel"
        )
    below, beside = height - content_height, width - content_width
    if below or beside:
        scaled = write("Pad", scaled, ints(0, 0, 0, 0, 0, 0, below, beside))
    return write("Transpose", scaled, perm=[0, 2, 3, 1])


def _scale(side: int, wanted: int) -> float:
    """The float32 scale by which a side becomes the wanted one where the product is rounded down, as runtimes do."""
    scale = np.float32(wanted / side)
    while math.floor(side * float(scale)) < wanted:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


def _shifts(write: NodeWriter, pixels: str, found: Recognised) -> tuple[str, str]:
    """By how much a picture must move down and right to lie in the middle of the input, each float [B, 1].

    Where the picture ends is read from the canvas: the last row, and column, of another colour than the padding.
    """
    differs = write("ReduceMax", write("Abs", pixels), ints(3), keepdims=0)
    shifts = []
    for axis, side, content, canvas in zip((2, 1), found.image.hw, found.content_hw, found.canvas, strict=True):
        filled = write("Min", write("ReduceMax", differs, ints(axis), keepdims=0), floats(1))
        last = write("ReduceMax", write("Mul", filled, np.arange(1, canvas + 1, dtype=np.float32)), ints(1), keepdims=1)
        if content != canvas:
            last = write("Ceil", write("Mul", last, floats(content / canvas)))
        shifts.append(write("Floor", write("Mul", write("Sub", floats(side), last), floats(0.5))))
    return shifts[0], shifts[1]


def _rolled(write: NodeWriter, pixels: str, moved: tuple[str, str], hw: tuple[int, int]) -> str:
    """Rows and columns of [B, H, W, 3] moved down and right; what leaves at the end, padding, comes in at the start."""
    for shift, side in zip(moved, hw, strict=True):
        source = write("Sub", np.arange(side, dtype=np.float32)[None], shift)
        wrapped = write("Where", write("Less", source, floats(0)), write("Add", source, floats(side)), source)
        rows = write("Unsqueeze", write("Cast", wrapped, to=7), ints(2))
        pixels = write("Transpose", write("GatherND", pixels, rows, batch_dims=1), perm=[0, 2, 1, 3])
    return pixels
