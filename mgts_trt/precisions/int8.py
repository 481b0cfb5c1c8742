"""INT8 as a pass over a half graph: which layers compute in int8, and the graph with quantisation around exactly these.

TensorRT's explicit quantisation (ONNX QuantizeLinear and DequantizeLinear, "QDQ"): symmetric, one scale for a tensor of
activations, one for each output channel of a weight. A layer runs in int8 where both its factors come from a
DequantizeLinear; biases stay in half, and what the layer gives is half.
"""

import fnmatch
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mgts_trt._typing import Array
from mgts_trt.errors import PrecisionError
from mgts_trt.precisions.half import Tensors, write_nodes

LEVELS = 127
"""Int8 values on either side of zero; −128 is not used, so that positive and negative values are treated alike."""

_LEAST_SCALE = float(np.finfo(np.float16).tiny)


class Activation(NamedTuple):
    """An input of a node that is to be quantised.

    Attributes:
        node: Name of the node that reads it.
        place: Which of the node's inputs.
        tensor: Its name in the FP32 model.
    """

    node: str
    place: int
    tensor: str


def layer_names(model: ModelProto) -> dict[str, str]:
    """Node → the layer it computes, for all products with weights, in the order of the graph.

    Layers are named as their weights are: `network.rpn.conv.weight` belongs to the layer `rpn.conv`.
    """
    tensors = Tensors(model)
    return {
        node.name: node.input[1].removeprefix("network.").removesuffix(".weight")
        for node in model.graph.node
        if tensors.is_layer(node)
    }


def match_layers(layers: Iterable[str], patterns: Collection[str]) -> set[str]:
    """Layers that match one of some patterns: `rpn.*` stands for all layers whose names begin with `rpn.`."""
    return {layer for layer in layers if any(fnmatch.fnmatchcase(layer, pattern) for pattern in patterns)}


def activations(half: ModelProto, model: ModelProto, nodes: Collection[str], *, residuals: bool) -> list[Activation]:
    """What must be calibrated, and quantised, for these nodes to compute in int8.

    Args:
        half: As `mgts_trt.precisions.half.to_half` made it of `model`, with inferred types.
        model: In float32, with inferred types.
        nodes: Names of layers' nodes.
        residuals: The shortcut of a residual addition behind such a node too.

    Raises:
        PrecisionError: A node is no layer that computes in half.
    """
    tensors = Tensors(half)
    origins = {node.name: node for node in model.graph.node}
    layers = layer_names(model)
    found = []
    for node in half.graph.node:
        if node.name in nodes:
            weight = tensors.initializers.get(node.input[1]) if len(node.input) > 1 else None
            if weight is None or weight.data_type != TensorProto.FLOAT16 or node.name not in layers:
                raise PrecisionError(
                    f"{node.name} ({node.op_type}) is no layer that computes in half: leave it as it is."
                )
            found.append(Activation(node.name, 0, origins[node.name].input[0]))
    if missing := set(nodes) - {item.node for item in found}:
        raise PrecisionError(f"There is no node {min(missing)!r} in the model; name nodes as the FP32 file does.")
    place = {name: i for i, node in enumerate(half.graph.node) for name in node.output}
    for node in half.graph.node if residuals else ():
        if node.op_type != "Add" or tensors.types.get(node.output[0]) != TensorProto.FLOAT16:
            continue
        if not all(name in place and name not in tensors.constant for name in node.input):
            continue
        # The branch that ends last is added in its own kernel; the other comes from memory, and may be int8.
        shortcut, last = sorted(range(2), key=lambda i: place[node.input[i]])
        if tensors.maker[node.input[last]].name in nodes:
            found.append(Activation(node.name, shortcut, origins[node.name].input[shortcut]))
    return found


def to_int8(
    half: ModelProto,
    model: ModelProto,
    nodes: Collection[str],
    largest: Mapping[str, float],
    *,
    residuals: bool,
) -> ModelProto:
    """The half graph with these layers' factors quantised.

    A tensor that several nodes read is quantised once. Weights are stored as int8.

    Args:
        half: As `mgts_trt.precisions.half.to_half` made it of `model`, with inferred types; it is not changed.
        model: In float32, with inferred types.
        nodes: Names of the layers' nodes.
        largest: Tensor of the FP32 model → the magnitude that becomes 127; what is greater is clipped to it.
        residuals: Quantise the shortcuts of residual additions too, so that less is read from memory.

    Raises:
        PrecisionError: A node is no layer that computes in half, or a tensor was not calibrated.
    """
    result = ModelProto()
    result.CopyFrom(half)
    weights = {tensor.name: tensor for tensor in half.graph.initializer}
    by_name = {node.name: node for node in result.graph.node}
    pairs: dict[str, list[NodeProto]] = {}  # node → what quantises its inputs
    known: dict[str, str] = {}  # tensor → its dequantised form
    stored: list[TensorProto] = []
    for reader, index, tensor in activations(half, model, nodes, residuals=residuals):
        node = by_name[reader]
        name = node.input[index]
        if name not in known:
            if not largest.get(tensor, -1) >= 0:
                raise PrecisionError(f"The input {tensor} of {reader} was not calibrated; calibrate it with its layer.")
            known[name] = f"{name}.dequantised"
            scale = np.array(max(largest[tensor] / LEVELS, _LEAST_SCALE), np.float16)
            constants = [f"{name}.scale", f"{name}.zero"]
            values: list[Array] = [scale, np.array(0, np.int8)]
            stored += [
                numpy_helper.from_array(value, constant) for value, constant in zip(values, constants, strict=True)
            ]
            quantised = f"{name}.quantised"
            pairs.setdefault(reader, []).extend(
                (
                    helper.make_node("QuantizeLinear", [name, *constants], [quantised], f"{name}.quantise"),
                    helper.make_node("DequantizeLinear", [quantised, *constants], [known[name]], f"{name}.dequantise"),
                )
            )
        node.input[index] = known[name]
    for name in (node.name for node in half.graph.node if node.name in nodes):
        node = by_name[name]
        weight = node.input[1]
        if weight not in known:
            known[weight] = f"{weight}.dequantised"
            axis = _output_axis(node)
            integers, scales = quantise_weight(numpy_helper.to_array(weights[weight]), axis)
            names = [f"{weight}.int8", f"{weight}.scale"]
            stored += [numpy_helper.from_array(integers, names[0]), numpy_helper.from_array(scales, names[1])]
            pairs.setdefault(name, []).append(
                helper.make_node("DequantizeLinear", names, [known[weight]], f"{weight}.dequantise", axis=axis)
            )
        node.input[1] = known[weight]
    result.graph.initializer.extend(stored)
    write_nodes(result, [item for node in result.graph.node for item in (*pairs.get(node.name, ()), node)])
    del result.graph.value_info[:]  # of the types before
    return result


def quantise_weight(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """A weight as int8 with scales, symmetric, one for each output channel: values ≈ integers · scales.

    Args:
        values: Finite floats of any shape, `axis` of size C.
        axis: Of the output channels.

    Returns:
        Integers −127 … 127, int8, with the shape of `values`; scales, positive float16 [C].
    """
    values = values.astype(np.float64)
    others = tuple(i for i in range(values.ndim) if i != axis)
    scales = np.maximum(np.abs(values).max(others) / LEVELS, _LEAST_SCALE).astype(np.float16)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    integers = np.clip(np.rint(values / scales.astype(np.float64).reshape(shape)), -LEVELS, LEVELS)
    return integers.astype(np.int8), scales


def _output_axis(node: NodeProto) -> int:
    """Where a weight's output channels lie."""
    if node.op_type == "Gemm":
        return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[node.op_type]
