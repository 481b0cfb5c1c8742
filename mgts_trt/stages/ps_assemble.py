"""Position-sensitive assembling (Li et al., CVPR 2017): the operator `PsAssemble` of `engines/operators/README.md`."""

import numpy as np

from mgts_trt._typing import Array, Floats
from mgts_trt.stages.align_rois import axis_points, between


def ps_assemble(maps: Array, boxes: Array, *, bins: int, size: int, stride: float) -> Floats:
    """Put each region together from k · k groups of maps: the cells of bin (i, j) are read from the maps of that bin.

    Args:
        maps: [B, C · k · k, h, w], float32 or float16; map c · k · k + i · k + j is channel c of bin (i, j).
        boxes: Of each picture, xyxy pixels, float32 [B, R, 4].
        bins: k, a side.
        size: Cells a side of the result, m, a multiple of k; a cell is the point in its middle.
        stride: Pixels a cell of the maps.

    Returns:
        float32 [B · R, C, m, m].
    """
    cells = size // bins
    pictures = []
    for its_maps, its_boxes in zip(maps, boxes, strict=True):
        by_bin = its_maps.reshape(-1, bins, bins, *its_maps.shape[1:])
        y = axis_points(its_boxes[:, 1], its_boxes[:, 3], size, stride, its_maps.shape[1])
        x = axis_points(its_boxes[:, 0], its_boxes[:, 2], size, stride, its_maps.shape[2])
        whole = np.empty((len(its_boxes), len(by_bin), size, size), np.float32)
        for i in range(bins):
            for j in range(bins):
                rows, columns = (slice(n * cells, (n + 1) * cells) for n in (i, j))
                part = between(by_bin[:, i, j], y.part(rows), x.part(columns))
                whole[:, :, rows, columns] = part.transpose(1, 0, 2, 3)
        pictures.append(whole)
    return np.concatenate(pictures)
