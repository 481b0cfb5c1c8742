"""EfficientNet-Lite0 (Tan & Le, ICML 2019; the variant for edge devices): no squeeze-and-excitation inside, ReLU6."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation

from training.preset import EFFICIENTNET_LITE_BLOCKS

STAGES = (
    # channels, kernel, stride, expansion
    (16, 3, 1, 1),
    (24, 3, 2, 6),
    (40, 5, 2, 6),
    (80, 3, 2, 6),
    (112, 5, 1, 6),
    (192, 5, 2, 6),
    (320, 3, 1, 6),
)
"""Of the whole architecture (EfficientNet-B0; Tan & Le, Table 1)."""

STEM = 32
"""Channels of the first convolution (Tan & Le, Table 1)."""

_AT_STRIDE_8 = 3
"""Stages up to stride 8: conv1 … conv3."""

_AT_STRIDE_16 = 5
"""Stages up to stride 16, which are this network's conv1 … conv4; what follows is its conv5."""

# eps: that of the published network, whose weights belong to it.
_layer = partial(
    Conv2dNormActivation, norm_layer=partial(nn.BatchNorm2d, eps=1e-3), activation_layer=nn.ReLU6, inplace=True
)


class EfficientNetLite(nn.Module):
    """The convolutions of EfficientNet-Lite0, as many of them as asked for.

    Args:
        blocks: Of each stage, the first so many are kept; 5 to 7 stages.
        head: Channels of a 1×1 convolution after the last stage, as the whole network ends with one of 1280. Stages
            end linear, with values of any size; this one makes them fit for layers that are trained from scratch.
        dilate_last: Give the stages from the sixth on stride 1 and dilation 2 (FCIS, Sec. 4.1), so that they keep
            stride 16.
    """

    def __init__(self, blocks: Sequence[int], head: int | None = None, *, dilate_last: bool = False) -> None:
        super().__init__()
        self.stem = _layer(3, STEM, 3, stride=2)
        channels = STEM
        stages = []
        for number, (depth, (outputs, kernel, stride, expansion)) in enumerate(zip(blocks, STAGES, strict=False)):
            dilate = dilate_last and number >= _AT_STRIDE_16
            stage = nn.Sequential()
            for block in range(depth):
                stage.append(
                    InvertedResidual(
                        channels,
                        outputs,
                        kernel,
                        stride if block == 0 and not dilate else 1,
                        expansion,
                        # As in a dilated ResNet, the block that had the stride is not dilated itself.
                        dilation=2 if dilate and (block > 0 or stride == 1) else 1,
                    )
                )
                channels = outputs
            stages.append(stage)
        self.stages = nn.Sequential(*stages[:_AT_STRIDE_16])
        self.last = nn.Sequential(*stages[_AT_STRIDE_16:])
        self.conv3_channels = STAGES[_AT_STRIDE_8 - 1][0]
        self.conv4_channels = STAGES[_AT_STRIDE_16 - 1][0]
        if head is not None:
            self.last.append(_layer(channels, head, 1))
            channels = head
        self.conv5_channels = channels

    def conv3(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, 40, ⌈H/8⌉, ⌈W/8⌉]."""
        x = self.stem(x)
        for stage in self.stages[:_AT_STRIDE_8]:
            x = stage(x)
        return x

    def conv4_from(self, conv3: Tensor) -> Tensor:
        """What `conv3` gave → [B, 112, ⌈H/16⌉, ⌈W/16⌉]."""
        for stage in self.stages[_AT_STRIDE_8:]:
            conv3 = stage(conv3)
        return conv3

    def conv4(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, 112, ⌈H/16⌉, ⌈W/16⌉]."""
        return self.conv4_from(self.conv3(x))

    def conv5(self, conv4: Tensor) -> Tensor:
        """What `conv4` gave → [B, conv5_channels, ⌈H/32⌉, ⌈W/32⌉]; at stride 16 if dilated."""
        y: Tensor = self.last(conv4)
        return y

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → the last stage's, [B, conv5_channels, …], see `conv5`."""
        return self.conv5(self.conv4(x))

    def first_layers(self) -> list[nn.Module]:
        """The stem and the first two stages: all that has stride 4 or less."""
        return [self.stem, *self.stages[:2]]

    def from_published(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The published weights (efficientnet-pytorch's names) under this network's own names; `head` stays as it is.

        Shapes are not looked at: loading refuses those that do not fit.

        Raises:
            KeyError: `state` lacks one of the layers this network has.
        """
        layers = {"stem": ("_conv_stem", "_bn0")}
        stages = [stage for stage in [*self.stages, *self.last] if isinstance(stage[0], InvertedResidual)]
        for number, stage in enumerate(stages):
            prefix = f"stages.{number}" if number < _AT_STRIDE_16 else f"last.{number - _AT_STRIDE_16}"
            for block, module in enumerate(stage):
                published = f"_blocks.{sum(EFFICIENTNET_LITE_BLOCKS[:number]) + block}"
                names = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
                for layer, pair in enumerate(names[-len(module.layers) :]):
                    layers[f"{prefix}.{block}.layers.{layer}"] = tuple(f"{published}.{name}" for name in pair)
        found = {}
        for key, own in self.state_dict().items():
            *path, part, tensor = key.split(".")
            layer = ".".join(path)
            found[key] = state[f"{layers[layer][int(part)]}.{tensor}"] if layer in layers else own
        return found


class JoinedEfficientNetLite(EfficientNetLite):
    """EfficientNet-Lite0 whose last map, at stride 16, sees more than that stride tells.

    Stride 8 tells where the parts of small people are, stride 32 what a large thing is; both are added to the map of
    stride 16 (as in feature pyramids: Lin et al., CVPR 2017; here to one level, so that one RPN and one RoIAlign
    suffice).

    Args:
        blocks: As in `EfficientNetLite`, 6 or 7 stages.
        head: Channels of the last map.
    """

    def __init__(self, blocks: Sequence[int], head: int) -> None:
        super().__init__(blocks)
        self.middle = _layer(self.conv4_channels, head, 1, activation_layer=None, inplace=None)
        self.fine = nn.Conv2d(STAGES[_AT_STRIDE_8 - 1][0], head, 2, stride=2)
        self.coarse = nn.Conv2d(self.conv5_channels, head, 1)
        self.conv5_channels = head

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, head, H/16, W/16]; H and W are multiples of 32."""
        fine = self.stages[:_AT_STRIDE_8](self.stem(x))
        middle = self.stages[_AT_STRIDE_8:](fine)
        coarse = functional.interpolate(self.coarse(self.last(middle)), scale_factor=2.0, mode="nearest")
        return functional.relu6(self.middle(middle) + self.fine(fine) + coarse)


class InvertedResidual(nn.Module):
    """1×1 expansion → depthwise convolution → 1×1 projection, with a shortcut where shapes allow."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, *, dilation: int = 1
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_layer(inputs, hidden, 1)]
        layers.append(_layer(hidden, hidden, kernel, stride=stride, groups=hidden, dilation=dilation))
        layers.append(_layer(hidden, outputs, 1, activation_layer=None, inplace=None))
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] → [B, outputs, ⌈H/stride⌉, ⌈W/stride⌉]."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y
