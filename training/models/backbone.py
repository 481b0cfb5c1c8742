"""What detector, mask net and re-ID streams are built on."""

from collections.abc import Sequence
from typing import Protocol, cast

from torch import Tensor, nn

from training.models.efficientnet import EfficientNetLite, JoinedEfficientNetLite
from training.models.resnet import ResNet
from training.models.vgg import VGG
from training.preset import BackbonePreset, EfficientNetLitePreset, VGGPreset


class Backbone(Protocol):
    """Convolutions with maps at strides 8 and 16, and what may follow them. A `torch.nn.Module` besides."""

    conv3_channels: int
    conv4_channels: int
    conv5_channels: int

    def conv3(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → the last map at stride 8, [B, conv3_channels, H/8, W/8]; VGG's is its conv4."""

    def conv4_from(self, conv3: Tensor) -> Tensor:
        """What `conv3` gave → the same as `conv4`."""

    def conv4(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, conv4_channels, H/16, W/16]; VGG, whose conv5 has stride 16 too, gives that."""

    def conv5(self, conv4: Tensor) -> Tensor:
        """What `conv4` gave → [B, conv5_channels, …], at stride 32, or at 16 where dilated or where nothing follows.

        The size is [⌈H/32⌉, ⌈W/32⌉] or that of `conv4`.
        """

    def first_layers(self) -> Sequence[nn.Module]:
        """conv1 and conv2: what has a stride below or at 4 (Sec. 4.3 freezes it)."""

    def __call__(self, x: Tensor) -> Tensor:
        """conv5 of conv4: [B, 3, H, W] → [B, conv5_channels, …]."""


def create_backbone(preset: BackbonePreset, *, dilate_last: bool = False) -> Backbone:
    """The backbone of a preset, with initial weights.

    Args:
        preset: Kind and size.
        dilate_last: Keep conv5 at stride 16 (FCIS, Sec. 4.1); what is joined is at stride 16 anyway.
    """
    if isinstance(preset, VGGPreset):
        return cast(Backbone, VGG(preset.depths, preset.widths, batch_norm=preset.batch_norm))
    if isinstance(preset, EfficientNetLitePreset):
        if preset.joined and preset.head is not None:
            return cast(Backbone, JoinedEfficientNetLite(preset.blocks, preset.head))
        return cast(Backbone, EfficientNetLite(preset.blocks, preset.head, dilate_last=dilate_last))
    return cast(Backbone, ResNet(preset.stem, preset.planes, preset.depths, dilate_last=dilate_last))
