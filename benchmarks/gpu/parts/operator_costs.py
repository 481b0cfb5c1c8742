"""What an operator of the domain `mgts` must cost at least: its bytes and its arithmetic, from a chain's record."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.gpu.report import Ceilings
from mgts_trt.bundle.operators import MAPS
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.chain import OperatorStep

Shape = tuple[int, ...]

_OVERLAP = 12
"""Of two boxes: two maxima, two minima, two sides and their clamps, two products, a sum, a comparison."""

_BILINEAR = 8
"""A point read from four cells, four products and three sums, and added to its bin."""


@dataclass(frozen=True)
class OperatorCost:
    """What one run takes, whoever computes it.

    Attributes:
        read: Bytes of the inputs, once each; of maps, no more than the points of all regions touch.
        written: Bytes of the outputs.
        flop: In float32.
    """

    read: int
    written: int
    flop: int

    def floor(self, ceilings: Ceilings) -> float:
        """Microseconds that no implementation can go below: arithmetic or bytes, whichever takes longer."""
        peak = ceilings.tflops.get("fp32")
        compute = self.flop / peak * 1e-6 if peak else 0.0
        return max(compute, (self.read + self.written) / ceilings.copy_gbs * 1e-3)


def operator_cost(step: OperatorStep, tensors: Mapping[str, TensorSpec], sizes: Mapping[str, int]) -> OperatorCost:
    """Count one operator of a chain.

    Args:
        step: The operator.
        tensors: See `mgts_trt.plans.chain.Chain.tensors`.
        sizes: Named dimension → size.
    """
    inputs = [sized(tensors[name], sizes) for name in step.inputs]
    outputs = [sized(tensors[name], sizes) for name in step.outputs]
    in_bytes = [_bytes(tensors[name], shape) for name, shape in zip(step.inputs, inputs, strict=True)]
    out_bytes = [_bytes(tensors[name], shape) for name, shape in zip(step.outputs, outputs, strict=True)]
    points = _POINTS.get(step.operator)
    if points is not None:
        itemsize = in_bytes[0] // max(1, math.prod(inputs[0]))
        in_bytes[0] = min(in_bytes[0], 4 * points(step, outputs[0]) * itemsize)
        flop = _BILINEAR * points(step, outputs[0])
    else:
        flop = _nms(inputs) if step.operator == "Nms" else _head(inputs)
    return OperatorCost(sum(in_bytes), sum(out_bytes), flop)


def in_half(step: OperatorStep, tensors: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """The tensors, but for the operator's maps, and the regions it makes of them, as if they were in half."""
    names = step.inputs[: MAPS[step.operator]] + (step.outputs if "dtype" in step.attributes else ())
    return {**tensors, **{name: tensors[name].model_copy(update={"dtype": "float16"}) for name in names}}


def operator_work(step: OperatorStep, tensors: Mapping[str, TensorSpec], sizes: Mapping[str, int]) -> str:
    """On what it works, for people: types and shapes of its first two inputs and of its output, which say all sizes."""
    given, made = (
        ", ".join(f"{tensors[name].dtype} {list(sized(tensors[name], sizes))}" for name in names)
        for names in (step.inputs[:2], step.outputs)
    )
    return f"{given} → {made}"


def sized(spec: TensorSpec, sizes: Mapping[str, int]) -> Shape:
    """A tensor's shape with its named dimensions at these sizes, 1 where none is named."""
    return spec.sized({symbol: sizes.get(symbol, 1) for symbol in spec.symbols})


def _bytes(spec: TensorSpec, shape: Shape) -> int:
    return math.prod(shape) * np.dtype(spec.dtype).itemsize


def _aligned_points(step: OperatorStep, regions: Shape) -> int:
    samples = step.attributes["samples"]
    return math.prod(regions) * (math.prod(samples) if isinstance(samples, tuple) else 1)


def _nms(inputs: list[Shape]) -> int:
    """Every pair of boxes once, as by bit masks (no more than a box that suppresses none needs)."""
    pictures, boxes, _ = inputs[0]
    return pictures * boxes * (boxes - 1) // 2 * _OVERLAP


def _head(inputs: list[Shape]) -> int:
    """Both means, and three products of a matrix and a vector a person."""
    people = inputs[0][0]
    return 2 * math.prod(inputs[0]) + 2 * people * sum(math.prod(matrix) for matrix in inputs[2:])


_POINTS: dict[str, Callable[[OperatorStep, Shape], int]] = {
    "AlignRois": _aligned_points,
    "PsAssemble": lambda step, regions: math.prod(regions),
}
"""Operator → how many values it reads between the cells of its maps."""
