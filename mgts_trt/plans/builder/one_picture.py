"""A network whose number of pictures varies, fixed to one: as static as if it had been exported so."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt.bundle.onnx_graph import load_onnx
from mgts_trt.bundle.recipe import PICTURES
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.builder.tensor_specs import tensor_specs


def load_for_one(path: Path) -> Any:
    """An ONNX model as it is for one picture; one that takes people is as the file has it.

    Raises:
        OnnxError: The file cannot be read.
    """
    model = load_onnx(path)
    if varies(model):
        fix_batch(model)
    return model


def varies(model: Any) -> bool:
    """Whether an ONNX model takes any number of pictures."""
    return any(dim.dim_param == PICTURES for dim in _dimensions(model.graph.input))


def fix_batch(model: Any) -> None:
    """Set the dimension of pictures to 1 in an ONNX model, and what follows from it."""
    graph = model.graph
    for dim in _dimensions((*graph.input, *graph.output)):
        if dim.dim_param == PICTURES:
            dim.dim_value = 1
    # What the file says of its inner tensors would contradict that, and is inferred again where it is needed.
    static = [value for value in graph.value_info if not any(dim.dim_param for dim in _dimensions([value]))]
    del graph.value_info[:]
    graph.value_info.extend(static)
    nodes = with_known_shapes(list(graph.node), tensor_specs(model))
    del graph.node[:]
    graph.node.extend(nodes)


def with_known_shapes(nodes: list[Any], specs: Mapping[str, TensorSpec | None]) -> list[Any]:
    """The nodes of a graph; those that ask for the shape of a tensor that has but one are constants."""
    from onnx import helper, numpy_helper

    known = []
    for node in nodes:
        spec = specs.get(node.input[0]) if node.op_type == "Shape" else None
        if spec is not None and not spec.symbols:
            sizes = np.array(spec.shape[_slice(node)], np.int64)
            node = helper.make_node("Constant", [], node.output, value=numpy_helper.from_array(sizes))
        known.append(node)
    return known


def _dimensions(values: Any) -> Iterator[Any]:
    for value in values:
        yield from value.type.tensor_type.shape.dim


def _slice(node: Any) -> slice:
    """What a Shape node takes of the sizes."""
    values = {attribute.name: attribute.i for attribute in node.attribute}
    return slice(values.get("start", 0), values.get("end"))
