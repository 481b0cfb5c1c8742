"""From a detector's outputs to the contract's, in the graph: decoding, person, NMS, a fixed number of places."""

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.operators import DOMAIN
from mgts_trt.importing.detectors.node_writer import NodeWriter, floats, ints, write_unit_rows
from mgts_trt.importing.detectors.recognised import Recognised

_STRIDES = (8, 16, 32)


def write_output(write: NodeWriter, found: Recognised, moved: str | None) -> None:
    """Write the nodes from the model's outputs to `boxes` [B, K, 4], `scores` [B, K], of a joint network `embeddings`.

    Args:
        write: Takes the nodes.
        found: What the outputs are.
        moved: See `mgts_trt.importing.detectors.picture_in.write_input`.
    """
    boxes, scores = _decoded(write, found)
    boxes = _corners(write, boxes, found)
    best = min(found.candidates if found.nms else found.places, found.boxes)
    scores, order = _top(write, scores, best)
    boxes = _rows(write, boxes, order)
    places = min(found.places, best)
    orders = [order]
    if found.nms:
        boxes, scores, order = _suppressed(write, boxes, scores, best, places, found.nms)
        orders.append(order)
    boxes = _on_canvas(write, boxes, found, moved)
    taken = write("Cast", write("Greater", scores, floats(0)), to=1)
    filled = write("Unsqueeze", taken, ints(2))
    boxes = write("Mul", boxes, filled)
    scores = write("Mul", scores, taken)
    missing = found.places - places
    if "embeddings" in found.outputs:
        rows = _with_batch(write, found.outputs["embeddings"], found, "embeddings")
        for order in orders:
            rows = write("GatherND", rows, write("Unsqueeze", order, ints(2)), batch_dims=1)
        rows = write("Mul", write_unit_rows(write, rows, 2), filled)
        rows = write("Pad", rows, ints(0, 0, 0, 0, missing, 0)) if missing else rows
        write("Identity", rows, output="embeddings")
    if missing:
        boxes = write("Pad", boxes, ints(0, 0, 0, 0, missing, 0))
        scores = write("Pad", scores, ints(0, 0, 0, missing))
    write("Identity", boxes, output="boxes")
    write("Identity", scores, output="scores")


def grid(hw: tuple[int, int]) -> tuple[Array, Array]:
    """Cells of strides 8, 16, 32: their column and row float32 [N, 2], and their stride float32 [N, 1]."""
    corners, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[: hw[0] // stride, : hw[1] // stride]
        corners.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _decoded(write: NodeWriter, found: Recognised) -> tuple[str, str]:
    """Boxes [B, N, 4] in the form and unit of `found`, scores of the person [B, N]."""
    predictions = found.outputs.get("predictions", "")
    person = found.person
    if found.family in ("yolox", "yolov5"):
        if found.activation == "sigmoid":
            judged = write("Sigmoid", write.columns(predictions, 4, 5 + found.classes))
        else:
            judged = write.columns(predictions, 4, 5 + found.classes)
        scores = write("Mul", write.columns(judged, 0, 1), write.columns(judged, 1 + person, 2 + person))
        boxes = write.columns(predictions, 0, 4)
        if found.family == "yolox":
            corner, stride = grid(found.image.hw)
            middle = write("Mul", write("Add", write.columns(boxes, 0, 2), corner[None]), stride[None])
            sides = write("Mul", write("Exp", write.columns(boxes, 2, 4)), stride[None])
            boxes = write("Concat", middle, sides, axis=2)
        return boxes, write("Squeeze", scores, ints(2))
    if found.family == "yolov8":
        boxes = write("Transpose", write.columns(predictions, 0, 4, 1), perm=[0, 2, 1])
        scores = write("Squeeze", write.columns(predictions, 4 + person, 5 + person, 1), ints(1))
        return boxes, write("Sigmoid", scores) if found.activation == "sigmoid" else scores
    if found.family == "end-to-end":
        scores, labels = (write("Squeeze", write.columns(predictions, at, at + 1), ints(2)) for at in (4, 5))
        return write.columns(predictions, 0, 4), _of_label(write, scores, labels, person)
    if found.family == "fastestdet":
        return _fastestdet(write, found)
    boxes, scores = (_with_batch(write, found.outputs[role], found, role) for role in ("boxes", "scores"))
    if found.family == "detections":
        labels = write("Cast", _with_batch(write, found.outputs["labels"], found, "labels"), to=1)
        return boxes, _of_label(write, scores, labels, person)
    if found.activation == "softmax":
        scores = write("Softmax", scores, axis=-1)
    scores = write("Squeeze", write.columns(scores, person, person + 1), ints(2))
    return boxes, write("Sigmoid", scores) if found.activation == "sigmoid" else scores


def _with_batch(write: NodeWriter, tensor: str, found: Recognised, role: str) -> str:
    """A model of single pictures gives tensors without a batch."""
    return write("Unsqueeze", tensor, ints(0)) if role in found.unbatched else tensor


def _of_label(write: NodeWriter, scores: str, labels: str, person: int) -> str:
    """Scores [B, N] where the label is the person's, else 0."""
    distance = write("Abs", write("Sub", labels, floats(person)))
    return write("Mul", scores, write("Cast", write("Less", distance, floats(0.5)), to=1))


def _fastestdet(write: NodeWriter, found: Recognised) -> tuple[str, str]:
    """One map [B, 5 + C, h, w]: objectness, offsets, sizes, classes; score √-like: objectness^0.6 · class^0.4."""
    rows, columns = (side // 16 for side in found.image.hw)
    flat = write(
        "Transpose", write("Reshape", found.outputs["predictions"], ints(0, 5 + found.classes, -1)), perm=[0, 2, 1]
    )
    y, x = np.mgrid[:rows, :columns]
    corner = np.stack([x, y], axis=-1).reshape(1, -1, 2).astype(np.float32)
    count = floats(columns, rows)
    middle = write("Div", write("Add", write("Tanh", write.columns(flat, 1, 3)), corner), count)
    sides = write("Sigmoid", write.columns(flat, 3, 5))
    objectness = write("Pow", write.columns(flat, 0, 1), floats(0.6))
    scores = write(
        "Mul", objectness, write("Pow", write.columns(flat, 5 + found.person, 6 + found.person), floats(0.4))
    )
    return write("Concat", middle, sides, axis=2), write("Squeeze", scores, ints(2))


def _corners(write: NodeWriter, boxes: str, found: Recognised) -> str:
    """Boxes as xyxy in pixels of the input."""
    if found.box_form == "cxcywh":
        middle = write.columns(boxes, 0, 2)
        half = write("Mul", write.columns(boxes, 2, 4), floats(0.5))
        boxes = write("Concat", write("Sub", middle, half), write("Add", middle, half), axis=2)
    elif found.box_form == "yxyx":
        boxes = write("Gather", boxes, ints(1, 0, 3, 2), axis=2)
    if found.unit == "fractions":
        height, width = found.image.hw
        boxes = write("Mul", boxes, floats(width, height, width, height))
    return boxes


def _on_canvas(write: NodeWriter, boxes: str, found: Recognised, moved: str | None) -> str:
    if moved is not None:
        boxes = write("Sub", boxes, moved)
    (content_height, content_width), (height, width) = found.content_hw, found.canvas
    if found.content_hw != found.canvas:
        scale = (content_width / width, content_height / height)
        boxes = write("Div", boxes, floats(*scale, *scale))
    return write("Min", write("Max", boxes, floats(0)), floats(width, height, width, height))


def _suppressed(
    write: NodeWriter, boxes: str, scores: str, count: int, places: int, iou: float
) -> tuple[str, str, str]:
    """What NMS leaves of `count` boxes, best first, in `places`: boxes [B, K, 4], scores [B, K], their rows [B, K].

    Scores are 0 where nothing is.
    """
    keep = write("Greater", write("Nms", boxes, domain=DOMAIN, threshold=float(iou)), floats(0.5))
    # Distinct keys, so that no implementation's way with ties shows: N, N−1, …, 1 for rows kept, below 0 elsewhere.
    rank = np.arange(count, dtype=np.float32)[None]
    key, order = _top(write, write("Where", keep, count - rank, -1 - rank), places)
    taken = write("Cast", write("Greater", key, floats(0)), to=1)
    return _rows(write, boxes, order), write("Mul", write("GatherElements", scores, order, axis=1), taken), order


def _top(write: NodeWriter, scores: str, count: int) -> tuple[str, str]:
    """The best `count` of [B, N]: their values and places."""
    values = write("TopK", scores, ints(count), axis=1)
    order = f"{values}.order"
    write.nodes[-1].output.append(order)
    return values, order


def _rows(write: NodeWriter, boxes: str, order: str) -> str:
    """Rows [B, M, 4] of boxes [B, N, 4]."""
    place = write("Unsqueeze", order, ints(2))
    return write("GatherElements", boxes, write("Concat", place, place, place, place, axis=2), axis=1)
