"""Presets: the sizes of the networks and the constants of the pipeline, as data (`training/presets/*.toml`)."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mgts_trt.bundle.manifest import Normalisation, Thresholds
from mgts_trt.errors import MgtsError, first_fault
from mgts_trt.machine.data_files import read_toml

FOLDER = Path(__file__).resolve().parent / "presets"


class PresetError(MgtsError):
    """A preset that does not exist or is malformed."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RPNPreset(_Strict):
    """A region proposal network (Sec. 3.2).

    Attributes:
        channels: Of its 3×3 convolution.
        scales: Sides of squares of the anchors' areas, pixels of the network's input.
        ratios: Heights of anchors over their widths.
        candidates: Best anchors that enter the NMS.
        proposals: Boxes that leave it at most.
        nms: IoU from which it drops the worse of two boxes.
    """

    channels: int
    scales: tuple[float, ...]
    ratios: tuple[float, ...]
    candidates: int
    proposals: int
    nms: float

    @property
    def anchors_per_cell(self) -> int:
        """Anchors at each cell of the feature map."""
        return len(self.scales) * len(self.ratios)


class VGGPreset(_Strict):
    """VGG16's convolutions, of any width and depth."""

    kind: Literal["vgg"] = "vgg"
    depths: tuple[int, int, int, int, int]
    widths: tuple[int, int, int, int, int]
    batch_norm: bool


class ResNetPreset(_Strict):
    """A bottleneck ResNet, of any width and depth."""

    kind: Literal["resnet"] = "resnet"
    stem: int
    planes: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


EFFICIENTNET_LITE_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks in each stage of the whole EfficientNet-Lite0."""


class EfficientNetLitePreset(_Strict):
    """EfficientNet-Lite0's convolutions, as many blocks of each stage as asked for, and a closing 1×1 convolution.

    Attributes:
        blocks: Of each stage, the first so many are kept.
        head: Channels of the closing convolution, if there is one.
        joined: It sees the maps of stride 8 and 32 beside that of stride 16, which it keeps.
    """

    kind: Literal["efficientnet-lite0"] = "efficientnet-lite0"
    blocks: tuple[int, ...]
    head: int | None = Field(None, ge=1)
    joined: bool = False

    @model_validator(mode="after")
    def _as_many_as_there_are(self) -> Self:
        whole = EFFICIENTNET_LITE_BLOCKS
        fits = 5 <= len(self.blocks) <= len(whole) and all(
            1 <= asked <= there for asked, there in zip(self.blocks, whole, strict=False)
        )
        if not fits:
            raise ValueError(f"blocks must be 5 to 7 numbers, each from 1 to that of {list(whole)}")
        if self.joined and (self.head is None or len(self.blocks) == 5):
            raise ValueError(
                "joined needs a head, which joins the strides, and 6 or 7 blocks, or there is no stride 32"
            )
        return self


BackbonePreset: TypeAlias = Annotated[VGGPreset | ResNetPreset | EfficientNetLitePreset, Field(discriminator="kind")]


class DetectorPreset(_Strict):
    """Faster R-CNN (Sec. 3.2).

    Attributes:
        backbone: Up to stride 16.
        hidden: Units of fc6 and of fc7.
        dropout: Share of them dropped while training.
        roi_size: Bins of a region along each side.
        final_nms: IoU from which the last NMS drops the worse of two boxes.
        rpn: Its proposals.
    """

    backbone: BackbonePreset
    hidden: int
    dropout: float = Field(ge=0, lt=1)
    roi_size: int
    final_nms: float
    rpn: RPNPreset


class MaskNetPreset(_Strict):
    """FCIS for one class (Li et al., CVPR 2017).

    Attributes:
        input: Height and width to which the canvas is resized inside the network.
        backbone: conv4 at stride 16 and conv5, which is dilated.
        reduced: Channels of the 1×1 convolution behind conv5.
        bins: k, for k × k position-sensitive maps.
        mask_size: m, cells of a mask along each side; a multiple of `bins`.
        fine: Read scores and masks at stride 8, from the reduced conv5 enlarged and conv3 together, where FCIS reads
            them at stride 16.
        final_nms: IoU from which the last NMS drops the worse of two boxes.
        rpn: Its proposals, in pixels of `input`.
    """

    input: tuple[int, int]
    backbone: BackbonePreset
    reduced: int
    bins: int
    mask_size: int
    fine: bool = False
    final_nms: float
    rpn: RPNPreset

    @model_validator(mode="after")
    def _whole_bins(self) -> Self:
        if self.mask_size % self.bins:
            raise ValueError(f"mask_size must be a multiple of bins = {self.bins}, got {self.mask_size}")
        return self

    @model_validator(mode="after")
    def _conv4_and_conv5(self) -> Self:
        if isinstance(self.backbone, EfficientNetLitePreset) and self.backbone.joined:
            raise ValueError("the mask net reads conv4 and conv5 apart: its backbone cannot be joined")
        return self


class JointPreset(_Strict):
    """One network that detects and re-identifies (OIM; Xiao et al., CVPR 2017).

    Attributes:
        backbone: A ResNet, cut behind conv4_3; or a joined EfficientNet-Lite, whose last map `tail` follows on.
        roi_size: Bins of a region along each side.
        tail: Of an EfficientNet-Lite: channels of the blocks that stand for conv4_4 … conv5_3. A ResNet has its own.
        hidden: Units of two layers on a region's bins, from which class and box are read as the detector reads them.
            Without, they are read from the pooled features, as identity is (and as published).
        embedding: d, numbers of an embedding.
        final_nms: IoU from which the last NMS drops the worse of two boxes.
        probes: P, boxes a picture that may be given to be described.
        rpn: Its proposals.
    """

    backbone: BackbonePreset
    roi_size: int
    tail: tuple[int, ...] = ()
    hidden: int | None = Field(None, ge=1)
    embedding: int = Field(256, ge=1)
    final_nms: float
    probes: int = Field(8, ge=1)
    rpn: RPNPreset

    @model_validator(mode="after")
    def _a_backbone_to_cut(self) -> Self:
        if isinstance(self.backbone, EfficientNetLitePreset):
            if not (self.backbone.joined and self.tail):
                raise ValueError("an EfficientNet-Lite must be joined here, and tail have a block or more behind it")
        elif self.tail:
            raise ValueError("tail belongs to an EfficientNet-Lite: a ResNet goes on with its own conv4_4 … conv5_3")
        elif not isinstance(self.backbone, ResNetPreset) or self.backbone.depths[2] < 4:
            raise ValueError("the joint network is cut behind conv4_3: its backbone must be a ResNet with a conv4_4")
        return self


class ReidPreset(_Strict):
    """One stream of MGTS or IDNet, and the SE block's reduction (Sec. 3.3).

    Attributes:
        backbone: Of each stream.
        reduction: How many times fewer units W₁ of Eq. 1 has than channels.
    """

    backbone: BackbonePreset
    reduction: int


class SceneAugmentation(_Strict):
    """What detector and mask net train on: scenes at other sizes and in other colours. Chosen by eye, for streets.

    Attributes:
        zoom: Range of the scale jitter, log-uniform, see `training.data.transforms.Augmentation`. By default a person
            comes up to three times as large at one time as at another.
        colour: Greatest strength of the colour jitter, 0 … 1.
        camera: Share of the scenes, 0 … 1, that get each of blur, noise and JPEG's artefacts.
        mosaic: Share of the canvases, 0 … 1, that show parts of four scenes instead of one, see
            `training.data.transforms.mosaic`.
        seen: Share of a person's box, 0 … 1, that the picture must show for it to be a person still; with less it is
            ignored.
        smallest: Canvas pixels of either side from which a person is learnt; a smaller one is ignored. By default a
            quarter of the feature map's cell, and of `edge`'s smallest anchor.
    """

    zoom: tuple[float, float] = (0.6, 1.8)
    colour: float = Field(0.6, ge=0, le=1)
    camera: float = Field(0.2, ge=0, le=1)
    mosaic: float = Field(0.0, ge=0, le=1)
    seen: float = Field(0.4, ge=0, le=1)
    smallest: float = Field(4.0, ge=0)

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        low, high = self.zoom
        if not 0 < low <= high:
            raise ValueError(f"zoom must be a range with 0 < low ≤ high, got {list(self.zoom)}")
        return self


class PatchAugmentation(_Strict):
    """What the re-ID networks train on: moved boxes, other cameras, and people of whom a part is erased.

    Attributes:
        box_jitter: A box's sides move by up to this share of its size, as a detector's would. By default the IoU with
            the true box is 0.91 in the mean, about a good detector's.
        colour: Strength of the colour jitter, 0 … 1. The default is by eye.
        grey: Share of the patches, 0 … 1, without colours, which cameras show differently. By default few: colours
            tell most of a person.
        coarse: Share of the patches, 0 … 1, as coarse as a far or bad camera's. By default a fifth.
        erased: Share of the patches, 0 … 1, of which a part is erased (random erasing, Zhong et al., AAAI 2020). The
            default is theirs and torchvision's.
    """

    box_jitter: float = Field(0.05, ge=0, lt=0.5)
    colour: float = Field(0.5, ge=0, le=1)
    grey: float = Field(0.05, ge=0, le=1)
    coarse: float = Field(0.2, ge=0, le=1)
    erased: float = Field(0.5, ge=0, le=1)


class AugmentationPreset(_Strict):
    """How training alters pictures at random."""

    scenes: SceneAugmentation = SceneAugmentation()
    patches: PatchAugmentation = PatchAugmentation()


class Preset(_Strict):
    """Everything that distinguishes one size of the system from another.

    Attributes:
        name: Written into checkpoints and bundles.
        canvas: Height and width, pixels.
        patch: Height and width of a re-ID patch, pixels (Sec. 4.3: 256 and 128).
        gamma: RoI expand ratio γ (Table 5).
        embedding: d, numbers of an embedding (Sec. 4.3: 128).
        weights: How ONNX files store weights.
        normalisation: Mean and standard deviation of the pixels, RGB, on the scale of 0 … 255.
        thresholds: From which scores and mask probabilities on something is shown.
        detector: The detector.
        masknet: The mask net.
        reid: MGTS and IDNet.
        joint: The network that does both, if there is one.
        augmentation: How training alters pictures at random.
    """

    name: str
    canvas: tuple[int, int]
    patch: tuple[int, int]
    gamma: float
    embedding: int
    weights: Literal["float32", "float16"]
    normalisation: Normalisation
    thresholds: Thresholds
    detector: DetectorPreset
    masknet: MaskNetPreset
    reid: ReidPreset
    joint: JointPreset | None = None
    augmentation: AugmentationPreset = AugmentationPreset()

    @model_validator(mode="after")
    def _whole_cells(self) -> Self:
        backbones = [self.detector.backbone, *([self.joint.backbone] if self.joint else [])]
        joined = any(isinstance(backbone, EfficientNetLitePreset) and backbone.joined for backbone in backbones)
        if joined and any(side % 32 for side in self.canvas):
            raise ValueError(f"canvas must be of multiples of 32 for a joined backbone, got {list(self.canvas)}")
        return self

    @property
    def pad(self) -> tuple[int, int, int]:
        """The canvas's colour beside the picture: the mean, so that it is 0 after normalisation."""
        r, g, b = (round(value) for value in self.normalisation.mean)
        return r, g, b


def load_preset(name: str) -> Preset:
    """The preset `name`, or the one in the TOML file `name`.

    Raises:
        PresetError: There is no such preset, or it is malformed.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return Preset.model_validate(read_toml(path))
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise PresetError(
            f"There is no preset {name!r}; there are {known}, or name a .toml file of your own."
        ) from error
    except ValidationError as error:
        raise PresetError(f"The preset {path} is malformed {first_fault(error)}.") from error
    except ValueError as error:
        raise PresetError(f"The preset {path} is malformed: {error}.") from error
