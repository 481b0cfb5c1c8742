"""The operators of the domain `mgts` (`engines/operators/README.md`) in the graph forms.

An exported graph calls them by name, and `add_functions` gives the file their bodies; in PyTorch they are what the
networks of `training.models` use. B is the number of pictures; none is read for another's sake.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import ops

from mgts_trt.bundle.operators import DOMAIN, VERSION
from training.models import detector, masknet

FLOAT = 1
"""ONNX's number of float32."""

ROUNDS = 32
"""Suppressions of the longest chain for which the function of `Nms` is greedy NMS; for longer ones it keeps a box too
many. Chains of up to 30 were seen at the RPN, of 5 to 18 at the end, the longest with untrained weights on a picture
without edges."""


def nms(boxes: Tensor, threshold: float) -> Tensor:
    """`Nms`: boxes xyxy [B, N, 4], best first → float32 [B, N], 1 for what greedy NMS keeps."""
    if exporting():
        attributes = {"threshold": float_below(threshold)}
        return _call("Nms", [boxes], attributes, boxes.shape[:2])
    ranking = torch.arange(boxes.shape[1], 0, -1, dtype=torch.float32)
    nothing = torch.zeros(boxes.shape[1])
    return torch.stack([nothing.index_fill(0, ops.nms(each, ranking, threshold), 1.0) for each in boxes])


def align_rois(features: Tensor, boxes: Tensor, size: int, samples: int, stride: int) -> Tensor:
    """`AlignRois`: features [B, C, h, w], boxes xyxy [B, R, 4], pixels within the image → [B · R, C, size, size]."""
    if exporting():
        attributes = {"size": size, "samples": [samples, samples], "stride": float(stride), "dtype": FLOAT}
        shape = (boxes.shape[0] * boxes.shape[1], features.shape[1], size, size)
        return _call("AlignRois", [features, boxes], attributes, shape)
    return detector.roi_align(features, list(boxes), size, samples, stride)


def ps_assemble(maps: Tensor, boxes: Tensor, bins: int, size: int, stride: int) -> Tensor:
    """`PsAssemble`: maps [B, C · bins · bins, h, w], boxes xyxy [B, R, 4] in pixels → [B · R, C, size, size]."""
    if exporting():
        attributes = {"bins": bins, "size": size, "stride": float(stride)}
        shape = (boxes.shape[0] * boxes.shape[1], maps.shape[1] // bins**2, size, size)
        return _call("PsAssemble", [maps, boxes], attributes, shape)
    return masknet.ps_assemble(maps, list(boxes), bins, size, stride)


def se_head(foreground: Tensor, original: Tensor, squeeze: Tensor, excite: Tensor, fc: Tensor) -> Tensor:
    """`SeHead`: two streams' maps [N, C, h, w], weights [r, 2C], [2C, r], [d, 2C] → embeddings [N, d] of length 1."""
    if exporting():
        shape = (foreground.shape[0], fc.shape[0])
        return _call("SeHead", [foreground, original, squeeze, excite, fc], {}, shape)
    pooled = torch.cat([foreground.mean(dim=(2, 3)), original.mean(dim=(2, 3))], dim=1)
    weights = torch.sigmoid(functional.linear(torch.relu(functional.linear(pooled, squeeze)), excite))
    return functional.normalize(functional.linear(pooled * weights, fc), dim=1)


def rows_of(table: Tensor, index: Tensor) -> Tensor:
    """Each picture's own rows: table [B, N, …], int64 [B, k] → [B, k, …].

    ONNX's GatherND with one batch dimension. `torch.gather` would take the index expanded to the rows' width, which
    becomes Shape and Expand nodes where B is not known.
    """
    if exporting():
        shape = (*index.shape, *table.shape[2:])
        return torch.onnx.ops.symbolic(
            "GatherND", [table, index.unsqueeze(2)], {"batch_dims": 1}, dtype=table.dtype, shape=shape
        )
    return torch.stack([of_one[rows] for of_one, rows in zip(table, index, strict=True)])


def exporting() -> bool:
    """Whether a graph is being traced into an ONNX file."""
    return torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()


def float_below(threshold: float) -> float:
    """The greatest float32 ≤ `threshold`.

    `iou > threshold` then has one answer whether it is computed in float32 (the operator) or in float64 (torchvision,
    which compares a float32 IoU with a double: for 0.3, whose nearest float32 lies above it, the two differ).
    """
    nearest = torch.tensor(threshold, dtype=torch.float32)
    if nearest.double().item() > threshold:
        nearest = torch.nextafter(nearest, torch.tensor(-math.inf))
    return nearest.item()


def rounds_needed(boxes: Tensor, threshold: float) -> int:
    """After how many rounds the function of `Nms` has reached greedy NMS on boxes xyxy [N, 4], best first."""
    overlaps = torch.triu((ops.box_iou(boxes, boxes) > threshold).float(), diagonal=1)
    keep = torch.ones(1, len(boxes))
    for done in range(len(boxes) + 1):
        following = (keep @ overlaps < 0.5).float()
        if torch.equal(following, keep):
            return done
        keep = following
    raise AssertionError("a chain of suppressions is never longer than there are boxes")


def _call(name: str, inputs: list[Tensor], attributes: dict[str, object], shape: Sequence[int]) -> Tensor:
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{name}", inputs, attributes, dtype=torch.float32, shape=shape, version=VERSION
    )
