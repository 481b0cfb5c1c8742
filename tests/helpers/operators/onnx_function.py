"""An operator's ONNX function, alone, in ONNX Runtime."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import onnx
import onnxruntime
from onnx import TensorProto, helper

from mgts_trt._typing import Array
from mgts_trt.bundle.operators import DOMAIN, add_functions

SHAPES = {
    "boxes": ("B", "N", 4), "features": ("B", "C", "h", "w"), "maps": ("B", "K", "h", "w"),
    "foreground": ("N", "C", "h", "w"), "original": ("N", "C", "h", "w"),
    "squeeze": ("r", "D"), "excite": ("D", "r"), "fc": ("d", "D"),
}  # fmt: skip
_OPSET = 20


def one_node(name: str, dtypes: Mapping[str, int], attributes: Mapping[str, Any]) -> onnx.ModelProto:
    """A model that calls one operator, with its body, for inputs of any size.

    Args:
        name: Of the operator.
        dtypes: Input → ONNX's number of its type, in the operator's order.
        attributes: Of the node.
    """
    values = [helper.make_tensor_value_info(each, dtype, SHAPES[each]) for each, dtype in dtypes.items()]
    node = helper.make_node(name, list(dtypes), ["out"], domain=DOMAIN, **attributes)
    out = helper.make_tensor_value_info("out", attributes.get("dtype", TensorProto.FLOAT), None)
    graph = helper.make_graph([node], name, values, [out])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", _OPSET)])
    add_functions(model)
    return model


@cache
def _session(name: str, dtypes: tuple[tuple[str, int], ...], attributes: tuple[tuple[str, Any], ...]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    model = one_node(name, dict(dtypes), dict(attributes))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_function(name: str, inputs: Mapping[str, Array], attributes: Mapping[str, Any]) -> Array:
    """What an operator's ONNX function gives for inputs by their names, in the operator's order."""
    dtypes = tuple((key, helper.np_dtype_to_tensor_dtype(value.dtype)) for key, value in inputs.items())
    fixed = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in attributes.items())
    found: Array = _session(name, dtypes, fixed).run(None, dict(inputs))[0]
    return found
