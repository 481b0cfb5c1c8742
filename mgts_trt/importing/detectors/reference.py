"""A detector as its author runs it, in plain NumPy around the original file: what goldens are made of."""

from collections.abc import Mapping

import cv2
import numpy as np
from onnx import ModelProto

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.importing.detectors.measuring import run
from mgts_trt.importing.detectors.recognised import Recognised


def reference(original: ModelProto, found: Recognised, image: Image) -> tuple[Floats, Floats]:
    """The people an author's code finds on a canvas.

    Args:
        original: The ONNX file as it is; a graph before an NMS (`StaticForm.model`) where `found.cut`.
        found: What it is.
        image: uint8 [Hc, Wc, 3], RGB: a canvas.

    Returns:
        Boxes [K, 4], xyxy in canvas pixels, best first, and scores [K]; 0 where nobody is.

    Raises:
        OnnxError: ONNX Runtime cannot run the file.
    """
    boxes, scores, _ = reference_rows(original, found, image)
    result = np.zeros((found.places, 4), np.float32), np.zeros(found.places, np.float32)
    count = min(len(boxes), found.places)
    result[0][:count], result[1][:count] = boxes[:count], scores[:count]
    return result


def reference_rows(original: ModelProto, found: Recognised, image: Image) -> tuple[Floats, Floats, Floats]:
    """As `reference`, without padding: boxes [n, 4], scores [n], and of a joint network embeddings of length 1 [n, d].

    Of other networks the last are [n, 0].
    """
    inputs: dict[str, Array] = {}
    inputs[found.image.name], (left, top) = prepare(found, image)
    if found.size_input is not None and found.size_input in {value.name for value in original.graph.input}:
        inputs[found.size_input] = np.array([[found.image.hw[1], found.image.hw[0]]], np.int64)
    outputs = run(original, inputs)
    boxes, scores, rows = _people(found, outputs)
    scale = np.array(found.content_hw[::-1]) / np.array(found.canvas[::-1])
    boxes = (boxes - np.array([left, top, left, top])) / np.tile(scale, 2)
    boxes = np.clip(boxes, 0, [*found.canvas[::-1], *found.canvas[::-1]])
    described = np.zeros((len(boxes), 0), np.float32)
    if "embeddings" in found.outputs:
        features = np.asarray(outputs[found.outputs["embeddings"]])
        described = features.reshape(found.boxes, -1)[rows]
        described = described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-12)
    n = found.places
    return boxes[:n].astype(np.float32), scores[:n], described[:n].astype(np.float32)


def prepare(found: Recognised, image: Image) -> tuple[Floats, tuple[int, int]]:
    """A canvas as the model's input, and how far the picture was moved right and down on it, pixels."""
    height, width = found.image.hw
    content_height, content_width = found.content_hw
    pixels: Array = image.astype(np.float32)
    if found.content_hw != found.canvas:
        pixels = cv2.resize(pixels, (content_width, content_height), interpolation=cv2.INTER_LINEAR)
    placed: Array = np.full((height, width, 3), found.pad, np.float32)
    placed[:content_height, :content_width] = pixels
    left = top = 0
    if found.placement == "centre":
        filled = (image != np.array(found.pad)).any(axis=2)
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        low = int(np.ceil((rows[-1] + 1) * content_height / found.canvas[0])) if len(rows) else 0
        right = int(np.ceil((columns[-1] + 1) * content_width / found.canvas[1])) if len(columns) else 0
        top, left = (height - low) // 2, (width - right) // 2
        placed = np.roll(placed, (top, left), axis=(0, 1))
    if found.colour == "bgr":
        placed = placed[:, :, ::-1]
    placed = (placed - np.array(found.mean, np.float32)) / np.array(found.std, np.float32)
    if found.image.layout != "NHWC":
        placed = placed.transpose(2, 0, 1)
    return np.ascontiguousarray(placed.reshape(found.image.shape), np.float32), (left, top)


def people(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Floats, Floats]:
    """The people in a model's outputs: boxes [n, 4], xyxy in pixels of its input, best first; scores [n]."""
    boxes, scores, _ = _people(found, outputs)
    return boxes, scores


def _people(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Floats, Floats, Array]:
    """As `people`, and which rows of the decoded outputs they are, [n]."""
    boxes, scores = _DECODERS[found.family](
        found, {role: np.asarray(outputs[name]) for role, name in found.outputs.items()}
    )
    if found.box_form == "cxcywh":
        boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    elif found.box_form == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    if found.unit == "fractions":
        boxes = boxes * np.array([*found.image.hw[::-1], *found.image.hw[::-1]])
    order = np.argsort(-scores, kind="stable")[: found.candidates if found.nms else found.places]
    order = order[scores[order] > 0]
    boxes, scores = boxes[order].astype(np.float64), scores[order]
    if found.nms:
        kept = nms_indices(boxes, found.nms)
        boxes, scores, order = boxes[kept], scores[kept], order[kept]
    return boxes.astype(np.float32), scores.astype(np.float32), order


def nms_indices(boxes: Array, iou: float) -> list[int]:
    """Rows of boxes [n, 4], best first, that greedy NMS keeps."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    left, kept = np.arange(len(boxes)), []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(int(best))
        width = np.maximum(0, np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]))
        height = np.maximum(0, np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]))
        shared = width * height
        left = rest[shared / np.maximum(areas[best] + areas[rest] - shared, 1e-12) <= iou]
    return kept


def _activated(found: Recognised, scores: Array) -> Array:
    if found.activation == "sigmoid":
        return 1 / (1 + np.exp(-scores.astype(np.float64)))
    if found.activation == "softmax":
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    return scores


def _yolox(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    rows = outputs["predictions"][0].copy()
    grids, strides = [], []
    for stride in (8, 16, 32):
        height, width = found.image.hw[0] // stride, found.image.hw[1] // stride
        columns, lines = np.meshgrid(np.arange(width), np.arange(height))
        grids.append(np.stack((columns, lines), 2).reshape(-1, 2))
        strides.append(np.full((height * width, 1), stride))
    corner, stride_of = np.concatenate(grids), np.concatenate(strides)
    rows[:, :2] = (rows[:, :2] + corner) * stride_of
    rows[:, 2:4] = np.exp(rows[:, 2:4]) * stride_of
    return _with_objectness(found, rows)


def _yolov5(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    return _with_objectness(found, outputs["predictions"][0])


def _with_objectness(found: Recognised, rows: Array) -> tuple[Array, Array]:
    judged = _activated(found, rows[:, 4:])
    return rows[:, :4], judged[:, 0] * judged[:, 1 + found.person]


def _yolov8(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    rows = outputs["predictions"][0].T
    return rows[:, :4], _activated(found, rows[:, 4 + found.person])


def _end_to_end(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    rows = outputs["predictions"][0]
    rows = rows[np.round(rows[:, 5]) == found.person]
    return rows[:, :4], rows[:, 4]


def _class_scores(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    scores = outputs["scores"].reshape(found.boxes, -1)
    return outputs["boxes"].reshape(-1, 4), _activated(found, scores)[:, found.person]


def _detections(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    person = np.round(outputs["labels"].ravel()) == found.person
    return outputs["boxes"].reshape(-1, 4)[person], outputs["scores"].ravel()[person]


def _fastestdet(found: Recognised, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    map_ = outputs["predictions"][0]
    _, height, width = map_.shape
    boxes, scores = [], []
    for y in range(height):
        for x in range(width):
            cell = map_[:, y, x]
            scores.append(cell[0] ** 0.6 * cell[5 + found.person] ** 0.4)
            middle = (x + np.tanh(cell[1])) / width, (y + np.tanh(cell[2])) / height
            boxes.append([*middle, 1 / (1 + np.exp(-cell[3])), 1 / (1 + np.exp(-cell[4]))])
    return np.array(boxes), np.array(scores)


_DECODERS = {
    "yolox": _yolox,
    "yolov5": _yolov5,
    "yolov8": _yolov8,
    "end-to-end": _end_to_end,
    "detr": _class_scores,
    "ssd": _class_scores,
    "detections": _detections,
    "fastestdet": _fastestdet,
}
