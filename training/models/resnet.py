"""ResNet (He et al., CVPR 2016) of any width and depth, from torchvision's bottleneck."""

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

_CUT = 3
"""Blocks of conv4 in front of OIM's cut (Xiao et al., CVPR 2017, Sec. 3.1)."""


class ResNet(nn.Module):
    """conv1 … conv5_3 of a bottleneck ResNet.

    Its layers bear torchvision's names, so that with ResNet's own widths torchvision's weights load into it.

    Args:
        stem: Channels of conv1.
        planes: Bottleneck widths of the four stages; a stage puts out four times as many channels.
        depths: Bottlenecks in each stage.
        dilate_last: Give conv5 stride 1 and dilation 2 (FCIS, Sec. 4.1), so that it keeps stride 16.
    """

    def __init__(
        self,
        stem: int,
        planes: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        *,
        dilate_last: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(stem, planes[0], depths[0], stride=1)
        self.layer2 = _stage(planes[0] * 4, planes[1], depths[1], stride=2)
        self.layer3 = _stage(planes[1] * 4, planes[2], depths[2], stride=2)
        self.layer4 = _stage(
            planes[2] * 4, planes[3], depths[3], stride=1 if dilate_last else 2, dilation=2 if dilate_last else 1
        )
        self.conv3_channels = planes[1] * 4
        self.conv4_channels = planes[2] * 4
        self.conv5_channels = planes[3] * 4

    def conv3(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, conv3_channels, ⌈H/8⌉, ⌈W/8⌉]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        y: Tensor = self.layer2(self.layer1(x))
        return y

    def conv4_from(self, conv3: Tensor) -> Tensor:
        """What `conv3` gave → [B, conv4_channels, ⌈H/16⌉, ⌈W/16⌉]."""
        y: Tensor = self.layer3(conv3)
        return y

    def conv4(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, conv4_channels, ⌈H/16⌉, ⌈W/16⌉]."""
        return self.conv4_from(self.conv3(x))

    def conv4_3(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → conv4_3, where OIM cuts: [B, conv4_channels, ⌈H/16⌉, ⌈W/16⌉]."""
        y: Tensor = self.layer3[:_CUT](self.conv3(x))
        return y

    def conv5_from(self, conv4_3: Tensor) -> Tensor:
        """What `conv4_3` gave, or regions of it → conv5_3 of them, half as high and wide."""
        y: Tensor = self.layer4(self.layer3[_CUT:](conv4_3))
        return y

    def conv5(self, conv4: Tensor) -> Tensor:
        """What `conv4` gave → conv5_3: [B, conv5_channels, ⌈H/32⌉, ⌈W/32⌉]; at stride 16 if dilated."""
        y: Tensor = self.layer4(conv4)
        return y

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → conv5_3, [B, conv5_channels, …], see `conv5`."""
        return self.conv5(self.conv4(x))

    def first_layers(self) -> list[nn.Module]:
        """conv1 and conv2."""
        return [self.conv1, self.bn1, self.layer1]


def _stage(channels: int, planes: int, depth: int, *, stride: int, dilation: int = 1) -> nn.Sequential:
    outputs = planes * Bottleneck.expansion
    shortcut = nn.Sequential(nn.Conv2d(channels, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    # torchvision's replace_stride_with_dilation leaves the first block of a dilated stage undilated; so do we.
    blocks = [Bottleneck(channels, planes, stride, shortcut)]
    blocks += [Bottleneck(outputs, planes, dilation=dilation) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)
