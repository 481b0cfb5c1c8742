"""Small graphs of convolutions and what lies between them, for the tests of FP16 and INT8."""

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export.graphs.trace import OPSET

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
OPS = ("Conv", "Relu", "Add", "Transpose", "Exp", "Reshape", "Mul")


def infer(model: ModelProto) -> ModelProto:
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def make_model(nodes, constants: dict[str, np.ndarray], outputs: list[str]) -> ModelProto:
    """x float32 [1, 4, 4, 4] → outputs of the same shape."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [1, 4, 4, 4])],
        [helper.make_tensor_value_info(name, FLOAT, [1, 4, 4, 4]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return infer(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10))


WEIGHT = np.random.default_rng(0).normal(size=(4, 4, 1, 1)).astype(np.float16)
CONSTANTS = {
    "w": WEIGHT.astype(np.float32),
    "w_stored.half": WEIGHT,
    "two": np.array(2, np.float32),
    "shape": np.array([1, 4, 4, 4], np.int64),
}


STORED = helper.make_node("Cast", ["w_stored.half"], ["w_stored"], name="w_stored.cast", to=FLOAT)


def make_node(op: str, name: str, first: str, second: str, *, stored: bool = False):
    inputs = {
        "Conv": [first, "w_stored" if stored else "w"],
        "Add": [first, second],
        "Mul": [first, "two"],
        "Reshape": [first, "shape"],
    }.get(op, [first])
    attributes = {"perm": [0, 1, 3, 2]} if op == "Transpose" else {}
    return helper.make_node(op, inputs, [name], name=f"node_{name}", **attributes)
