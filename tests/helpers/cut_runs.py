"""Networks with operators, whole and as chains, on ONNX Runtime."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, parser

from mgts_trt.bundle import operators
from mgts_trt.plans.builder.cut import Cut, Part
from mgts_trt.plans.chain import OperatorStep

HEADER = '<ir_version: 10, opset_import: ["" : 20, "mgts" : 1]> network '


def network(text: str, weights: Mapping[str, Any] | None = None) -> onnx.ModelProto:
    """A model from ONNX's text form, `(inputs) => (outputs) { nodes }`, with the operators' functions."""
    model = parser.parse_model(HEADER + text)
    for name, array in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"/{node.op_type}_{index}"
    operators.add_functions(model)
    return model


def run_model(model: onnx.ModelProto, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a model gives, computed node by node as the file has it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {i.name: inputs[i.name] for i in session.get_inputs()}), strict=True))


def run_cut(cut: Cut, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every tensor that passes between the steps of a chain, each step computed on its own."""
    tensors = {**inputs, **cut.constants}
    for step in cut.steps:
        given = {name: tensors[name] for name in step.inputs}
        made = run_model(step.model if isinstance(step, Part) else operator_alone(step, given), given)
        assert list(made) == list(step.outputs)
        for name, array in {**given, **made}.items():
            assert cut.tensors[name].admits(array.dtype.name, array.shape), name
        tensors |= made
    return tensors


def operator_alone(step: OperatorStep, given: Mapping[str, Any]) -> onnx.ModelProto:
    """A model of one node, the operator's."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in given.items()}
    node = helper.make_node(step.operator, step.inputs, step.outputs, domain=operators.DOMAIN, **step.attributes)
    graph = helper.make_graph(
        [node],
        step.operator,
        [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in given.items()],
        [
            helper.make_tensor_value_info(name, 10 if step.attributes.get("dtype") == 10 else 1, None)
            for name in step.outputs
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    operators.add_functions(model)
    return model
