"""The pedestrian detector: Faster R-CNN on VGG (Sec. 3.2)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import ops

from training.models.backbone import create_backbone
from training.models.normalise import Normalise
from training.models.rpn import RPN, STRIDE, clip_boxes, decode_boxes
from training.preset import Preset

BOX_WEIGHTS = (10.0, 5.0)
"""Of the second stage's regression targets: centre, size (Faster R-CNN's published code divides them by 0.1 and 0.2;
torchvision has the same weights)."""

SAMPLES = 2
"""RoIAlign's samples a bin and axis: the 2 × 2 of Mask R-CNN (He et al., ICCV 2017, Sec. 3) and of torchvision."""


class Detections(NamedTuple):
    """What a detector found, best first."""

    boxes: Tensor
    """xyxy canvas pixels, [R, 4]."""
    scores: Tensor
    """Probability of a person, [R]."""


class FasterRCNN(nn.Module):
    """VGG16 → RPN → RoIAlign 7×7 → fc6, fc7 → class and box.

    The methods are the steps, on batches where training needs batches; `forward` is inference on one canvas.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        config = preset.detector
        self.canvas_hw = preset.canvas
        self.roi_size = config.roi_size
        self.final_nms = config.final_nms
        self.dropout = config.dropout
        self.normalise = Normalise(preset.normalisation)
        self.features = create_backbone(config.backbone, dilate_last=True)
        channels = self.features.conv5_channels
        self.rpn = RPN(channels, config.rpn)
        self.fc6 = nn.Linear(channels * config.roi_size**2, config.hidden)
        self.fc7 = nn.Linear(config.hidden, config.hidden)
        self.classes = nn.Linear(config.hidden, 2)
        self.deltas = nn.Linear(config.hidden, 4)

    def roi_features(self, features: Tensor, rois: list[Tensor]) -> Tensor:
        """[B, C, h, w] and B tensors of boxes [R_b, 4] → [ΣR, C, 7, 7]; see `roi_align`."""
        return roi_align(features, rois, self.roi_size, SAMPLES, STRIDE)

    def box_head(self, roi_features: Tensor) -> tuple[Tensor, Tensor]:
        """[R, C, 7, 7] → class logits [R, 2] (background, person) and deltas [R, 4], the same for every class."""
        hidden = roi_features.flatten(1)
        for layer in (self.fc6, self.fc7):
            hidden = functional.dropout(functional.relu(layer(hidden)), self.dropout, self.training)
        return self.classes(hidden), self.deltas(hidden)

    def refine(self, logits: Tensor, deltas: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [..., 2], deltas [..., 4] and proposals [..., 4] → second-stage boxes [..., 4] and margins [...].

        A margin is the person's logit minus the background's; boxes are xyxy in canvas pixels, cut to the canvas.
        Boxes are ranked by margin, not probability: far from the decision the softmax saturates and would tie.
        """
        boxes = clip_boxes(decode_boxes(deltas, proposals, BOX_WEIGHTS), self.canvas_hw)
        return boxes, logits[..., 1] - logits[..., 0]

    def suppress(self, boxes: Tensor, margins: Tensor) -> Detections:
        """Final NMS: boxes [R, 4], margins [R] → what is left, best first."""
        keep = ops.nms(boxes, margins, self.final_nms)
        return Detections(boxes[keep], torch.sigmoid(margins[keep]))

    @torch.no_grad()
    def forward(self, image: Tensor) -> Detections:
        """People on one canvas, uint8 [Hc, Wc, 3]. All survivors of the NMS are returned, whatever their score."""
        features = self.features(self.normalise(image))
        logits, deltas = self.rpn(features)
        proposals = self.rpn.propose(logits[0], deltas[0], self.rpn.anchors(features), self.canvas_hw)
        boxes, margins = self.refine(*self.box_head(self.roi_features(features, [proposals])), proposals)
        return self.suppress(boxes, margins)


def roi_align(features: Tensor, rois: list[Tensor], size: int, samples: int, stride: int) -> Tensor:
    """RoIAlign (He et al., ICCV 2017), aligned, of maps that may end before the picture does.

    RoIAlign reads nothing more than one cell beyond the last cell's centre. Where the canvas is no multiple of the
    stride (VGG drops the remainder: 1500 pixels, 93 cells), boxes at its lower and right border reach farther; one
    more cell of the border's value gives them features there instead of zeros.

    Args:
        features: [B, C, h, w].
        rois: B tensors of boxes xyxy [R_b, 4], pixels, within the picture.
        size: Bins a side.
        samples: Points a bin and axis.
        stride: Pixels a cell.

    Returns:
        [ΣR, C, size, size].
    """
    features = functional.pad(features, (0, 1, 0, 1), mode="replicate")
    return ops.roi_align(features, rois, size, spatial_scale=1 / stride, sampling_ratio=samples, aligned=True)
