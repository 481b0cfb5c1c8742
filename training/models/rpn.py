"""Anchors, box regression and the region proposal network (Ren et al., NIPS 2015), shared by detector and mask net."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import ops

from training.preset import RPNPreset

STRIDE = 16
"""Canvas pixels a cell of the feature map, in both networks (Sec. 3.2)."""

_LARGEST_GROWTH = math.log(1000 / 16)
"""Logarithm of a side's growth in one regression: keeps exp from overflowing (torchvision's `bbox_xform_clip`)."""


def anchor_boxes(
    feature_hw: tuple[int, int], scales: tuple[float, ...], ratios: tuple[float, ...], stride: int = STRIDE
) -> Tensor:
    """Every anchor of a feature map.

    Args:
        feature_hw: Its cells, height and width.
        scales: Sides of squares of the anchors' areas, in pixels.
        ratios: Height over width.
        stride: Pixels a cell.

    Returns:
        float32 [h · w · A, 4], xyxy pixels, centred on the cells' centres; rows first, anchors of a cell adjacent.
    """
    sides = [(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for scale in scales for ratio in ratios]
    half = torch.tensor(sides) / 2
    rows = (torch.arange(feature_hw[0], dtype=torch.float32) + 0.5) * stride
    columns = (torch.arange(feature_hw[1], dtype=torch.float32) + 0.5) * stride
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([x, y], dim=-1).reshape(-1, 1, 2)
    return torch.cat([centres - half, centres + half], dim=-1).reshape(-1, 4)


def encode_boxes(boxes: Tensor, anchors: Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Regression targets that `decode_boxes` turns back into `boxes` (R-CNN's parametrisation; Ren et al., Eq. 2).

    Args:
        boxes: xyxy, [N, 4], each with a width and a height.
        anchors: xyxy, [N, 4], alike.
        weights: Factors of the centres' shifts and of the sides' growths.

    Returns:
        [N, 4] = (dx, dy, dw, dh): shifts in shares of the anchor's sides, growths in the logarithm.
    """
    size, centre = _size_and_centre(boxes)
    anchor_size, anchor_centre = _size_and_centre(anchors)
    shift = (centre - anchor_centre) / anchor_size * weights[0]
    growth = torch.log(size / anchor_size) * weights[1]
    return torch.cat([shift, growth], dim=-1)


def decode_boxes(deltas: Tensor, anchors: Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Move and scale `anchors` [..., 4] by `deltas` [..., 4] = (dx, dy, dw, dh). Returns xyxy [..., 4]."""
    anchor_size, anchor_centre = _size_and_centre(anchors)
    centre = anchor_centre + deltas[..., :2] / weights[0] * anchor_size
    half = 0.5 * anchor_size * torch.exp(torch.clamp(deltas[..., 2:] / weights[1], max=_LARGEST_GROWTH))
    return torch.cat([centre - half, centre + half], dim=-1)


def _size_and_centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return size, boxes[..., :2] + 0.5 * size


def clip_boxes(boxes: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """Boxes [..., 4], xyxy, cut off at the borders of a canvas of this height and width, [..., 4]."""
    # minimum/maximum with a constant, rather than indexing: one op each in the exported graph.
    limit = torch.tensor([canvas_hw[1], canvas_hw[0]] * 2, dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(torch.clamp(boxes, min=0), limit)


class RPN(nn.Module):
    """A 3×3 convolution and two 1×1 heads over the feature map.

    Args:
        channels: Of the feature map.
        preset: Anchors and selection.
    """

    def __init__(self, channels: int, preset: RPNPreset) -> None:
        super().__init__()
        self.preset = preset
        self.conv = nn.Conv2d(channels, preset.channels, 3, padding=1)
        self.objectness = nn.Conv2d(preset.channels, preset.anchors_per_cell, 1)
        self.deltas = nn.Conv2d(preset.channels, preset.anchors_per_cell * 4, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, h, w] → objectness logits [B, h·w·A] and deltas [B, h·w·A, 4], in the order of `anchor_boxes`."""
        hidden = functional.relu(self.conv(features))
        logits = self.objectness(hidden).permute(0, 2, 3, 1)
        deltas = self.deltas(hidden).permute(0, 2, 3, 1)
        # The batch is what is left to infer, so that the exported graph asks nothing for its size.
        anchors = logits.shape[1] * logits.shape[2] * logits.shape[3]
        return logits.reshape(-1, anchors), deltas.reshape(-1, anchors, 4)

    def anchors(self, features: Tensor) -> Tensor:
        """The anchors of a feature map [B, C, h, w]: float32 [h·w·A, 4], see `anchor_boxes`."""
        shape = (features.shape[-2], features.shape[-1])
        return anchor_boxes(shape, self.preset.scales, self.preset.ratios).to(features.device)

    def propose(self, logits: Tensor, deltas: Tensor, anchors: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
        """The proposals of one image: the best anchors, regressed, clipped, thinned by NMS (Sec. 3.2).

        Args:
            logits: [M].
            deltas: [M, 4].
            anchors: [M, 4].
            canvas_hw: What to clip to.

        Returns:
            xyxy [R, 4], best first, R ≤ `proposals`.
        """
        # Stable, and so not topk: equal logits are common among tens of thousands, and the lower anchor goes first.
        best, index = (part[: self.preset.candidates] for part in logits.sort(descending=True, stable=True))
        boxes = clip_boxes(decode_boxes(deltas[index], anchors[index]), canvas_hw)
        return boxes[ops.nms(boxes, best, self.preset.nms)[: self.preset.proposals]]
