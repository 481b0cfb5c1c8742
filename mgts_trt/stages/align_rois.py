"""RoIAlign (He et al., ICCV 2017), aligned: the operator `AlignRois` of `engines/operators/README.md`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Floats

OUTPUT_TYPES = {1: "float32", 10: "float16"}
"""ONNX's number of a type → NumPy's name of it, for those the regions may have."""


@dataclass(frozen=True)
class AxisPoints:
    """Where the points of R regions lie on one axis of a map: between two neighbouring cells.

    Attributes:
        low: The cell before each point, int64 [R, points].
        high: The cell behind it; at the map's border, and where the map is one cell, the same cell.
        weight: Of `high`, float32 [R, points], 0 to 1; `low` has the rest.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: Floats

    def part(self, points: slice) -> "AxisPoints":
        """Some of each region's points."""
        return AxisPoints(self.low[:, points], self.high[:, points], self.weight[:, points])


def axis_points(start: Array, end: Array, points: int, stride: float, extent: int) -> AxisPoints:
    """The middles of equal parts of each region on one axis.

    A cell's value belongs to its centre, half a cell off. Points beyond the outermost cells' centres lie on them, those
    that are not numbers on the first.

    Args:
        start: Of each region, pixels, float32 [R]; beyond `end` it may be.
        end: Likewise.
        points: How many parts.
        stride: Pixels a cell.
        extent: Cells of the map on this axis.
    """
    pixels, half = np.float32(stride), np.float32(0.5)
    first, last = (np.asarray(side, np.float32)[:, None] / pixels - half for side in (start, end))
    part = (np.arange(points, dtype=np.float32) + half) / np.float32(points)
    with np.errstate(invalid="ignore"):
        cells = first + (last - first) * part
    inside = np.fmin(np.fmax(cells, np.float32(0)), np.float32(extent - 1))
    low = inside.astype(np.int64)
    return AxisPoints(low, np.minimum(low + 1, extent - 1), inside - low.astype(np.float32))


def between(maps: Array, y: AxisPoints, x: AxisPoints) -> Floats:
    """Read maps between their cells, bilinearly, at each region's grid of points.

    Args:
        maps: [C, h, w].
        y: Of each region's rows [R, a].
        x: Of its columns [R, b].

    Returns:
        float32 [C, R, a, b].
    """
    far_y, far_x = y.weight[:, :, None], x.weight[:, None, :]
    near_y, near_x = np.float32(1) - far_y, np.float32(1) - far_x
    value = np.zeros((maps.shape[0], *far_y.shape[:2], far_x.shape[2]), np.float32)
    for rows, of_row in ((y.low, near_y), (y.high, far_y)):
        for columns, of_column in ((x.low, near_x), (x.high, far_x)):
            value += maps[:, rows[:, :, None], columns[:, None, :]].astype(np.float32) * (of_row * of_column)
    return value


def align_rois(
    features: Array, boxes: Array, *, size: int, samples: Sequence[int], stride: float, dtype: int = 1
) -> Array:
    """Region features: each bin is the mean of a grid of points in it.

    Args:
        features: [B, C, h, w], float32 or float16.
        boxes: Of each picture, xyxy pixels, float32 [B, R, 4].
        size: Bins a side, s.
        samples: Points a bin, down and across; the same number twice.
        stride: Pixels a cell.
        dtype: ONNX's number of the result's type; see `OUTPUT_TYPES`.

    Returns:
        [B · R, C, s, s]; computed in float32 whatever the type of the maps.
    """
    per_bin = samples[0]
    pictures = []
    for maps, its_boxes in zip(features, boxes, strict=True):
        y = axis_points(its_boxes[:, 1], its_boxes[:, 3], size * per_bin, stride, maps.shape[1])
        x = axis_points(its_boxes[:, 0], its_boxes[:, 2], size * per_bin, stride, maps.shape[2])
        total = np.zeros((maps.shape[0], len(its_boxes), size, size), np.float32)
        for down in range(per_bin):
            for across in range(per_bin):
                total += between(maps, y.part(slice(down, None, per_bin)), x.part(slice(across, None, per_bin)))
        pictures.append((total / np.float32(per_bin**2)).transpose(1, 0, 2, 3))
    with np.errstate(over="ignore"):
        return np.concatenate(pictures).astype(OUTPUT_TYPES[dtype])
