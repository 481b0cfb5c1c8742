"""VGG's convolutional part (Simonyan & Zisserman, ICLR 2015), up to conv5_3: stride 16, no fifth pooling."""

from torch import nn


def vgg_features(depths: tuple[int, ...], widths: tuple[int, ...], *, batch_norm: bool) -> nn.Sequential:
    """Five blocks of 3×3 convolutions with 2×2 max-pooling between them.

    With VGG16's depths and widths its layers bear torchvision's numbers, so that `vgg16().features` loads into it.

    Args:
        depths: Convolutions in each block.
        widths: Channels of each block.
        batch_norm: Put a batch normalisation after each convolution.

    Returns:
        [B, 3, H, W] → [B, widths[-1], H // 16, W // 16].
    """
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
    return nn.Sequential(*layers)
