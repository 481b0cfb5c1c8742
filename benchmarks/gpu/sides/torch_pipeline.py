"""The whole pipeline in PyTorch: `mgts_trt.runtime.pipeline` with `training/`'s networks and tensor operators."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu.sides.torch_networks import TorchNetworks
from mgts_trt._typing import Array, Image
from mgts_trt.bundle.manifest import Manifest
from mgts_trt.choices import Mode
from mgts_trt.runtime.modes import MODELS_OF_MODE, mode_gamma
from mgts_trt.stages import Letterbox, expand_boxes


@dataclass(frozen=True)
class Found:
    """People on the host, as `mgts_trt.People` has them: canvas boxes [N, 4], scores, instances [N], embeddings."""

    boxes: Array
    scores: Array
    instances: Array
    embeddings: Array


class TorchPipeline:
    """Upload, letterbox, detect, segment, separate, describe; returns when everything is on the host.

    Args:
        networks: Those of the mode.
        manifest: Canvas, thresholds, normalisation, patches.
        mode: One of `Mode`.
        people: How many of the best detections to describe.
        instances: How many of the best instances to paint at most; None means as many as people, which favours
            PyTorch: seeded weights score hundreds alike.
    """

    def __init__(
        self, networks: TorchNetworks, manifest: Manifest, mode: Mode, people: int, instances: int | None = None
    ) -> None:
        self._networks, self._manifest, self._mode, self._people = networks, manifest, mode, people
        self._painted = people if instances is None else instances
        self._device = networks.device
        self._pad = torch.tensor(manifest.pad, dtype=torch.uint8, device=self._device)
        self._mean, self._std = (
            torch.tensor(values, device=self._device)
            for values in (manifest.normalisation.mean, manifest.normalisation.std)
        )
        self._staging: Tensor | None = None

    @torch.inference_mode()
    def __call__(self, image: Image) -> Found:
        """Search one picture, uint8 [H, W, 3]."""
        letterbox = Letterbox((image.shape[0], image.shape[1]), self._manifest.canvas)
        canvas = self._letterbox(self._upload(image), letterbox)
        found, scores, *described = self._detect(canvas)
        height, width = letterbox.content_hw
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        # The host needs whole-pixel crops, and waits here; the NMS made it wait before.
        clipped = torch.minimum(found.clamp(min=0).cpu(), limit)
        scored = scores.cpu()
        on_picture = (clipped[:, 2:] - clipped[:, :2] >= 1).all(dim=1) & (scored > 0)
        rows = on_picture.nonzero()[: self._people, 0]
        boxes = clipped[rows].numpy()
        if described:
            embeddings = described[0][rows.to(self._device)]
            return Found(boxes, scored[rows].numpy(), np.zeros(len(rows), np.int64), embeddings.cpu().numpy())
        instance_map = self._paint(canvas) if self._mode == "net" else None
        ids, embeddings = self._describe(canvas, boxes, instance_map, letterbox)
        return Found(boxes, scored[rows].numpy(), ids.cpu().numpy(), embeddings.cpu().numpy())

    def _detect(self, canvas: Tensor) -> tuple[Tensor, ...]:
        """Boxes [N, 4] and scores [N]; of mode `joint` their embeddings [N, d] besides."""
        if self._mode != "joint":
            return self._networks.run("detector", canvas)
        probes = self._manifest.models["joint"].inputs["rois"].shape[1]
        return self._networks.run("joint", canvas, torch.zeros(1, int(probes), 4, device=self._device))[:3]

    def _upload(self, image: Image) -> Tensor:
        if self._device.type == "cpu":
            return torch.from_numpy(image)
        if self._staging is None or self._staging.shape != image.shape:
            self._staging = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
        np.copyto(self._staging.numpy(), image)
        return self._staging.to(self._device, non_blocking=True)

    def _letterbox(self, image: Tensor, letterbox: Letterbox) -> Tensor:
        canvas = self._pad.expand(*self._manifest.canvas, 3).clone()
        height, width = letterbox.content_hw
        if letterbox.content_hw != letterbox.image_hw:
            planes = image.permute(2, 0, 1).unsqueeze(0).float()
            if height < letterbox.image_hw[0] or width < letterbox.image_hw[1]:
                planes = functional.interpolate(planes, (height, width), mode="area")
            else:
                planes = functional.interpolate(planes, (height, width), mode="bilinear")
            image = planes[0].permute(1, 2, 0).round_().clamp_(0, 255).to(torch.uint8)
        canvas[:height, :width] = image
        return canvas

    def _paint(self, canvas: Tensor) -> Tensor:
        """The instance map, int64 [Hc, Wc]: `stages.paint_instances`, all instances at once."""
        boxes, scores, masks = (part[: self._painted] for part in self._networks.run("masknet", canvas))
        (height, width), size = canvas.shape[:2], masks.shape[-1]
        rows, rows_in = _mask_weights(height, boxes[:, 1], boxes[:, 3], size)
        columns, columns_in = _mask_weights(width, boxes[:, 0], boxes[:, 2], size)
        values = rows @ masks @ columns.transpose(1, 2)
        thresholds = self._manifest.thresholds
        shown = (values >= thresholds.mask) & rows_in[:, :, None] & columns_in[:, None, :]
        shown &= (scores >= thresholds.instance)[:, None, None]
        # The better-scored one, which comes first, keeps the pixel.
        order = torch.arange(len(boxes), 0, -1, device=canvas.device)[:, None, None]
        best = (shown * order).amax(dim=0) if len(boxes) else torch.zeros_like(canvas[..., 0], dtype=torch.int64)
        return torch.where(best > 0, len(boxes) - best + 1, 0)

    def _describe(
        self, canvas: Tensor, boxes: Array, instance_map: Tensor | None, letterbox: Letterbox
    ) -> tuple[Tensor, Tensor]:
        """Instances [N] and embeddings [N, d] of canvas boxes [N, 4]."""
        gamma = mode_gamma(self._manifest, self._mode)
        crops = expand_boxes(boxes, gamma, letterbox.content_hw)
        tights = expand_boxes(boxes, 1.0, letterbox.content_hw)
        ids = torch.zeros(len(boxes), dtype=torch.int64, device=self._device)
        if len(boxes) == 0:
            return ids, torch.empty(0, self._manifest.embedding)
        if instance_map is not None:
            ids = self._vote(instance_map, crops)
        corners = torch.from_numpy(np.stack([crops, tights])).to(self._device, torch.int64)
        foreground, original = self._patches(canvas, corners[0], corners[1], ids, instance_map)
        model = MODELS_OF_MODE[self._mode][-1]
        inputs = (original,) if model == "idnet" else (foreground, original)
        return ids, self._networks.run(model, *inputs)[0]

    def _vote(self, instance_map: Tensor, crops: Array) -> Tensor:
        """The dominant instance of each crop; like `torch.bincount`, which would wait for the device."""
        votes = torch.zeros(len(crops), self._painted + 1, device=self._device)
        for i, (x1, y1, x2, y2) in enumerate(crops.tolist()):
            crop = instance_map[y1:y2, x1:x2].reshape(-1)
            votes[i].scatter_add_(0, crop, torch.ones_like(crop, dtype=votes.dtype))
        votes[:, 0] = 0
        return votes.argmax(dim=1)

    def _patches(
        self, canvas: Tensor, crops: Tensor, tights: Tensor, ids: Tensor, instance_map: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Foreground and original [N, 3, H, W] of all people at once, from four bilinear taps a pixel."""
        height, width = self._manifest.patch
        ys, wy = _taps(height, crops[:, 1], crops[:, 3])
        xs, wx = _taps(width, crops[:, 0], crops[:, 2])
        original = foreground = torch.zeros(len(crops), height, width, 3, device=self._device)
        for y, weight_y in zip(ys, wy, strict=True):
            for x, weight_x in zip(xs, wx, strict=True):
                rows, columns = y[:, :, None], x[:, None, :]
                weight = (weight_y[:, :, None] * weight_x[:, None, :])[..., None]
                tap = canvas[rows, columns] * weight
                original = original + tap
                if self._mode != "none":
                    foreground = foreground + tap * self._mask(rows, columns, tights, ids, instance_map)[..., None]
        return self._normalised(foreground), self._normalised(original)

    def _mask(self, rows: Tensor, columns: Tensor, tights: Tensor, ids: Tensor, instance_map: Tensor | None) -> Tensor:
        x1, y1, x2, y2 = (tights[:, i, None, None] for i in range(4))
        inside = (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
        if instance_map is None:
            return inside
        own = ids[:, None, None]
        return torch.where(own > 0, instance_map[rows, columns] == own, inside)

    def _normalised(self, patches: Tensor) -> Tensor:
        return ((patches - self._mean) / self._std).permute(0, 3, 1, 2)


def _mask_weights(pixels: int, low: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Bilinear weights [N, pixels, size] of a mask's cells along one axis, and which pixels lie in the box."""
    centres = torch.arange(pixels, device=low.device) + 0.5
    inside = (centres >= low[:, None]) & (centres < high[:, None])
    u = ((centres - low[:, None]) / (high - low).clamp(min=1e-6)[:, None] * size - 0.5).clamp(0, size - 1)
    cells = torch.arange(size, device=low.device)
    return (1 - (u[:, :, None] - cells).abs()).clamp(min=0), inside


def _taps(pixels: int, low: Tensor, high: Tensor) -> tuple[Any, Any]:
    """Where each pixel of a resized crop is read along one axis: two positions [N, pixels] and their weights."""
    length = (high - low)[:, None]
    at = (torch.arange(pixels, device=low.device) + 0.5) * (length / pixels) - 0.5
    first = at.floor()
    weight = at - first
    first = first.to(torch.int64)
    last = length - 1
    positions = [(first + step).clamp(min=0).minimum(last) + low[:, None] for step in (0, 1)]
    return positions, [1 - weight, weight]
