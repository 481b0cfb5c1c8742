"""What may be said about a detector to be imported; whatever is left out is recognised."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from mgts_trt.errors import OnnxError

Family = Literal["yolox", "yolov5", "yolov8", "end-to-end", "detr", "ssd", "detections", "fastestdet"]
"""Forms of a detector's outputs; docs/weights.md has what each looks like and who writes it."""

FAMILIES: tuple[Family, ...] = get_args(Family)

Colour = Literal["rgb", "bgr"]
Placement = Literal["corner", "centre"]
Activation = Literal["none", "sigmoid", "softmax"]
BoxForm = Literal["xyxy", "yxyx", "cxcywh"]
Unit = Literal["pixels", "fractions"]

ROLES = ("predictions", "boxes", "scores", "labels", "embeddings")
"""What an output of a detector can be; the last of a joint network alone."""

MAX_CANDIDATES = 3840
"""The most that TensorRT's TopK gives."""


@dataclass(frozen=True)
class DetectorOptions:
    """A detector as its author means it; `None` stands for "recognise it".

    Attributes:
        family: Form of the outputs.
        canvas: Height and width of the bundle's canvas, pixels; the model's input size if None.
        input_hw: Height and width the model runs at, where its input is dynamic; the canvas's if None.
        outputs: Role (`ROLES`) → name of the output.
        person: Number of the class, from 0, in the model's own count.
        colour: Order of the channels it was trained on.
        mean: What is subtracted from pixels of 0…255, in the order of `colour`.
        std: What they are divided by then.
        pad: RGB beside the picture, 0…255.
        placement: Where the picture lies on the model's input.
        activation: What is still to be done to class scores.
        box_form: What four numbers of a box are.
        unit: What they count.
        nms: IoU above which the worse of two boxes is dropped; 0 for no NMS.
        candidates: Best boxes that enter the NMS.
        places: Rows of the result, K.
    """

    family: Family | None = None
    canvas: tuple[int, int] | None = None
    input_hw: tuple[int, int] | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    person: int | None = None
    colour: Colour | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    pad: tuple[int, int, int] | None = None
    placement: Placement | None = None
    activation: Activation | None = None
    box_form: BoxForm | None = None
    unit: Unit | None = None
    nms: float | None = None
    candidates: int = 1000
    places: int = 100

    def __post_init__(self) -> None:
        """Check what can be checked without a model.

        Raises:
            OnnxError: A value is none of those allowed.
        """
        for name, value, allowed in (
            ("family", self.family, FAMILIES),
            ("colour", self.colour, get_args(Colour)),
            ("placement", self.placement, get_args(Placement)),
            ("activation", self.activation, get_args(Activation)),
            ("box form", self.box_form, get_args(BoxForm)),
            ("unit", self.unit, get_args(Unit)),
        ):
            if value is not None and value not in allowed:
                raise OnnxError(f"A detector's {name} is {', '.join(allowed)}, not {value!r}.")
        if unknown := sorted(set(self.outputs) - set(ROLES)):
            raise OnnxError(f"An output of a detector is one of {', '.join(ROLES)}, not {unknown[0]!r}.")
        for name, size in (("canvas", self.canvas), ("input size", self.input_hw)):
            if size is not None and not all(32 <= side <= 8192 for side in size):
                raise OnnxError(f"The {name} is {size[0]} × {size[1]}; each side is 32…8192 pixels. Give another.")
        if self.nms is not None and not 0 <= self.nms <= 1:
            raise OnnxError(f"The NMS's IoU is {self.nms}; it is 0…1, and 0 means no NMS.")
        if self.std is not None and not all(each > 0 for each in self.std):
            raise OnnxError(f"A standard deviation is greater than 0; {self.std} is not. Give it in units of 0…255.")
        if self.pad is not None and not all(0 <= each <= 255 for each in self.pad):
            raise OnnxError(f"The pad colour is {self.pad}; each part is 0…255.")
        if not 1 <= self.places <= self.candidates <= MAX_CANDIDATES:
            raise OnnxError(
                f"{self.candidates} candidates for {self.places} places: 1 ≤ places ≤ candidates ≤ {MAX_CANDIDATES}."
            )
