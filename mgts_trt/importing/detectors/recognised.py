"""What is known about a detector to be imported: from its file, from measuring it, or said by whoever imports it."""

from dataclasses import dataclass
from typing import NamedTuple

from mgts_trt.importing.detectors.detector_options import Activation, BoxForm, Colour, Family, Placement, Unit
from mgts_trt.importing.detectors.static_form import ImageInput


class Row(NamedTuple):
    """A line of the table shown before anything is written."""

    what: str
    value: str
    why: str


@dataclass(frozen=True)
class Recognised:
    """A detector as it will be imported.

    Attributes:
        family: Form of its outputs.
        image: Its input.
        size_input: Name of a second input that takes width and height, if there is one.
        outputs: Role → name of the tensor that the boxes are read from; of the original file, unless `cut`.
        unbatched: Roles whose tensors have no dimension for the batch.
        cut: Whether those tensors lie before an NMS of the model's own, which is left out.
        boxes: Number of boxes it gives for a picture, N.
        classes: Number of classes it tells apart, a class for "no object" not counted.
        person: Number of the class, from 0, in the model's own count.
        canvas: Height and width of the bundle's canvas, pixels.
        pad: RGB of the canvas beside the picture, 0…255.
        placement: Where the picture lies on the model's input.
        colour: Order of channels.
        mean: What is subtracted from 0…255, in the order of `colour`.
        std: What that is divided by.
        activation: What is still to be done to class scores.
        box_form: What four numbers of a box are.
        unit: What they count.
        nms: IoU above which the worse of two boxes is dropped; 0 for no NMS.
        candidates: Best boxes that enter the NMS.
        places: Rows of the result, K.
        why: What of the above → how it is known.
    """

    family: Family
    image: ImageInput
    size_input: str | None
    outputs: dict[str, str]
    unbatched: tuple[str, ...]
    cut: bool
    boxes: int
    classes: int
    person: int
    canvas: tuple[int, int]
    pad: tuple[int, int, int]
    placement: Placement
    colour: Colour
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    activation: Activation
    box_form: BoxForm
    unit: Unit
    nms: float
    candidates: int
    places: int
    why: dict[str, str]

    @property
    def content_hw(self) -> tuple[int, int]:
        """Height and width of the canvas on the model's input: scaled uniformly until it fits, whole pixels."""
        (height, width), (canvas_height, canvas_width) = self.image.hw, self.canvas
        scale = min(height / canvas_height, width / canvas_width)
        return min(height, max(1, round(canvas_height * scale))), min(width, max(1, round(canvas_width * scale)))

    def table(self) -> list[Row]:
        """All of it for people, a line each: what, its value, how it is known."""
        height, width = self.image.hw
        values = {
            "family": self.family,
            "input": f"{self.image.name}, {self.image.layout}, {height} × {width}",
            "outputs": ", ".join(f"{role} {name}" for role, name in self.outputs.items()),
            "boxes": f"{self.boxes} a picture, {self.box_form} in {self.unit}",
            "scores": f"{self.classes} classes, activation: {self.activation}",
            "person": str(self.person),
            "canvas": f"{self.canvas[0]} × {self.canvas[1]}",
            "pad": " ".join(map(str, self.pad)),
            "placement": self.placement,
            "colour": self.colour,
            "mean": " ".join(f"{each:g}" for each in self.mean),
            "std": " ".join(f"{each:g}" for each in self.std),
            "nms": f"IoU {self.nms:g}" if self.nms else "none",
            "result": f"{self.places} places of {min(self.candidates, self.boxes)} candidates",
        }
        return [Row(what, value, self.why.get(what, "")) for what, value in values.items()]
