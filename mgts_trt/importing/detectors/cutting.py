"""Detectors with an NMS of their own: it is left out, and with it every shape that depends on data.

Such graphs keep what scores above a threshold (NonZero), the best of it (TopK), and what NMS leaves. Here all rows of
the person pass the threshold, so that shapes are known, TopK takes as many as it may, and the tensors before the NMS
become the outputs: another NMS, of a fixed number of places, follows.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mgts_trt._typing import Array
from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.folding import (
    DATA_DEPENDENT,
    Shapes,
    constants,
    drop_unread,
    fold,
    infer,
    replace_nodes,
)

_COCO_PERSON = 1
"""Torchvision's number."""


class Cutoff(NamedTuple):
    """What was left out.

    Attributes:
        kind: `rows`: the outputs are the original's, of all rows; `inputs`: they are what its NMS took.
        iou: Of the NMS.
        why: For people.
        person: Number of the class whose rows alone are left; None where all are.
    """

    kind: Literal["rows", "inputs"]
    iou: float | None
    why: str
    person: int | None = None


def cut_nms(model: ModelProto, options: DetectorOptions) -> Cutoff | None:
    """Leave out a detector's own NMS, in place.

    Args:
        model: Folded, for one picture.
        options: `person` says whose rows to keep.

    Returns:
        What was left out; None if no shape depends on data.

    Raises:
        OnnxError: Shapes depend on data in another way, too.
    """
    if not (dynamic := _data_dependent(model)):
        return None
    person = _COCO_PERSON if options.person is None else options.person
    rows = _rows_of(model, person)
    everything = _of_rows(model, rows)
    if everything is not None:
        model.CopyFrom(everything[0])
        if rows:
            _set_labels(model, person)
        return Cutoff(
            "rows", everything[1], "all rows of the person, before the model's own NMS", person if rows else None
        )
    iou = _cut_at_inputs(model)
    if iou is None:
        raise OnnxError(
            f"The detector's graph gives as much as it finds ({', '.join(dict.fromkeys(dynamic))}), which no plan of "
            "static shapes holds, and its NMS is not its last step: two-stage detectors are such. Export it without "
            "NMS and thresholds, with all boxes and class scores (of a joint network also embeddings) as outputs: an "
            "NMS is added here; or take a one-stage detector."
        )
    return Cutoff("inputs", iou, "what the model's own NMS takes")


def _rows_of(model: ModelProto, person: int) -> dict[str, Array]:
    """What is compared with a threshold → the rows that are of the person, where labels do not depend on pictures.

    If everything passes, the labels of all rows are a constant.
    """
    labels = ModelProto()
    labels.CopyFrom(model)
    numbers = [output for output in labels.graph.output if output.type.tensor_type.elem_type == TensorProto.INT64]
    if len(numbers) != 1:
        return {}
    del labels.graph.output[:]
    labels.graph.output.extend(numbers)
    shapes = infer(labels)
    masks = [node.input[0] for node in labels.graph.node if node.op_type == "NonZero"]
    rows = {mask: shapes[mask][0] for mask in masks if len(shapes.get(mask, ())) == 1}
    passed = _of_rows(labels, {}, all_best=True)
    if passed is None:
        return {}
    known = constants(passed[0])
    values = [
        known[node.input[0]]
        for node in passed[0].graph.node
        if node.output[0] == numbers[0].name and node.input[0] in known
    ]
    if not values or len(values[0]) != sum(rows.values()):
        return {}
    parts = np.split(values[0], np.cumsum(list(rows.values()))[:-1])
    return {mask: np.flatnonzero(part == person) for mask, part in zip(rows, parts, strict=True)}


def _of_rows(
    original: ModelProto, chosen: Mapping[str, Array], *, all_best: bool = False
) -> tuple[ModelProto, float | None] | None:
    """The graph in which certain rows pass the thresholds, whatever the picture, and all that the NMS took are left.

    Args:
        original: Is not changed.
        chosen: What is compared with a threshold → the rows that pass; all where it is missing.
        all_best: Whether TopK, too, lets pass all, in their order.

    Returns:
        It, and the IoU of the NMS left out; None where shapes depend on data in another way.
    """
    model = ModelProto()
    model.CopyFrom(original)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    _name_outputs(model)
    shapes = infer(model)
    for node in model.graph.node:
        if node.op_type != "NonZero":
            continue
        mask = node.input[0]
        if len(shapes.get(mask, ())) != 1:
            return None
        passing = chosen.get(mask, np.arange(shapes[mask][0]))
        model.graph.initializer.append(numpy_helper.from_array(passing[None].astype(np.int64), node.output[0]))
        node.output[0] = f"{node.output[0]}.unread"
    if all_best:
        _bypass_best(model, shapes)
    fold(model)
    _drop_empty(model)
    iou = _bypass_nms(model)
    fold(model)
    return None if _data_dependent(model) else (model, iou)


def _bypass_best(model: ModelProto, shapes: Shapes) -> None:
    """Let pass all rows, in their order, where TopK picks from what passed a threshold; in place."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "TopK" or node.input[0] in shapes:
            nodes.append(node)
            continue
        data, (values, order), count = node.input[0], node.output, f"{node.output[1]}.count"
        zero, one = (helper.make_tensor(f"{order}.{n}", TensorProto.INT64, [], [n]) for n in (0, 1))
        model.graph.initializer.extend([zero, one])
        nodes += [
            helper.make_node("Identity", [data], [values]),
            helper.make_node("Size", [data], [count]),
            helper.make_node("Range", [zero.name, count, one.name], [order]),
        ]
    replace_nodes(model, nodes)


def _set_labels(model: ModelProto, person: int) -> None:
    """All rows left are the person's: say so by a constant."""
    shapes = infer(model)
    for output in model.graph.output:
        if output.type.tensor_type.elem_type == TensorProto.INT64:
            node = next(node for node in model.graph.node if output.name in node.output)
            node.input[0] = f"{output.name}.person"
            values = np.full(shapes[output.name], person, np.int64)
            model.graph.initializer.append(numpy_helper.from_array(values, node.input[0]))
    drop_unread(model)


def _data_dependent(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.op_type in DATA_DEPENDENT or node.op_type == "If"]


def _name_outputs(model: ModelProto) -> None:
    """Give every output a node of its own, so that folding reaches what makes it."""
    names = {output.name: f"{output.name}.cut" for output in model.graph.output}
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for outer, inner in names.items():
        model.graph.node.append(helper.make_node("Identity", [inner], [outer], name=f"{outer}.named"))


def _drop_empty(model: ModelProto) -> None:
    """Leave out of Concat what has no rows: no plan holds a tensor without elements."""
    shapes = infer(model)
    for node in model.graph.node:
        if node.op_type == "Concat":
            filled = [name for name in node.input if 0 not in shapes.get(name, ())]
            if filled:
                node.input[:] = filled
    drop_unread(model)


def _bypass_nms(model: ModelProto) -> float | None:
    """Let pass all rows that NMS would pick from, in place; its IoU, None without a single NMS."""
    found = [node for node in model.graph.node if node.op_type == "NonMaxSuppression"]
    if len(found) != 1:
        return None
    picked = set(found[0].output)
    for node in model.graph.node:
        if not picked.intersection(node.input):
            continue
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        if node.op_type == "Gather" and node.input[0] not in picked and axis == 0:
            node.CopyFrom(helper.make_node("Identity", [node.input[0]], [node.output[0]], name=node.name))
        else:
            picked.update(node.output)
    return _iou(found[0].input, constants(model))


def _iou(inputs: Sequence[str], known: Mapping[str, Array]) -> float | None:
    return float(known[inputs[3]].reshape(-1)[0]) if len(inputs) > 3 and inputs[3] in known else None


def _cut_at_inputs(model: ModelProto) -> float | None:
    """Make what the only NMS takes the outputs, in place: boxes [1, N, 4] and scores [1, N, C]."""
    shapes = infer(model)
    found = [node for node in model.graph.node if node.op_type == "NonMaxSuppression"]
    if len(found) != 1 or not all(name in shapes for name in found[0].input[:2]):
        return None
    boxes, scores = found[0].input[:2]
    iou = _iou(found[0].input, constants(model))
    graph = model.graph
    del graph.output[:]
    for name in ("cut.boxes", "cut.scores"):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    graph.node.append(helper.make_node("Identity", [boxes], ["cut.boxes"], name="cut.boxes"))
    graph.node.append(helper.make_node("Transpose", [scores], ["cut.scores"], name="cut.scores", perm=[0, 2, 1]))
    fold(model)
    return None if _data_dependent(model) else 0.5 if iou is None else iou
