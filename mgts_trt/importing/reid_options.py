"""What may be said about a re-ID network to be imported, and what its projects' networks are."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from mgts_trt._typing import Self
from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.detector_options import Colour
from mgts_trt.importing.resizing import RESIZE_RULES, ResizeRule

ReidPreset = Literal["torchreid", "fastreid", "clip-reid", "tao"]
Range = Literal[1, 255]
Triple = tuple[float, float, float]

USUAL_SIZE = (256, 128)
"""Height and width that all the presets' networks take."""

_IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
_IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ReidOptions:
    """A re-ID network as its author means it.

    Attributes:
        preset: Whose networks it is like; for people.
        said: Names of what was said beyond the preset.
        size: Height and width of its input, pixels; None takes the file's, or where it leaves them open `USUAL_SIZE`.
        colour: Order of its channels.
        value_range: What pixels go up to before mean and standard deviation: 1 or 255.
        mean: What is subtracted then, in the order of `colour`.
        std: What is divided by.
        resize: How its author brings a crop to that size.
        output: Name of the output that holds the features, where there are several.
    """

    preset: ReidPreset = "torchreid"
    said: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    colour: Colour = "rgb"
    value_range: Range = 1
    mean: Triple = _IMAGENET_MEAN
    std: Triple = _IMAGENET_STD
    resize: ResizeRule = "pil-bilinear"
    output: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a model.

        Raises:
            OnnxError: A value is none of those allowed.
        """
        for name, value, allowed in (
            ("colour order", self.colour, get_args(Colour)),
            ("value range", self.value_range, get_args(Range)),
            ("resize rule", self.resize, RESIZE_RULES),
        ):
            if value not in allowed:
                raise OnnxError(f"A re-ID network's {name} is {', '.join(map(str, allowed))}, not {value!r}.")
        if self.size is not None and not all(8 <= side <= 2048 for side in self.size):
            raise OnnxError(f"The re-ID size is {self.size[0]} × {self.size[1]}; each side is 8…2048 pixels.")
        mean, std = self.in_bytes
        if not all(-255 <= each <= 255 for each in mean):
            raise OnnxError(
                f"The mean {self.mean} lies outside the pixels' range of 0…{self.value_range}. Give it in that range, "
                "or say --reid-range."
            )
        if not all(1e-3 <= each <= 1e3 for each in std):
            raise OnnxError(
                f"The standard deviation {self.std} does not fit pixels of 0…{self.value_range}: it is more than 0 and "
                "of their order. Give it in that range, or say --reid-range."
            )

    @classmethod
    def of(cls, preset: ReidPreset | None, **given: object) -> Self:
        """A preset's, torchreid's where none is named, with what is given (and not None) in its place.

        Raises:
            OnnxError: There is no such preset, or a value is none of those allowed.
        """
        if preset is not None and preset not in PRESETS:
            raise OnnxError(f"There is no preset {preset!r}; there are {', '.join(PRESETS)}.")
        options = PRESETS[preset or "torchreid"]
        said = {name: value for name, value in given.items() if value is not None}
        return replace(options, said=tuple(said), **said)  # type: ignore[return-value, arg-type]

    def why(self, name: str) -> str:
        """How an attribute is known."""
        return "as said" if name in self.said else f"{self.preset}'s"

    @property
    def in_bytes(self) -> tuple[Triple, Triple]:
        """Mean and standard deviation for pixels of 0…255, in the order of `colour`."""
        scale = 255 / self.value_range
        (a, b, c), (d, e, f) = self.mean, self.std
        return (a * scale, b * scale, c * scale), (d * scale, e * scale, f * scale)


PRESETS: dict[ReidPreset, ReidOptions] = {
    "torchreid": ReidOptions(),
    # Its exporter leaves the normalisation in the graph.
    "fastreid": ReidOptions("fastreid", value_range=255, mean=(0, 0, 0), std=(1, 1, 1), resize="opencv-bicubic"),
    "clip-reid": ReidOptions("clip-reid", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "tao": ReidOptions("tao", std=(0.226, 0.226, 0.226), resize="opencv-bilinear"),
}
"""Of torchreid (OSNet and others), FastReID, CLIP-ReID and NVIDIA TAO's ReIdentificationNet: as each project's own
inference prepares a crop."""
