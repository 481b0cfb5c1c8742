"""Detection and re-ID in one network: OIM (Xiao et al., CVPR 2017), the joint model of the paper's Table 3."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import ops

from mgts_trt.errors import MgtsError
from training.models.backbone import create_backbone
from training.models.detector import BOX_WEIGHTS, SAMPLES, roi_align
from training.models.efficientnet import InvertedResidual
from training.models.normalise import Normalise
from training.models.resnet import ResNet
from training.models.rpn import RPN, STRIDE, clip_boxes, decode_boxes
from training.preset import Preset

_EXPANSION = 4
"""Of the blocks behind an EfficientNet-Lite's map: less than its 6, for size."""


class Found(NamedTuple):
    """Whom the network found, best first, and how they look."""

    boxes: Tensor
    """xyxy canvas pixels, [R, 4]."""
    scores: Tensor
    """Probability of a person, [R]."""
    embeddings: Tensor
    """[R, d], of length 1."""
    roi_embeddings: Tensor
    """Those of the boxes that were given, [P, d]."""


class Regions(NamedTuple):
    """What the heads say of R regions."""

    logits: Tensor
    """Background, person: [..., 2]."""
    deltas: Tensor
    """[..., 4], the same for every class."""


class OIMNet(nn.Module):
    """Backbone up to conv4_3 → RPN → RoIAlign → conv4_4 … conv5_3 → GAP → class, box, and identity of length 1.

    A box that somebody drew is described like a proposal. The methods are the steps, on batches where training needs
    batches; `forward` is inference on one canvas.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        config = preset.joint
        if config is None:
            raise MgtsError(
                f"The preset {preset.name} has no table [joint], so it has no joint network. Add one, as "
                "training/presets/edge.toml has."
            )
        self.canvas_hw = preset.canvas
        self.roi_size = config.roi_size
        self.final_nms = config.final_nms
        self.probes = config.probes
        self.normalise = Normalise(preset.normalisation)
        self.features = create_backbone(config.backbone)
        channels = self.features.conv4_channels if isinstance(self.features, ResNet) else self.features.conv5_channels
        self.rpn = RPN(channels, config.rpn)
        self.fc6 = self.fc7 = None
        read = self.features.conv5_channels
        if config.tail:
            widths = (channels, *config.tail)
            # The first block halves the map, as conv5 does.
            self.tail = nn.Sequential(
                *(
                    InvertedResidual(inputs, outputs, 5, 2 if number == 0 else 1, _EXPANSION)
                    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths))
                )
            )
            read = config.tail[-1]
        self.fc = nn.Linear(read, config.embedding, bias=False)
        if config.hidden is not None:
            self.fc6 = nn.Linear(channels * config.roi_size**2, config.hidden)
            self.fc7 = nn.Linear(config.hidden, config.hidden)
            read = config.hidden
        self.classes = nn.Linear(read, 2)
        self.deltas = nn.Linear(read, 4)

    @property
    def apart(self) -> bool:
        """Whether class and box are read from layers of their own, not from what identity is read from."""
        return self.fc6 is not None

    def maps(self, images: Tensor) -> Tensor:
        """Normalised canvases [B, 3, Hc, Wc] → what RPN and regions read, [B, C, h, w] at stride 16."""
        y: Tensor = self.features.conv4_3(images) if isinstance(self.features, ResNet) else self.features(images)
        return y

    def roi_features(self, maps: Tensor, rois: list[Tensor]) -> Tensor:
        """[B, C, h, w] and B tensors of boxes [R_b, 4] → [ΣR, C, bins, bins]; see `roi_align`."""
        return roi_align(maps, rois, self.roi_size, SAMPLES, STRIDE)

    def pool(self, roi_features: Tensor) -> Tensor:
        """conv4_4 … conv5_3 and GAP: [R, C, bins, bins] → [R, c]."""
        tail = self.features.conv5_from if isinstance(self.features, ResNet) else self.tail
        y: Tensor = tail(roi_features).mean(dim=(2, 3))
        return y

    def box_head(self, roi_features: Tensor, pooled: Tensor | None) -> Regions:
        """Class and box of R regions: from their features where read `apart`, else from what `pool` gave."""
        if self.fc6 is None or self.fc7 is None:
            if pooled is None:
                raise ValueError("class and box are read from the pooled features, which were not given")
            return Regions(self.classes(pooled), self.deltas(pooled))
        hidden = functional.relu(self.fc7(functional.relu(self.fc6(roi_features.flatten(1)))))
        return Regions(self.classes(hidden), self.deltas(hidden))

    def identify(self, pooled: Tensor) -> Tensor:
        """What `pool` gave → embeddings [R, d] of length 1."""
        return functional.normalize(self.fc(pooled), dim=1)

    def refine(self, regions: Regions, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """What the heads say of proposals [..., 4] → boxes [..., 4] on the canvas and margins [...]."""
        boxes = clip_boxes(decode_boxes(regions.deltas, proposals, BOX_WEIGHTS), self.canvas_hw)
        return boxes, regions.logits[..., 1] - regions.logits[..., 0]

    def suppress(self, boxes: Tensor, margins: Tensor) -> Tensor:
        """Final NMS of boxes [R, 4] with margins [R] → rows that are left, best first."""
        keep: Tensor = ops.nms(boxes, margins, self.final_nms)
        return keep

    @torch.no_grad()
    def forward(self, image: Tensor, rois: Tensor) -> Found:
        """People on one canvas, uint8 [Hc, Wc, 3], and how boxes [P, 4] look, xyxy canvas pixels."""
        maps = self.maps(self.normalise(image))
        logits, deltas = self.rpn(maps)
        proposals = self.rpn.propose(logits[0], deltas[0], self.rpn.anchors(maps), self.canvas_hw)
        aligned = self.roi_features(maps, [torch.cat([proposals, clip_boxes(rois, self.canvas_hw)])])
        pooled = self.pool(aligned)
        count = len(proposals)
        boxes, margins = self.refine(self.box_head(aligned[:count], pooled[:count]), proposals)
        embeddings = self.identify(pooled)
        keep = self.suppress(boxes, margins)
        return Found(boxes[keep], torch.sigmoid(margins[keep]), embeddings[:count][keep], embeddings[count:])
