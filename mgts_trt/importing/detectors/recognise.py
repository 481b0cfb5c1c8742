"""What a detector's ONNX file is: its family, its person, its pre-processing; all of it may be said otherwise."""

import ast
import math
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto

from mgts_trt._typing import Array
from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.detector_options import BoxForm, Colour, DetectorOptions, Family, Placement
from mgts_trt.importing.detectors.families import Outputs, find_outputs
from mgts_trt.importing.detectors.measuring import Scale, is_decoded, measure, noise, run
from mgts_trt.importing.detectors.recognised import Recognised
from mgts_trt.importing.detectors.static_form import StaticForm, static_form

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Habit:
    """How the authors of a family prepare pictures."""

    colour: Colour
    mean: Triple
    std: Triple
    pad: tuple[int, int, int]
    placement: Placement
    nms: float


_GREY = (114, 114, 114)
_IMAGENET: tuple[Triple, Triple] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_NONE, _TO_ONE = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)

HABITS: dict[Family, Habit] = {
    "yolox": Habit("bgr", _NONE, (1.0, 1.0, 1.0), _GREY, "corner", 0.45),
    "yolov5": Habit("rgb", _NONE, _TO_ONE, _GREY, "centre", 0.45),
    "yolov8": Habit("rgb", _NONE, _TO_ONE, _GREY, "centre", 0.7),
    "end-to-end": Habit("rgb", _NONE, _TO_ONE, _GREY, "centre", 0.0),
    "detr": Habit("rgb", *_IMAGENET, (124, 116, 104), "corner", 0.0),
    "ssd": Habit("rgb", _NONE, _TO_ONE, (124, 116, 104), "corner", 0.5),
    "detections": Habit("rgb", _NONE, _TO_ONE, _GREY, "corner", 0.0),
    "fastestdet": Habit("bgr", _NONE, _TO_ONE, _GREY, "corner", 0.45),
}

_FORMS: dict[Family, BoxForm | None] = {
    "yolox": "cxcywh", "yolov5": "cxcywh", "yolov8": "cxcywh", "end-to-end": "xyxy", "detr": "cxcywh", "ssd": None,
    "detections": "xyxy", "fastestdet": "cxcywh",
}  # fmt: skip


_ROWS = {
    "family": "family", "canvas": "canvas", "person": "person", "colour": "colour", "mean": "mean", "std": "std",
    "pad": "pad", "placement": "placement", "activation": "scores", "box_form": "boxes", "unit": "boxes", "nms": "nms",
}  # fmt: skip
"""Option → row of the table that it decides."""


def recognise(original: ModelProto, options: DetectorOptions | None = None) -> Recognised:
    """What a detector is.

    Args:
        original: Its ONNX file, with its weights; it is not changed.
        options: What is known already.

    Raises:
        OnnxError: It cannot be imported, or not without saying more; the message says what to do.
    """
    return recognise_form(original, options or DetectorOptions())[0]


def recognise_form(original: ModelProto, options: DetectorOptions) -> tuple[Recognised, StaticForm]:
    """As `recognise`, with the static graph whose tensors it names."""
    form = static_form(original, options)
    cut = form.cut
    wanted = options
    if cut is not None and cut.kind == "inputs":  # all boxes there are, however few
        wanted = replace(options, family=options.family or "ssd")
    shapes = {output.name: form.shapes.get(output.name) for output in form.model.graph.output}
    outputs = find_outputs(shapes, form.image.hw, wanted)
    return recognise_outputs(original, form, outputs, options), form


def recognise_outputs(original: ModelProto, form: StaticForm, outputs: Outputs, options: DetectorOptions) -> Recognised:
    """What a detector is whose outputs have been told apart; see `recognise`."""
    cut = form.cut
    habit = HABITS[outputs.family]
    why = {"family": outputs.why, "canvas": "the model's input"}
    why |= dict.fromkeys(("nms", "colour", "pad", "placement"), "the family's")
    if cut is not None:
        why["outputs"] = cut.why
        habit = replace(habit, nms=habit.nms if cut.iou is None else cut.iou)
    mean, std = _normalisation(outputs, habit, options, why)
    scale = Scale("none", "xyxy", "pixels", "", "")
    values = run(form.model, {form.image.name: _picture(form, mean, std)})
    unbatched = tuple(role for role, name in outputs.roles.items() if values[name].ndim == _ranks(outputs)[role] - 1)
    outputs, scale = _measured(form, outputs, values, options)
    why |= {"scores": scale.why_scores, "boxes": scale.why_boxes, "family": outputs.why}
    classes, person = _classes(original, form, outputs, scale, options, why)
    activation = options.activation or scale.activation
    if options.activation is None and outputs.family == "detr" and outputs.channels == 92:
        activation, why["scores"] = "softmax", "92 logits: COCO's 91 numbers and no object"
    habit = HABITS[outputs.family] if cut is None else habit
    for name, row in _ROWS.items():
        if getattr(options, name) is not None:
            why[row] = "as said"
    return Recognised(
        family=outputs.family,
        image=form.image,
        size_input=form.size_input,
        outputs=outputs.roles,
        unbatched=unbatched,
        cut=cut is not None,
        boxes=outputs.boxes,
        classes=classes,
        person=person,
        canvas=options.canvas or form.image.hw,
        pad=options.pad or habit.pad,
        placement=options.placement or habit.placement,
        colour=options.colour or habit.colour,
        mean=options.mean or mean,
        std=options.std or std,
        activation=activation,
        box_form=options.box_form or scale.box_form,
        unit=options.unit or scale.unit,
        nms=habit.nms if options.nms is None else options.nms,
        candidates=options.candidates,
        places=options.places,
        why=why,
    )


def _ranks(outputs: Outputs) -> dict[str, int]:
    """Dimensions of each output, with a batch."""
    flat = ("labels", "scores") if outputs.family == "detections" else ("labels",)
    return {role: 2 if role in flat else 4 if outputs.family == "fastestdet" else 3 for role in outputs.roles}


def _picture(form: StaticForm, mean: Triple, std: Triple) -> Array:
    shift = np.array(mean, np.float32), np.array(std, np.float32)
    pixels = noise(form.image, 255.0)
    axes = (3, 1, 1) if form.image.layout != "NHWC" else (3,)
    return np.asarray((pixels - shift[0].reshape(axes)) / shift[1].reshape(axes), np.float32)


def _normalisation(
    outputs: Outputs, habit: Habit, options: DetectorOptions, why: dict[str, str]
) -> tuple[Triple, Triple]:
    mean, std = habit.mean, habit.std
    why["mean"] = why["std"] = "the family's"
    if outputs.family == "detr" and outputs.channels == 80:
        mean, std = _NONE, _TO_ONE
        why["mean"] = why["std"] = "RT-DETR's: 80 classes"
    return options.mean or mean, options.std or std


def _measured(
    form: StaticForm, outputs: Outputs, values: dict[str, Array], options: DetectorOptions
) -> tuple[Outputs, Scale]:
    """The family where running the model tells it, and what its numbers are."""
    family, roles = outputs.family, outputs.roles
    if family in ("detr", "ssd"):
        boxes, scores = (values[roles[role]].reshape(-1, values[roles[role]].shape[-1]) for role in ("boxes", "scores"))
        form_of_boxes: BoxForm | None = "cxcywh" if family == "detr" else None
        return outputs, measure(boxes, scores, options.box_form or form_of_boxes)
    if family == "detections":
        boxes, scores = values[roles["boxes"]].reshape(-1, 4), values[roles["scores"]].reshape(-1, 1)
        return outputs, measure(boxes, scores, options.box_form or _FORMS[family])
    rows = values[roles["predictions"]][0]
    if family == "fastestdet":
        return outputs, Scale("none", "cxcywh", "fractions", "objectness^0.6 · class^0.4", "cells of stride 16")
    if family == "yolov8":
        rows = rows.T
    if family == "yolox" and options.family is None and is_decoded(rows, form.image.hw):
        family = "yolov5"
        outputs = replace(outputs, family=family, why=f"{outputs.why}, decoded: boxes lie at their cells")
    elif family == "yolox":
        outputs = replace(outputs, why=f"{outputs.why}, raw")
    scale = measure(rows[:, :4], rows[:, 4:5] if family == "end-to-end" else rows[:, 4:], _FORMS[family])
    if family == "yolox":
        scale = scale._replace(unit="pixels", why_boxes="decoded here")
    return outputs, scale


def _classes(
    original: ModelProto,
    form: StaticForm,
    outputs: Outputs,
    scale: Scale,
    options: DetectorOptions,
    why: dict[str, str],
) -> tuple[int, int]:
    """How many classes there are, and which is the person."""
    names = _class_names(original)
    channels = outputs.channels
    labelled = outputs.family in ("end-to-end", "detections")
    count = channels - 1 if channels in (92,) and outputs.family == "detr" else channels
    if labelled:
        count = len(names) if names else 0
    person, reason = _person(outputs, names, scale, form.size_input is not None)
    if form.cut is not None and form.cut.person is not None:
        person = form.cut.person
    if options.person is not None:
        person = options.person
    elif person is None:
        raise OnnxError(
            f"The detector tells {channels} classes apart, and the file does not name them. Say which is the person, "
            "from 0: --person NUMBER."
        )
    limit = math.inf if labelled and not names else (len(names) if labelled else channels)
    if not 0 <= person < limit:
        raise OnnxError(
            f"The person is said to be class {person}, but the detector has {limit}: 0 … {limit - 1}. Give its number "
            "in the model's own count, from 0."
        )
    why["person"] = reason
    return count, person


def _person(outputs: Outputs, names: dict[int, str], scale: Scale, sized: bool) -> tuple[int | None, str]:
    """Number of the person's class, None if nothing tells it, and how it is known; `sized` as RT-DETR's models are."""
    channels = outputs.channels
    for number, name in names.items():
        if name.lower() in ("person", "pedestrian", "people", "human"):
            return number, f"the file names it {name!r}"
    if outputs.family == "detections" and not sized:
        return 1, "COCO's number"
    if outputs.family in ("end-to-end", "detections"):
        return 0, "COCO's first of 80"
    if channels == 1:
        return 0, "the only class"
    if channels == 2 and scale.why_scores.endswith("sum to 1"):
        return 1, "the other is the background"
    return {
        80: (0, "COCO's first of 80"),
        90: (1, "COCO's number"),
        91: (1, "COCO's number"),
        92: (1, "COCO's number"),
    }.get(channels, (None, ""))


def _class_names(original: ModelProto) -> dict[int, str]:
    """Names of classes as Ultralytics' exporter writes them into the file; empty where there are none."""
    for entry in original.metadata_props:
        if entry.key == "names":
            try:
                names = ast.literal_eval(entry.value)
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name) for number, name in pairs}
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # whatever stands there
                return {}
    return {}
