"""One operator as a model of its own, and what ONNX Runtime makes of it."""

from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime as ort
from onnx import helper

from mgts_trt._typing import Array
from mgts_trt.bundle.operators import DOMAIN, add_functions


def operator_model(operator: str, inputs: Mapping[str, Array], attributes: Mapping[str, Any]) -> onnx.ModelProto:
    """A model of one `mgts` node with its function; its output is named `found`.

    Args:
        operator: One of `OPERATORS`.
        inputs: As the case has them; all are inputs of the model.
        attributes: Likewise.
    """
    node = helper.make_node(operator, list(inputs), ["found"], domain=DOMAIN, **attributes)
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    found = helper.make_tensor_value_info("found", int(attributes.get("dtype", onnx.TensorProto.FLOAT)), None)
    graph = helper.make_graph([node], operator, given, [found])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    add_functions(model)
    return model


def run_bytes(model: bytes, inputs: Mapping[str, Array]) -> Array:
    """The first output of a model on ONNX Runtime's CPU provider."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    found: Array = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, dict(inputs))[0]
    return found
