"""Constants of an ONNX graph computed beforehand, and what nobody reads left out.

Exporters write the sizes of tensors as they would be computed at run time: Shape, Gather, Concat, Reshape. Where the
input's size is known these are constants.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from mgts_trt._typing import Array

DATA_DEPENDENT = frozenset({"Compress", "Loop", "NonMaxSuppression", "NonZero", "Scan", "SequenceAt", "Unique"})
"""Operators that give as much as they find: no plan of static shapes holds them."""

_KEPT = frozenset({"DequantizeLinear", "QuantizeLinear", "RandomNormal", "RandomUniform"}) | DATA_DEPENDENT
_LARGEST = 1 << 24
"""Elements beyond which a constant is not written out."""

_SMALL = 1024
"""Elements up to which a constant may be a shape."""

Shapes = dict[str, tuple[int, ...]]


def fold(model: ModelProto) -> Shapes:
    """Fold constants in place, as far as they go, and drop what no output needs.

    Args:
        model: With the sizes of its inputs given, as far as they are known.

    Returns:
        Name → shape, of every tensor whose shape is known.
    """
    while True:
        drop_unread(model)
        shapes = infer(model)
        if not (_splice_branches(model) | _fold_once(model, shapes)):
            return shapes


def infer(model: ModelProto) -> Shapes:
    """Write the types and shapes of inner tensors into the model.

    Returns:
        Name → shape, of those that are known whole.
    """
    graph = model.graph
    del graph.value_info[:]
    # Without the weights, which inference would copy: only small constants can be sizes.
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    for field in ("node", "input", "output"):
        getattr(light.graph, field).extend(getattr(graph, field))
    light.graph.name = "light"
    for tensor in graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= _SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    inferred = shape_inference.infer_shapes(light, data_prop=True).graph
    graph.value_info.extend(inferred.value_info)
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
        if kind.HasField("shape") and None not in dims:
            found[value.name] = tuple(int(dim) for dim in dims if dim is not None)
    return found


def reads(node: NodeProto) -> Iterator[str]:
    """Names of all tensors a node reads, those of its branches included."""
    yield from (name for name in node.input if name)
    for graph in branches(node).values():
        for inner in graph.node:
            yield from reads(inner)
        yield from (output.name for output in graph.output)


def replace_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Give a model these nodes, some of which may be its own."""
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def branches(node: NodeProto) -> dict[str, Any]:
    """The graphs that a node holds, by attribute."""
    return {each.name: each.g for each in node.attribute if each.type == AttributeProto.GRAPH}


def constants(model: ModelProto) -> dict[str, Array]:
    """Initialisers and the values of Constant nodes."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = _evaluate(node, [], model)[0]
    return found


def drop_unread(model: ModelProto) -> None:
    """Take out nodes and constants that no output needs."""
    graph = model.graph
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(reads(node))
            kept.append(node)
    replace_nodes(model, reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _fold_once(model: ModelProto, shapes: Shapes) -> bool:
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}
    made: list[onnx.TensorProto] = []
    kept = []
    for node in graph.node:
        values = _values(node, known, shapes, model)
        if values is None or outputs.intersection(node.output):
            kept.append(node)
            continue
        for name, value in zip(node.output, values, strict=True):
            known[name] = numpy_helper.from_array(value, name)
            made.append(known[name])
    if made:
        replace_nodes(model, kept)
        graph.initializer.extend(made)
    return bool(made)


def _values(
    node: NodeProto, known: dict[str, onnx.TensorProto], shapes: Shapes, model: ModelProto
) -> list[Array] | None:
    """What a node gives, if that is known."""
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes and node.input[0] not in known:
        shape = np.array(shapes[node.input[0]], np.int64)
        if node.op_type == "Size":
            return [np.array(shape.prod(), np.int64)]
        limits = {each.name: each.i for each in node.attribute}
        return [shape[limits.get("start", 0) : limits.get("end", len(shape))]]
    if node.op_type in _KEPT or branches(node) or not all(name in known for name in node.input if name):
        return None
    if any(np.prod(shapes.get(name, (0,))) > _LARGEST for name in node.output):
        return None
    inputs = [numpy_helper.to_array(known[name]) if name else None for name in node.input]
    try:
        return _evaluate(node, inputs, model)
    except Exception:  # whatever the evaluator of ONNX cannot compute stays a node
        return None


def _evaluate(node: NodeProto, inputs: list[Array | None], model: ModelProto) -> list[Array]:
    given = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
         for name, value in given.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
    )  # fmt: skip
    single = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return [np.asarray(value) for value in ReferenceEvaluator(single).run(None, given)]


def _splice_branches(model: ModelProto) -> bool:
    """Put the branch that is taken in the place of each If whose condition is a constant."""
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    nodes, spliced = [], False
    for node in graph.node:
        if node.op_type != "If" or node.input[0] not in known:
            nodes.append(node)
            continue
        taken = branches(node)["then_branch" if numpy_helper.to_array(known[node.input[0]]).all() else "else_branch"]
        graph.initializer.extend(taken.initializer)
        nodes.extend(taken.node)
        for inner, outer in zip(taken.output, node.output, strict=True):
            nodes.append(helper.make_node("Identity", [inner.name], [outer], name=f"{outer}.branch"))
        spliced = True
    if spliced:
        replace_nodes(model, nodes)
    return spliced
