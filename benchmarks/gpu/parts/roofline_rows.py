"""What a network must cost at least: its arithmetic and its traffic, counted from the ONNX file, over the ceilings.

The model is the roofline of Williams, Waterman and Patterson (2009): work takes as long as its arithmetic at the
device's peak, or its bytes at the device's bandwidth, whichever is more.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.gpu.parts.operator_costs import operator_cost, sized
from benchmarks.gpu.report import Ceilings, Group, RooflineRow
from mgts_trt.bundle.onnx_graph import Tensor, infer_tensors, read_graph
from mgts_trt.bundle.operators import DOMAIN
from mgts_trt.plans.builder.cut import Cut, cut
from mgts_trt.plans.builder.one_picture import load_for_one
from mgts_trt.plans.chain import OperatorStep

_VIEWS = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})
"""Operators that need not touch the data."""

_PICKS = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "Split"})
"""Operators that read as much of their first input as they return."""

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"})

_ITEMSIZE = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class Layer:
    """One node that computes or moves something.

    Attributes:
        name: Of the ONNX node.
        op: Its operator.
        bytes: Inputs, weights and outputs, once each.
        macs: Multiply–accumulates; 0 for all but convolutions and products.
        precision: In which these are done.
    """

    name: str
    op: str
    bytes: int
    macs: int = 0
    precision: str = "fp32"


@dataclass(frozen=True)
class Cost:
    """What one run of a network takes.

    Attributes:
        layers: In the order of the graph.
        model_bytes: The network's inputs, outputs and weights (as stored in the file), once.
        unknown: Layers whose traffic is not in here because a shape could not be inferred.
        weight_bytes: Of `model_bytes`, the weights.
        weights: How many there are.
    """

    layers: Sequence[Layer]
    model_bytes: int
    unknown: int = 0
    weight_bytes: int = 0
    weights: int = 0

    @property
    def flop(self) -> int:
        """Two a multiply–accumulate."""
        return 2 * sum(layer.macs for layer in self.layers)

    @property
    def layer_bytes(self) -> int:
        """What all layers move, each on its own."""
        return sum(layer.bytes for layer in self.layers)

    def supposed(self, precision: str) -> "Cost":
        """The same network as if all its convolutions, products and weights were in another precision."""
        layers = [
            replace(each, precision=precision if each.op in _PRODUCTS else each.precision) for each in self.layers
        ]
        weight_bytes = self.weights * _ITEMSIZE[precision]
        return Cost(
            layers, self.model_bytes - self.weight_bytes + weight_bytes, self.unknown, weight_bytes, self.weights
        )

    def floor(self, ceilings: Ceilings) -> tuple[float, Literal["compute", "memory"]]:
        """Milliseconds that no implementation can go below, and why: arithmetic, or the model's own bytes."""
        compute = sum(_compute_ms(layer, ceilings) for layer in self.layers)
        memory = _memory_ms(self.model_bytes, ceilings)
        return (compute, "compute") if compute >= memory else (memory, "memory")

    def unfused(self, ceilings: Ceilings) -> float:
        """Milliseconds that layers run one by one, through the device's memory, cannot go below."""
        return sum(max(_compute_ms(layer, ceilings), _memory_ms(layer.bytes, ceilings)) for layer in self.layers)


def _compute_ms(layer: Layer, ceilings: Ceilings) -> float:
    # A precision whose ceiling is not known counts at the fastest one: so the floor stays a floor.
    if not layer.macs or not ceilings.tflops:
        return 0.0
    peak = ceilings.tflops.get(layer.precision) or max(ceilings.tflops.values())
    return 2 * layer.macs / (peak * 1e12) * 1e3


def _memory_ms(nbytes: int, ceilings: Ceilings) -> float:
    return nbytes / (ceilings.copy_gbs * 1e9) * 1e3


def row(cost: Cost, ceilings: Ceilings, *, model: str, precision: str, side: str, measured_ms: float) -> RooflineRow:
    """A network's cost beside what was measured."""
    floor, bound = cost.floor(ceilings)
    return RooflineRow(
        model=model,
        precision=precision,
        side=side,
        gflop=cost.flop / 1e9,
        model_mb=cost.model_bytes / 1e6,
        layers_mb=cost.layer_bytes / 1e6,
        floor_ms=floor,
        unfused_ms=cost.unfused(ceilings),
        bound=bound,
        measured_ms=measured_ms,
    )


def rows(groups: Sequence[Group], costs: Mapping[tuple[str, str], Cost], ceilings: Ceilings) -> list[RooflineRow]:
    """A row for every side that was measured and runs the ONNX file whose cost was counted.

    Args:
        groups: Of networks.
        costs: (model, precision) → cost.
        ceilings: Of the same run.
    """
    return [
        row(cost, ceilings, model=group.what, precision=group.precision, side=side.label, measured_ms=side.latency.p50)
        for group in groups
        if (cost := costs.get((group.what, group.precision))) is not None
        for side in group.sides
        if side.latency is not None and not side.label.startswith("PyTorch")
    ]


def count(path: Path, sizes: Mapping[str, int]) -> Cost:
    """Count an ONNX file's arithmetic and traffic; an operator of the domain `mgts` is one layer.

    Args:
        path: The file.
        sizes: Dynamic dimension → size.

    Raises:
        BuildError: It cannot be cut at its operators.
        OnnxError: The package onnx is missing, or the file cannot be read.
    """
    return count_cut(cut(load_for_one(path), path), path, sizes)


def count_cut(network: Cut, path: Path, sizes: Mapping[str, int]) -> Cost:
    """As `count`, of a network that is cut already; its models lose their large weights on the way."""
    graph = read_graph(path, sizes)
    work = {layer.name: layer for layer in graph.workload.layers}
    stored = [(array.size, array.nbytes) for array in network.constants.values()]
    layers: list[Layer] = []
    unknown = 0
    for step in network.steps:
        if isinstance(step, OperatorStep):
            cost = operator_cost(step, network.tensors, sizes)
            layers.append(Layer(step.node, f"{DOMAIN}.{step.operator}", cost.read + cost.written, cost.flop // 2))
            continue
        stored += [(math.prod(tensor.dims), _initializer_bytes(tensor)) for tensor in step.model.graph.initializer]
        for node, moved in _moving(step.model, sizes):
            unknown += moved is None
            name = node.name or f"node_of_{node.output[0]}"
            done = work.get(name)
            precision = done.precision if done else "fp32"
            layers.append(Layer(name, node.op_type, moved or 0, done.macs if done else 0, precision))
    ends = [spec for name in (*graph.inputs, *graph.outputs) if (spec := network.tensors.get(name))]
    end_bytes = sum(math.prod(sized(spec, sizes)) * np.dtype(spec.dtype).itemsize for spec in ends)
    numbers, weight_bytes = (sum(each) for each in zip(*stored, strict=True)) if stored else (0, 0)
    return Cost(layers, weight_bytes + end_bytes, unknown, weight_bytes, numbers)


def _moving(model: Any, sizes: Mapping[str, int]) -> Iterator[tuple[Any, int | None]]:
    """The nodes that compute or move something, and the bytes each moves, None where a shape is not known."""
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    tensors = infer_tensors(model, sizes)
    for node in nodes:
        given = [name for name in node.input if name]
        if node.op_type in _VIEWS or all(name in constants for name in given):
            # A view of a constant, or what follows from constants, is made once.
            constants.update(node.output if all(name in constants for name in given) else ())
            continue
        yield node, _traffic(node, tensors)


def _traffic(node: Any, tensors: Mapping[str, Tensor]) -> int | None:
    inputs = [tensor_bytes(tensors.get(name)) for name in node.input if name]
    outputs = [tensor_bytes(tensors.get(name)) for name in node.output if name]
    if node.op_type in _PICKS and inputs and None not in outputs:
        inputs[0] = sum(size or 0 for size in outputs)
    sizes = [size for size in (*inputs, *outputs) if size is not None]
    return sum(sizes) if len(sizes) == len(inputs) + len(outputs) else None


def tensor_bytes(tensor: Tensor | None) -> int | None:
    """Bytes of a tensor, None where type or shape is not known."""
    if tensor is None or tensor.shape is None or tensor.dtype == "unknown":
        return None
    size = 2 if tensor.dtype == "bfloat16" else np.dtype(tensor.dtype).itemsize
    return math.prod(tensor.shape) * size


def _initializer_bytes(tensor: Any) -> int:
    from onnx import helper

    return math.prod(tensor.dims) * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
