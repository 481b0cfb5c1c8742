"""What a detector's numbers are, found by running it: shapes do not tell raw values from decoded ones."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from mgts_trt._typing import Array, Floats
from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.boxes_out import grid
from mgts_trt.importing.detectors.detector_options import Activation, BoxForm, Unit
from mgts_trt.importing.detectors.static_form import ImageInput


class Scale(NamedTuple):
    """What the numbers of class scores and boxes are, each with the reason."""

    activation: Activation
    box_form: BoxForm
    unit: Unit
    why_scores: str
    why_boxes: str


def run(model: ModelProto, inputs: Mapping[str, Array]) -> dict[str, Floats]:
    """A model's outputs on ONNX Runtime, by name.

    Raises:
        OnnxError: It cannot run it.
    """
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return {name: np.asarray(value) for name, value in zip(names, session.run(None, dict(inputs)), strict=True)}
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise OnnxError(
            f"ONNX Runtime cannot run the detector: {error}. Export it again, in standard operators."
        ) from error


def noise(image: ImageInput, largest: float) -> Floats:
    """A picture of noise, for a model's input, 0 … `largest`; the same each time."""
    blocks = np.random.default_rng(0).random(image.shape, np.float32) * largest
    return np.asarray(blocks, np.float32)


def is_decoded(predictions: Array, hw: tuple[int, int]) -> bool:
    """Whether boxes [N, ≥ 4] of the cells of `grid` lie where their cells do, and so are decoded."""
    corner, stride = grid(hw)
    middle = (corner + 0.5) * stride
    near = [np.corrcoef(predictions[:, axis], middle[:, axis])[0, 1] for axis in (0, 1) if np.ptp(middle[:, axis]) > 0]
    return bool(near) and all(each > 0.5 for each in near)


def measure(boxes: Array, scores: Array, box_form: BoxForm | None) -> Scale:
    """What the numbers of a detector are.

    Args:
        boxes: [N, 4].
        scores: [N, C], of classes.
        box_form: As the family has it; None to tell xyxy from cxcywh.
    """
    low, high = float(scores.min()), float(scores.max())
    sums = scores.sum(axis=1)
    activation: Activation = "none" if low >= 0 and high <= 1 else "sigmoid"
    if activation == "sigmoid":
        why_scores = f"{low:.2g} … {high:.2g}: logits"
    elif scores.shape[1] > 1 and np.allclose(sums, 1, atol=1e-3):
        why_scores = "the classes of a box sum to 1"
    else:
        why_scores = "0 … 1"
    unit: Unit = "fractions" if float(np.quantile(np.abs(boxes), 0.99)) <= 2 else "pixels"
    why_boxes = f"up to {float(np.quantile(np.abs(boxes), 0.99)):.3g}"
    if box_form is None:
        ordered = bool((boxes[:, 2:] >= boxes[:, :2]).all())
        box_form = "xyxy" if ordered else "cxcywh"
        why_boxes += ", the last two never less than the first" if ordered else ", the last two are sizes"
    return Scale(activation, box_form, unit, why_scores, why_boxes)
