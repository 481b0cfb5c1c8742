"""An operator's ONNX function, alone, in ONNX Runtime, for inputs of any size."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import onnxruntime
from onnx import TensorProto, helper

from mgts_trt._typing import Array
from tests.helpers.operators.forms import operator_model

SHAPES = {
    "boxes": ("B", "N", 4), "features": ("B", "C", "h", "w"), "maps": ("B", "K", "h", "w"),
    "foreground": ("N", "C", "h", "w"), "original": ("N", "C", "h", "w"),
    "squeeze": ("r", "D"), "excite": ("D", "r"), "fc": ("d", "D"),
}  # fmt: skip


@cache
def _session(name: str, dtypes: tuple[tuple[str, int], ...], attributes: tuple[tuple[str, Any], ...]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    inputs = {each: (dtype, SHAPES[each]) for each, dtype in dtypes}
    outputs = {"out": (dict(attributes).get("dtype", TensorProto.FLOAT), None)}
    model = operator_model(name, inputs, outputs, dict(attributes))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_function(name: str, inputs: Mapping[str, Array], attributes: Mapping[str, Any]) -> Array:
    """What an operator's ONNX function gives for inputs by their names, in the operator's order."""
    dtypes = tuple((key, helper.np_dtype_to_tensor_dtype(value.dtype)) for key, value in inputs.items())
    fixed = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in attributes.items())
    found: Array = _session(name, dtypes, fixed).run(None, dict(inputs))[0]
    return found
