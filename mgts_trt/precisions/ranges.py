"""What values the layers of a network take on real pictures, and how many of them half would lose.

The statistics are computed inside the graph: one run a picture, and no feature map leaves it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mgts_trt._typing import Array
from mgts_trt.bundle.records import Range, RangesRecord
from mgts_trt.errors import PrecisionError
from mgts_trt.precisions.half import HALF_MAX, MOVERS, Tensors, half_nodes

HALF_TINY = float(np.finfo(np.float16).tiny)
"""2⁻¹⁴: what is smaller is subnormal in half and loses digits; below 2⁻²⁵ it is zero."""


def measure_ranges(model: ModelProto, inputs: Iterable[Mapping[str, Array]]) -> list[Range]:
    """Run a model and record the range of every tensor that could be in half.

    These are the outputs of the layers and of what completes them, what enters them from float32, and what is sampled;
    nodes that only move values have the range of what they move.

    Args:
        model: In float32, with inferred types.
        inputs: The model's inputs by name, of the types and shapes it asks for; one mapping a run.

    Returns:
        In the order of the graph, each over all elements of its tensor and all runs; empty, without a run, where
        nothing could be in half.

    Raises:
        PrecisionError: There are no inputs, or a value is not finite; the message names the layer.
    """
    nodes = {output: node for node in model.graph.node for output in node.output}
    if not (names := _names(model)):
        return []
    session = _session(model, names)
    runs = [session.run(None, dict(arrays)) for arrays in inputs]
    if not runs:
        raise PrecisionError("No picture to measure ranges on; name one with --golden or --calibration.")
    stacked = np.array(runs, np.float64).reshape(len(runs), len(names), 4)
    ranges = []
    for i, name in enumerate(names):
        low, high = stacked[:, i, 0].min(), stacked[:, i, 1].max()
        if not np.isfinite([low, high]).all():
            raise PrecisionError(
                f"The layer {nodes[name].name} ({nodes[name].op_type}) gives values that are not finite "
                f"({low:g} … {high:g}) in float32 already. Export a checkpoint that is sound."
            )
        subnormal, overflow = stacked[:, i, 2].mean(), stacked[:, i, 3].mean()
        numbers = (low, high, max(-low, high), max(subnormal, 0.0), overflow)
        values = dict(zip(("min", "max", "largest", "subnormal", "overflow"), map(float, numbers), strict=True))
        ranges.append(Range(node=nodes[name].name, op=nodes[name].op_type, tensor=name, **values))
    return ranges


def largest(ranges: Iterable[Range]) -> dict[str, float]:
    """Tensor → greatest magnitude, as `mgts_trt.precisions.half` takes it."""
    return {row.tensor: row.largest for row in ranges}


def write_ranges(path: Path, ranges: Iterable[Range], pictures: Iterable[str]) -> None:
    """Write ranges, to four digits, as a `RangesRecord`."""
    rows = [
        row.model_copy(update={key: float(f"{value:.4g}") for key, value in row if isinstance(value, float)})
        for row in ranges
    ]
    RangesRecord(pictures=tuple(pictures), ranges=tuple(rows)).write(path)


def _names(model: ModelProto) -> list[str]:
    """The tensors to measure."""
    tensors = Tensors(model)
    half, _ = half_nodes(model)
    wanted: set[str] = set()
    for node in model.graph.node:
        if (node.name in half and node.op_type not in MOVERS) or tensors.maps(node):
            wanted.update(tensors.maps(node) or tensors.data(node))
            wanted.update(tensors.floats(node.output))
    for node in reversed(model.graph.node):  # from a mover to what it moves
        if node.op_type in MOVERS and wanted.intersection(node.output):
            wanted.difference_update(node.output)
            wanted.update(tensors.data(node))
    return [name for node in model.graph.node for name in node.output if name in wanted]


def _session(model: ModelProto, names: list[str]) -> ort.InferenceSession:
    """The model whose outputs are min, max, share of subnormal and share of overflowing values of each tensor."""
    measured = ModelProto()
    measured.CopyFrom(model)
    graph = measured.graph
    del graph.output[:]
    bounds = {"zero": 0.0, "tiny": HALF_TINY, "most": HALF_MAX}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), f"range.{key}") for key, value in bounds.items()
    )
    for name in names:

        def step(op: str, inputs: list[str], result: str, name: str = name, **attributes: Any) -> str:
            graph.node.append(helper.make_node(op, inputs, [f"{name}.{result}"], f"{name}.{result}", **attributes))
            return f"{name}.{result}"

        def share(comparison: str, bound: str, result: str, magnitude: str) -> str:
            flags = step(comparison, [magnitude, f"range.{bound}"], f"{result}.flags")
            return step("ReduceMean", [step("Cast", [flags], f"{result}.as_float", to=1)], result, keepdims=0)

        magnitude = step("Abs", [name], "magnitude")
        small, zero = share("Less", "tiny", "small", magnitude), share("Equal", "zero", "zeros", magnitude)
        for output in (
            step("ReduceMin", [name], "min", keepdims=0),
            step("ReduceMax", [name], "max", keepdims=0),
            step("Sub", [small, zero], "subnormal"),
            share("Greater", "most", "overflow", magnitude),
        ):
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Weights are constants beside which the statistics are small: no need for the optimisations that take long.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return ort.InferenceSession(measured.SerializeToString(), options, providers=["CPUExecutionProvider"])
