"""Region features from GridSample: RoIAlign and position-sensitive assembling without plugins."""

import torch
from torch import Tensor
from torch.nn import functional


def _samples(start: Tensor, size: Tensor, count: int, extent: int) -> Tensor:
    """Centres of `count` equal parts of each interval, as GridSample's coordinates.

    Args:
        start: [R], cells.
        size: [R], cells.
        count: Parts.
        extent: Cells of the feature map on this axis.

    Returns:
        [R, count]; −1 and 1 are the centres of the outermost cells (`align_corners=True`).
    """
    step = (torch.arange(count, dtype=torch.float32) + 0.5) / count
    return (start[:, None] + size[:, None] * step) * (2 / (extent - 1)) - 1


def _grid(boxes: Tensor, count: int, map_hw: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    """Sampling positions of count × count points in each box: x [R, count], y [R, count]."""
    # Half a cell off: a cell's value belongs to its centre (RoIAlign's aligned=True).
    cells = boxes / stride - 0.5
    size = cells[:, 2:] - cells[:, :2]
    x = _samples(cells[:, 0], size[:, 0], count, map_hw[1])
    y = _samples(cells[:, 1], size[:, 1], count, map_hw[0])
    return x, y


def roi_align(features: Tensor, boxes: Tensor, size: int, samples: int, stride: int) -> Tensor:
    """RoIAlign (He et al., ICCV 2017) of one image's boxes, as torchvision's with `aligned=True`.

    A GridSample takes samples × samples points a bin, an average pool the mean of each bin. Points outside the map
    take its border's value, as torchvision's do up to one cell outside. Farther out torchvision's are 0; boxes within
    the image get there only where its size is no multiple of the stride, and there `FasterRCNN.roi_features` extends
    the map for torchvision.

    Args:
        features: [1, C, h, w].
        boxes: xyxy pixels [R, 4], within the image.
        size: Bins a side.
        samples: Points a bin and axis.
        stride: Pixels a cell.

    Returns:
        [R, C, size, size].
    """
    count, regions = size * samples, boxes.shape[0]
    x, y = _grid(boxes, count, (features.shape[2], features.shape[3]), stride)
    grid = torch.stack(
        [x[:, None, :].expand(regions, count, count), y[:, :, None].expand(regions, count, count)], dim=-1
    )
    points = functional.grid_sample(
        features, grid.reshape(1, regions * count, count, 2), padding_mode="border", align_corners=True
    )
    pooled = functional.avg_pool2d(points, samples)
    return pooled.reshape(features.shape[1], regions, size, size).permute(1, 0, 2, 3)


def assemble(maps: Tensor, boxes: Tensor, bins: int, mask_size: int, stride: int) -> Tensor:
    """Position-sensitive assembling (Li et al., CVPR 2017, Sec. 3.1) of one image's boxes.

    The k·k map groups are the batch of one GridSample, so that each bin's cells are read from that bin's maps alone.

    Args:
        maps: [1, C · k · k, h, w].
        boxes: xyxy pixels [R, 4].
        bins: k.
        mask_size: m, a multiple of k.
        stride: Pixels a cell.

    Returns:
        [R, C, m, m].
    """
    height, width = maps.shape[2], maps.shape[3]
    regions, cells = boxes.shape[0], mask_size // bins
    groups = maps.reshape(-1, bins * bins, height, width).permute(1, 0, 2, 3)
    x, y = _grid(boxes, mask_size, (height, width), stride)
    shape = (bins, bins, regions, cells, cells)
    x = x.reshape(regions, bins, cells).permute(1, 0, 2)[None, :, :, None, :].expand(shape)
    y = y.reshape(regions, bins, cells).permute(1, 0, 2)[:, None, :, :, None].expand(shape)
    grid = torch.stack([x, y], dim=-1).reshape(bins * bins, regions * cells, cells, 2)
    points = functional.grid_sample(groups, grid, padding_mode="border", align_corners=True)
    points = points.reshape(bins, bins, -1, regions, cells, cells).permute(3, 2, 0, 4, 1, 5)
    return points.reshape(regions, -1, mask_size, mask_size)
