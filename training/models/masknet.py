"""The mask net: FCIS, fully convolutional instance segmentation (Li et al., CVPR 2017), for the class person."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import ops

from training.models.backbone import create_backbone
from training.models.normalise import Normalise
from training.models.rpn import RPN, STRIDE, clip_boxes, decode_boxes
from training.preset import Preset

CLASSES = 2
"""Background and person."""

BOX_WEIGHTS = (10.0, 5.0)
"""Of the box maps' regression targets: centre, size. The detector's; FCIS's published configuration divides by 0.2 and
0.5, which would be weights of 5 and 2."""


class Instances(NamedTuple):
    """What the mask net found, best first."""

    boxes: Tensor
    """xyxy canvas pixels, [R, 4]."""
    scores: Tensor
    """Probability of a person, [R]."""
    masks: Tensor
    """Probability of foreground, [R, m, m], m × m cells over the box."""


class Features(NamedTuple):
    """The maps that everything is read from."""

    conv4: Tensor
    """For the RPN, [B, conv4_channels, ⌈h/16⌉, ⌈w/16⌉]."""
    conv5: Tensor
    """Reduced, for the box maps, [B, reduced, ⌈h/16⌉, ⌈w/16⌉]."""
    fine: Tensor
    """For the score maps, [B, reduced, …]: at stride 8 with the preset's `fine`, otherwise `conv5` itself."""


class FCIS(nn.Module):
    """ResNet with dilated conv5 → 1×1 → position-sensitive inside/outside score maps and box maps.

    With the preset's `fine` the score maps have stride 8: a 1×1 convolution of conv3 is added to the enlarged conv5, as
    in a feature pyramid (Lin et al., CVPR 2017). FCIS has no such thing.

    Inference goes over the regions twice, as FCIS does: the box maps move the proposals first, then score and mask are
    read off at the moved boxes.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        config = preset.masknet
        self.canvas_hw = preset.canvas
        self.input_hw = config.input
        self.bins = config.bins
        self.mask_size = config.mask_size
        self.final_nms = config.final_nms
        self.normalise = Normalise(preset.normalisation)
        self.backbone = create_backbone(config.backbone, dilate_last=True)
        self.rpn = RPN(self.backbone.conv4_channels, config.rpn)
        self.reduce = nn.Conv2d(self.backbone.conv5_channels, config.reduced, 1)
        # Channels: [class, side (inside, outside), bin row, bin column] and [coordinate, bin row, bin column].
        self.lateral = nn.Conv2d(self.backbone.conv3_channels, config.reduced, 1) if config.fine else None
        self.fine_stride = STRIDE // 2 if config.fine else STRIDE
        self.score_maps = nn.Conv2d(config.reduced, CLASSES * 2 * config.bins**2, 1)
        self.box_maps = nn.Conv2d(config.reduced, 4 * config.bins**2, 1)

    @property
    def to_canvas(self) -> Tensor:
        """What a box on the network's input is multiplied by to lie on the canvas, [4]."""
        (h, w), (canvas_h, canvas_w) = self.input_hw, self.canvas_hw
        return torch.tensor([canvas_w / w, canvas_h / h] * 2, device=self.reduce.weight.device)

    def resize(self, image: Tensor) -> Tensor:
        """Canvases uint8 [B, Hc, Wc, 3], or one [Hc, Wc, 3] → normalised float32 [B, 3, h, w] at the network's size."""
        return functional.interpolate(self.normalise(image), self.input_hw, mode="bilinear", align_corners=False)

    def features(self, x: Tensor) -> Features:
        """What everything is read from, of [B, 3, h, w]."""
        conv3 = self.backbone.conv3(x)
        conv4 = self.backbone.conv4_from(conv3)
        conv5 = functional.relu(self.reduce(self.backbone.conv5(conv4)))
        return Features(conv4, conv5, self._refine(conv5, conv3))

    def _refine(self, conv5: Tensor, conv3: Tensor) -> Tensor:
        if self.lateral is None:
            return conv5
        enlarged = functional.interpolate(conv5, conv3.shape[-2:], mode="bilinear", align_corners=False)
        return functional.relu(enlarged + self.lateral(conv3))

    def read_boxes(self, conv5: Tensor, rois: list[Tensor]) -> Tensor:
        """The box maps of conv5, assembled for boxes: deltas [ΣR, 4]."""
        return self.box_deltas(self.assemble(self.box_maps(conv5).float(), rois))

    def read_scores(self, fine: Tensor, rois: list[Tensor]) -> Tensor:
        """The score maps of `Features.fine`, assembled for boxes: [ΣR, 4, m, m], for `score_and_mask`."""
        return self.assemble(self.score_maps(fine).float(), rois, self.fine_stride)

    def assemble(self, maps: Tensor, rois: list[Tensor], stride: int = STRIDE) -> Tensor:
        """`ps_assemble` with the network's bins and masks: [B, C · k · k, h, w], B tensors [R_b, 4] → [ΣR, C, m, m]."""
        return ps_assemble(maps, rois, self.bins, self.mask_size, stride)

    def box_deltas(self, assembled: Tensor) -> Tensor:
        """Assembled box maps [R, 4, m, m] → deltas [R, 4]: the average vote of all cells."""
        return assembled.mean(dim=(2, 3))

    def score_and_mask(self, assembled: Tensor) -> tuple[Tensor, Tensor]:
        """Assembled score maps [R, 4, m, m] → margins [R] and mask probabilities [R, m, m] (FCIS, Sec. 3.2).

        Detection takes the greater of inside and outside, and averages over the region; segmentation is a softmax
        between the two.
        """
        background, person = assembled.unflatten(1, (CLASSES, 2)).unbind(dim=1)
        margins = (person.amax(dim=1) - background.amax(dim=1)).mean(dim=(1, 2))
        return margins, torch.sigmoid(person[:, 0] - person[:, 1])

    def move(self, deltas: Tensor, proposals: Tensor) -> Tensor:
        """Proposals [..., 4] moved by deltas [..., 4] and cut to the network's input: xyxy [..., 4], its pixels."""
        return clip_boxes(decode_boxes(deltas, proposals, BOX_WEIGHTS), self.input_hw)

    def suppress(self, boxes: Tensor, margins: Tensor, masks: Tensor) -> Instances:
        """Final NMS: boxes [R, 4] in pixels of the network's input, margins [R], masks [R, m, m] → what is left.

        Boxes come back in canvas pixels, best first.
        """
        keep = ops.nms(boxes, margins, self.final_nms)
        return Instances(boxes[keep] * self.to_canvas, torch.sigmoid(margins[keep]), masks[keep])

    @torch.no_grad()
    def forward(self, image: Tensor) -> Instances:
        """Segment people on one canvas, uint8 [Hc, Wc, 3]. All survivors of the NMS are returned, however faint."""
        conv4, conv5, fine = self.features(self.resize(image))
        logits, deltas = self.rpn(conv4)
        proposals = self.rpn.propose(logits[0], deltas[0], self.rpn.anchors(conv4), self.input_hw)
        boxes = self.move(self.read_boxes(conv5, [proposals]), proposals)
        margins, masks = self.score_and_mask(self.read_scores(fine, [boxes]))
        return self.suppress(boxes, margins, masks)


def ps_assemble(maps: Tensor, rois: list[Tensor], bins: int, size: int, stride: int) -> Tensor:
    """Position-sensitive assembling (FCIS, Sec. 3.1): cell (i, j) of a region is read from the maps of its bin.

    Args:
        maps: [B, C · bins · bins, h, w].
        rois: B tensors of boxes xyxy [R_b, 4], pixels of the network's input.
        bins: k.
        size: m, a multiple of k.
        stride: Of the maps, pixels a cell.

    Returns:
        [ΣR, C, size, size].
    """
    cells = size // bins
    maps = maps.unflatten(1, (-1, bins, bins)).repeat_interleave(cells, dim=2).repeat_interleave(cells, dim=3)
    # One sample a cell, which is about as large as a cell of the map.
    return ops.ps_roi_align(maps.flatten(1, 3), rois, size, spatial_scale=1 / stride, sampling_ratio=1)
