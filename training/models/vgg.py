"""VGG's convolutional part (Simonyan & Zisserman, ICLR 2015), up to conv5_3: stride 16, no fifth pooling."""

from collections.abc import Sequence

from torch import Tensor, nn


class VGG(nn.Sequential):
    """Five blocks of 3×3 convolutions with 2×2 max-pooling between them.

    With VGG16's depths and widths its layers bear torchvision's numbers, so that `vgg16().features` loads into it.
    [B, 3, H, W] → [B, widths[-1], H // 16, W // 16].

    Args:
        depths: Convolutions in each block.
        widths: Channels of each block.
        batch_norm: Put a batch normalisation after each convolution.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int], *, batch_norm: bool) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for block, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if block:
                layers.append(nn.MaxPool2d(2))
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                channels = width
        super().__init__(*layers)
        self._pools = [index for index, layer in enumerate(self) if isinstance(layer, nn.MaxPool2d)]
        self.conv3_channels = widths[3]
        self.conv4_channels = self.conv5_channels = channels

    def conv3(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → conv4_3 before its pooling, [B, widths[3], H // 8, W // 8]."""
        for layer in list(self)[: self._pools[3]]:
            x = layer(x)
        return x

    def conv4_from(self, conv3: Tensor) -> Tensor:
        """What `conv3` gave → conv5_3, [B, widths[-1], H // 16, W // 16]."""
        for layer in list(self)[self._pools[3] :]:
            conv3 = layer(conv3)
        return conv3

    def conv4(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → conv5_3, [B, widths[-1], H // 16, W // 16]: VGG has no other map at stride 16."""
        y: Tensor = self(x)
        return y

    def conv5(self, conv4: Tensor) -> Tensor:
        """What `conv4` gave is conv5_3 already: [B, widths[-1], H // 16, W // 16] → the same."""
        return conv4

    def first_layers(self) -> list[nn.Module]:
        """All layers before the second pooling."""
        return list(self)[: self._pools[1]]
