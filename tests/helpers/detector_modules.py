"""Small PyTorch detectors, each with the outputs of a family, that find what they were told to.

On a black picture a detector gives the numbers planted, to the bit; on others something that depends on all of it.
Pictures are 64 × 96.
"""

import contextlib
import io
import logging
import warnings
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn

HW = (64, 96)
CELLS = 8 * 12 + 4 * 6 + 2 * 3
QUERIES = 20


class Levels(nn.Module):
    """Seeded maps at strides 8, 16, 32 of black-preserving convolutions: a list of [B, channels, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, stride=8, bias=False)
        self.down = nn.ModuleList([nn.Conv2d(8, 8, 2, stride=2, bias=False) for _ in range(2)])
        self.heads = nn.ModuleList([nn.Conv2d(8, channels, 1, bias=False) for _ in range(3)])
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image)]
        for layer in self.down:
            maps.append(layer(torch.nn.functional.silu(maps[-1])))
        return [head(each) for head, each in zip(self.heads, maps, strict=True)]


def flat(maps: list[Tensor]) -> Tensor:
    """[B, N, channels], as YOLOX's and RetinaNet's heads lay maps out."""
    return torch.cat([each.flatten(2) for each in maps], dim=2).permute(0, 2, 1)


def grid() -> tuple[Tensor, Tensor]:
    """Column and row of each cell [N, 2], and its stride [N, 1]."""
    corners, strides = [], []
    for stride in (8, 16, 32):
        y, x = torch.meshgrid(torch.arange(HW[0] // stride), torch.arange(HW[1] // stride), indexing="ij")
        corners.append(torch.stack([x, y], dim=-1).reshape(-1, 2).float())
        strides.append(torch.full((x.numel(), 1), float(stride)))
    return torch.cat(corners), torch.cat(strides)


class Planted(nn.Module):
    """Base: `plant` [N, channels] is what a black picture gives before the family's own decoding."""

    def __init__(self, plant: np.ndarray) -> None:
        super().__init__()
        self.levels = Levels(plant.shape[1])
        self.register_buffer("plant", torch.from_numpy(plant.astype(np.float32)))
        corner, stride = grid()
        self.register_buffer("corner", corner)
        self.register_buffer("stride", stride)

    def raw(self, image: Tensor) -> Tensor:
        """[B, N, channels]."""
        return flat(self.levels(image)) + self.plant


class YoloX(Planted):
    """[B, N, 5 + C]: box raw, objectness and classes after their sigmoid."""

    def forward(self, image: Tensor) -> Tensor:
        raw = self.raw(image)
        return torch.cat([raw[..., :4], raw[..., 4:].sigmoid()], dim=-1)


class YoloV5(Planted):
    """[B, N, 5 + C]: three anchors a cell would be three times as many rows; box decoded to pixels."""

    def forward(self, image: Tensor) -> Tensor:
        judged = self.raw(image).sigmoid()
        middle = (judged[..., :2] * 2 - 0.5 + self.corner) * self.stride
        sides = (judged[..., 2:4] * 2) ** 2 * self.stride
        return torch.cat([middle, sides, judged[..., 4:]], dim=-1)


class YoloV8(Planted):
    """[B, 4 + C, N]: distances to the sides, decoded to middle and size in pixels."""

    def forward(self, image: Tensor) -> Tensor:
        raw = self.raw(image)
        middle = self.corner + 0.5
        first, second = middle - raw[..., :2], middle + raw[..., 2:4]
        boxes = torch.cat([(first + second) / 2, second - first], dim=-1) * self.stride
        return torch.cat([boxes, raw[..., 4:].sigmoid()], dim=-1).transpose(1, 2)


class EndToEnd(Planted):
    """[B, 20, 6]: corners in pixels, score, class; as YOLOv10 picks them, by TopK twice."""

    def forward(self, image: Tensor) -> Tensor:
        raw = self.raw(image)
        boxes, scores = raw[..., :4], raw[..., 4:].sigmoid()
        index = scores.amax(dim=-1).topk(QUERIES).indices.unsqueeze(-1)
        boxes = torch.gather(boxes, 1, index.repeat(1, 1, 4))
        scores = torch.gather(scores, 1, index.repeat(1, 1, scores.shape[-1]))
        best, at = scores.flatten(1).topk(QUERIES)
        labels = at % scores.shape[-1]
        row = torch.div(at, scores.shape[-1], rounding_mode="floor").unsqueeze(-1)
        boxes = torch.gather(boxes, 1, row.repeat(1, 1, 4))
        return torch.cat([boxes, best.unsqueeze(-1), labels.unsqueeze(-1).float()], dim=-1)


class Detr(Planted):
    """[B, Q, C], [B, Q, 4]: logits, and middle and size in parts of the picture; the first cells are the queries."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.raw(image)[:, :QUERIES]
        return raw[..., 4:], raw[..., :4].sigmoid()


class Ssd(Planted):
    """[B, N, 4], [B, N, C]: corners in parts of the picture, class probabilities with the background first."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.raw(image)
        return raw[..., :4], raw[..., 4:].softmax(dim=-1)


class Detections(Planted):
    """[B, Q], [B, Q, 4], [B, Q]: labels, corners in pixels of a size that is asked for, scores; as RT-DETR deploys."""

    def forward(self, image: Tensor, orig_target_sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw = self.raw(image)[:, :QUERIES]
        boxes = raw[..., :4] * orig_target_sizes.repeat(1, 2).unsqueeze(1)
        scores, at = raw[..., 4:].sigmoid().flatten(1).topk(QUERIES, dim=-1)
        classes = raw.shape[-1] - 4
        row = torch.div(at, classes, rounding_mode="floor").unsqueeze(-1)
        return at % classes, torch.gather(boxes, 1, row.repeat(1, 1, 4)), scores


class FastestDet(nn.Module):
    """[B, 5 + C, h, w] at stride 16: objectness, offsets, sizes, classes after their softmax."""

    def __init__(self, plant: np.ndarray) -> None:
        super().__init__()
        self.levels = Levels(plant.shape[0])
        self.register_buffer("plant", torch.from_numpy(plant.astype(np.float32)))

    def forward(self, image: Tensor) -> Tensor:
        raw = self.levels(image)[1] + self.plant
        return torch.cat([raw[:, :1].sigmoid(), raw[:, 1:5], raw[:, 5:].softmax(dim=1)], dim=1)


class Export(NamedTuple):
    """An exporter and the opset it is asked for."""

    dynamo: bool
    opset: int


def exported(module: nn.Module, export: Export, outputs: list[str], dynamic: bool = False) -> onnx.ModelProto:
    """A module as an ONNX model; with `dynamic` for any batch."""
    inputs: dict[str, Any] = {"images": torch.zeros(1, 3, *HW)}
    if isinstance(module, Detections):
        inputs["orig_target_sizes"] = torch.tensor([[HW[1], HW[0]]])
    file = io.BytesIO()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            named = {"input_names": list(inputs), "output_names": outputs, "opset_version": export.opset}
            given = (module.eval(), tuple(inputs.values()))
            if export.dynamo:
                batch = torch.export.Dim("n", min=1, max=64)
                shapes = {name: {0: batch} for name in ("image", *list(inputs)[1:])} if dynamic else None
                torch.onnx.export(*given, dynamo=True, external_data=False, dynamic_shapes=shapes, **named).save(file)
            else:
                axes = {name: {0: "n"} for name in (*inputs, *outputs)} if dynamic else None
                torch.onnx.export(*given, file, dynamo=False, dynamic_axes=axes, **named)
    finally:
        logging.disable(level)
    return onnx.load_from_string(file.getvalue())


THRESHOLD, MOST = 0.2, 100
"""Least score and number of boxes that detectors with an NMS of their own give."""


class WithNms(nn.Module):
    """Base: boxes [N, 4] in pixels and class probabilities [N, 4], class 0 the background, before an NMS."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = Levels(8)
        corner, stride = grid()
        self.register_buffer("middle", (corner + 0.5) * stride)
        self.register_buffer("stride", stride)

    def rows(self, image: Tensor) -> tuple[Tensor, Tensor]:
        raw = flat(self.levels(image * 4))[0]
        middle = self.middle + raw[:, :2].tanh() * self.stride
        half = (raw[:, 2:4].tanh() + 2) * self.stride / 2
        return torch.cat([middle - half, middle + half], dim=1), raw[:, 4:] * 30

    def suppressed(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        from torchvision.ops import batched_nms

        keep = batched_nms(boxes, scores, labels, 0.45)[:MOST]
        return boxes[keep], scores[keep], labels[keep]


class SsdWithNms(WithNms):
    """Torchvision's SSD: class by class a threshold and the best, then NMS over all."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, logits = self.rows(image)
        probabilities = logits.softmax(dim=-1)
        found: list[list[Tensor]] = [[], [], []]
        for label in range(1, probabilities.shape[1]):
            score = probabilities[:, label]
            keep = score > THRESHOLD
            score, box = score[keep], boxes[keep]
            score, best = score.topk(min_count(score, 50))
            labels = torch.full_like(score, label, dtype=torch.int64)
            for part, values in zip(found, (box[best], score, labels), strict=True):
                part.append(values)
        return self.suppressed(*(torch.cat(part) for part in found))


class RetinaWithNms(WithNms):
    """Torchvision's RetinaNet: cells and classes together a threshold and the best, decoded, then NMS."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, logits = self.rows(image)
        classes = logits.shape[1]
        scores = (logits.flip(1) * 20 - 3).sigmoid().flatten()
        keep = scores > THRESHOLD
        rows = torch.where(keep)[0]
        scores, best = scores[keep].topk(min_count(scores[keep], 50 * classes))
        rows = rows[best]
        cells = torch.div(rows, classes, rounding_mode="floor")
        return self.suppressed(boxes[cells].clamp(min=0), scores, rows % classes)


def min_count(values: Tensor, most: int) -> Tensor | int:
    """How many TopK may take, as torchvision's exporter counts them."""
    from torchvision.models.detection._utils import _topk_min

    return _topk_min(values, most, 0)
