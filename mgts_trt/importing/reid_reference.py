"""A re-ID network as its author runs it: plain NumPy around the original file, what goldens are made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.importing.recognised_reid import Reid
from mgts_trt.importing.resizing import ResizeRule, resize


def prepare_crops(found: Reid, crops: Sequence[Image], rule: ResizeRule | None = None) -> Floats:
    """Crops as the author's network takes them.

    Args:
        found: Its size, colours, range, mean and standard deviation.
        crops: uint8 [h, w, 3] each, RGB.
        rule: How they are resized; the author's if None.

    Returns:
        float32 [N, 3, H, W].
    """
    options = found.options
    result = np.empty((len(crops), 3, *found.hw), np.float32)
    for row, crop in enumerate(crops):
        pixels = resize(crop, found.hw, rule or options.resize)
        if options.colour == "bgr":
            pixels = pixels[:, :, ::-1]
        values: Array = pixels * np.float32(options.value_range / 255)
        values = (values - np.array(options.mean, np.float32)) / np.array(options.std, np.float32)
        result[row] = values.transpose(2, 0, 1)
    return result


def describe_crops(session: Any, found: Reid, crops: Sequence[Image], rule: ResizeRule | None = None) -> Floats:
    """The features an author's code computes, brought to length 1.

    Args:
        session: The original file in ONNX Runtime.
        found: What it is.
        crops: uint8 [h, w, 3] each, RGB.
        rule: How they are resized; the author's if None.

    Returns:
        float32 [N, D].
    """
    return unit_rows(run_rows(session, found, prepare_crops(found, crops, rule)))


def run_rows(session: Any, found: Reid, inputs: Floats) -> Floats:
    """An original's features float32 [N, D] of inputs [N, 3, H, W], in batches it takes."""
    rows: list[Array] = []
    size = found.batch or 16
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        filled = part if found.batch is None else np.resize(part, (size, *part.shape[1:]))
        (features,) = session.run([found.output], {found.input: filled})
        rows.append(np.asarray(features).reshape(len(filled), -1)[: len(part)])
    return np.concatenate(rows) if rows else np.empty((0, found.embedding), np.float32)


def unit_rows(rows: Array) -> Floats:
    """Rows [N, D] brought to length 1."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)
