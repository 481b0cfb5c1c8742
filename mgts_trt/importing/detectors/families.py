"""Which family a detector's outputs are of, by their shapes and names."""

from collections.abc import Mapping
from dataclasses import dataclass

from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.detector_options import DetectorOptions, Family
from mgts_trt.importing.detectors.folding import Shapes

_MOST_QUERIES = 1000
"""End-to-end detectors give some hundred boxes, grids thousands."""

_ROLE_WORDS = {
    "boxes": ("boxes", "bboxes", "pred_boxes", "dets", "bbox", "box", "loc"),
    "scores": ("scores", "logits", "pred_logits", "score", "conf", "confidences", "labels"),
    "labels": ("labels", "classes", "class", "label", "cls"),
}


@dataclass(frozen=True)
class Outputs:
    """What the outputs are.

    Attributes:
        family: Their form.
        roles: Role → name.
        boxes: How many, N.
        channels: Numbers of a box beside its class scores and itself: length of the class scores; 1 of `end-to-end`
            and `detections`.
        why: How it is known.
    """

    family: Family
    roles: dict[str, str]
    boxes: int
    channels: int
    why: str


def cells(hw: tuple[int, int], strides: tuple[int, ...] = (8, 16, 32)) -> int:
    """Number of cells of the grids of an input."""
    return sum((hw[0] // stride) * (hw[1] // stride) for stride in strides)


def find_outputs(
    shapes: Mapping[str, tuple[int, ...] | None], hw: tuple[int, int], options: DetectorOptions
) -> Outputs:
    """Recognise the family.

    Args:
        shapes: Output → shape for one picture, None where it depends on data.
        hw: Height and width of the model's input.
        options: `family` and `outputs` are taken for granted.

    Raises:
        OnnxError: None fits, or several do.
    """
    if unknown := sorted(set(options.outputs.values()) - shapes.keys()):
        raise OnnxError(f"The detector has no output {unknown[0]!r}. {_table(shapes)}.")
    chosen = {name: shape for name, shape in shapes.items() if not options.outputs or name in options.outputs.values()}
    known: Shapes = {name: shape for name, shape in chosen.items() if shape is not None}
    found = [each for each in _readings(known, hw, options) if options.family in (None, each.family)]
    names = list(dict.fromkeys(tuple(sorted(each.roles.values())) for each in found))
    if not found:
        asked = f" as {options.family}" if options.family else ""
        raise OnnxError(
            f"The detector's outputs are not recognised{asked}. {_table(shapes)}. Known are YOLOX and YOLOv5 "
            "[1, N, 5 + C], YOLOv8 [1, 4 + C, N], end-to-end [1, N, 6], boxes with class scores ([1, N, 4], [1, N, C]) "
            "and boxes, labels, scores. Export the network with its decoded boxes as the only outputs, or name them: "
            "--detector-output boxes=NAME."
        )
    if len(names) > 1:
        raise OnnxError(
            f"Several of the detector's outputs could be its boxes: {'; '.join(', '.join(each) for each in names)}. "
            f"{_table(shapes)}. Say which: --detector-output predictions=NAME, or boxes=NAME and scores=NAME."
        )
    return found[0]


def _readings(shapes: Shapes, hw: tuple[int, int], options: DetectorOptions) -> list[Outputs]:
    pairs = _together(shapes, hw, options)
    paired = {name for each in pairs for name in each.roles.values()}
    single = {} if {"boxes", "scores"} & set(options.outputs) else {n: s for n, s in shapes.items() if n not in paired}
    alone = [_alone(name, shape, hw, options) for name, shape in single.items()]
    return [each for each in alone if each is not None] + pairs


def _alone(name: str, shape: tuple[int, ...], hw: tuple[int, int], options: DetectorOptions) -> Outputs | None:
    """One output that holds everything."""
    roles = {"predictions": name}
    if len(shape) == 4 and shape[0] == 1 and shape[1] > 5 and shape[2:] == (hw[0] // 16, hw[1] // 16):
        count = shape[2] * shape[3]
        return Outputs("fastestdet", roles, count, shape[1] - 5, f"{list(shape)}: one map of stride 16")
    if len(shape) != 3 or shape[0] != 1 or min(shape[1:]) < 5:
        return None
    _, rows, columns = shape
    grid = cells(hw)
    if columns > rows and options.family in (None, "yolov8") and columns >= grid // 2:
        return Outputs("yolov8", roles, columns, rows - 4, f"{list(shape)}: 4 + classes, then {columns} boxes")
    if columns == 6 and rows <= _MOST_QUERIES and rows != grid and options.family in (None, "end-to-end"):
        return Outputs("end-to-end", roles, rows, 1, f"{list(shape)}: few boxes, score, class")
    if columns < 6:
        return None
    if options.family in (None, "yolox") and rows == grid:
        return Outputs("yolox", roles, rows, columns - 5, f"{list(shape)}: a box for each cell of strides 8, 16, 32")
    if options.family in (None, "yolov5"):
        return Outputs("yolov5", roles, rows, columns - 5, f"{list(shape)}: box, objectness, classes")
    return None


def _together(shapes: Shapes, hw: tuple[int, int], options: DetectorOptions) -> list[Outputs]:
    """Outputs that belong together: boxes with class scores, or boxes, labels, scores."""
    found = []
    said = options.outputs
    boxes = [name for name, shape in shapes.items() if shape[-1:] == (4,) and len(shape) in (2, 3)]
    boxes = [name for name in boxes if said.get("boxes", name) == name] if len(boxes) > 1 else boxes
    for box in boxes:
        count = shapes[box][-2]
        rows = {n: s for n, s in shapes.items() if n != box and n not in boxes}
        tables = [n for n, s in rows.items() if len(s) == len(shapes[box]) and s[-2] == count and s[-1] > 1]
        tables = [n for n in tables if said.get("scores", n) == n]
        flat = [n for n, s in rows.items() if len(s) == len(shapes[box]) - 1 and s[-1] == count]
        for name in tables:
            family: Family = "detr" if count <= _MOST_QUERIES and count != cells(hw) else "ssd"
            family = options.family if options.family in ("detr", "ssd") else family
            why = f"{list(shapes[box])} and {list(shapes[name])}: " + (
                "few boxes with class scores" if family == "detr" else "many boxes with class scores"
            )
            found.append(Outputs(family, {"boxes": box, "scores": name}, count, shapes[name][-1], why))
        if len(flat) >= 2 and not tables:
            scores = said.get("scores") or _called(flat, "scores")
            labels = said.get("labels") or _called([n for n in flat if n != scores], "labels")
            if scores and labels:
                roles = {"boxes": box, "labels": labels, "scores": scores}
                found.append(Outputs("detections", roles, count, 1, f"{count} boxes, labels and scores"))
    return found


def _called(names: list[str], role: str) -> str | None:
    matching = [name for word in _ROLE_WORDS[role] for name in names if word in name.lower()]
    return matching[0] if matching else None


def _table(shapes: Mapping[str, tuple[int, ...] | None]) -> str:
    texts = (f"{name} {list(shape) if shape is not None else 'as many as it finds'}" for name, shape in shapes.items())
    return f"Its outputs are {'; '.join(texts)}"
