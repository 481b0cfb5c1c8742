"""How much a network computes, and in which precision: multiply–accumulates (MACs) of its convolutions and products.

What a precision saves it saves in these layers, so a share of a precision is a share of their MACs, not of their
number. Activations, pooling, sampling and the like are not counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Shape: TypeAlias = Sequence[int]

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class Work(NamedTuple):
    """What one layer computes.

    Attributes:
        name: Of the ONNX node it comes from.
        op: What it is: `Conv`, `MatMul` …
        macs: Multiply–accumulates of one run.
        precision: In which they are done: `fp32`, `fp16`, `int8` …
    """

    name: str
    op: str
    macs: int
    precision: str

    def __str__(self) -> str:
        return f"{self.name} ({self.op}, {macs_text(self.macs)}, {self.precision})"


class Operand(NamedTuple):
    """One factor of a product.

    Attributes:
        dtype: Its element type, by NumPy's name.
        stored: The type it had before a dequantise layer made it, with which TensorRT fuses the product; None where
            it comes from anything else.
    """

    dtype: str
    stored: str | None = None


@dataclass(frozen=True)
class Workload:
    """The layers that compute, in the order of the graph."""

    layers: tuple[Work, ...]

    @property
    def total(self) -> int:
        """MACs of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def by_precision(self) -> dict[str, int]:
        """Precision → MACs done in it, the most first."""
        macs: dict[str, int] = {}
        for layer in self.layers:
            macs[layer.precision] = macs.get(layer.precision, 0) + layer.macs
        return dict(sorted(macs.items(), key=lambda item: -item[1]))

    def largest(self, count: int, *, besides: str | None = None) -> list[Work]:
        """The `count` layers with the most MACs, those in the precision `besides` left out."""
        others = [layer for layer in self.layers if layer.precision != besides]
        return sorted(others, key=lambda layer: -layer.macs)[:count]


def share(macs: dict[str, int], precision: str) -> float | None:
    """Share of the MACs done in `precision`, 0…1; None where nothing is computed."""
    total = sum(macs.values())
    return macs.get(precision, 0) / total if total else None


def working_precision(*operands: Operand) -> str:
    """The precision a product is done in.

    Quantised work needs every factor quantised: with a factor that is not, the others are dequantised first.

    Args:
        operands: What is multiplied; a float type is common to all of them, as in a strongly typed network.
    """
    stored = {operand.stored for operand in operands}
    kind = stored.pop() if len(stored) == 1 else None
    return precision_of(kind or operands[0].dtype)


def precision_of(dtype: str) -> str:
    """A precision's name from NumPy's name of the type: `"float16"` → `"fp16"`, `"int8"` → `"int8"`."""
    return _PRECISIONS.get(dtype, dtype)


def convolution(output: Shape, kernel: Shape) -> int:
    """MACs of a convolution.

    Args:
        output: `[N, M, …]`.
        kernel: `[M, C / groups, …]`; stride and dilation only show in the output's shape.
    """
    return math.prod(output) * math.prod(kernel[1:])


def deconvolution(source: Shape, kernel: Shape) -> int:
    """MACs of a transposed convolution.

    Args:
        source: Its input, `[N, C, …]`.
        kernel: `[C, M / groups, …]`.
    """
    return math.prod(source) * math.prod(kernel[1:])


def product(output: Shape, depth: int) -> int:
    """MACs of a matrix product with `output` `[…, M, N]`, whose sums have `depth` terms."""
    return math.prod(output) * depth


def einsum(equation: str, shapes: Sequence[Shape]) -> int | None:
    """MACs of an einsum, computed in one loop nest: the product of the sizes of its distinct indices.

    Args:
        equation: As ONNX has it: `"bij,bjk->bik"`.
        shapes: Of its operands.

    Returns:
        None if it holds an ellipsis, whose indices have no names.
    """
    terms = equation.replace(" ", "").split("->")[0].split(",")
    if "..." in equation or len(terms) != len(shapes):
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for index, size in zip(term, shape, strict=False):
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values())


def macs_text(macs: int) -> str:
    """MACs as a person reads them: `"12.3 GMACs"`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if macs >= size:
            return f"{macs / size:,.{1 if macs < 100 * size else 0}f} {unit}MACs"
    return f"{macs} MACs"


def share_text(macs: dict[str, int]) -> str:
    """The shares of all precisions, the largest first: `"99.7% fp16, 0.3% fp32"`; `"–"` where nothing is computed."""
    total = sum(macs.values())
    ordered = sorted(macs.items(), key=lambda item: -item[1])
    return ", ".join(f"{percent(count / total)} {precision}" for precision, count in ordered if count) or "–"


def percent(value: float) -> str:
    """A share as a person reads it, rounded down so that 100% means all: `"99.7%"`."""
    tenths = math.floor(value * 1000 + 1e-9)
    if tenths == 0:
        return "<0.1%" if value else "0%"
    return "100%" if tenths == 1000 else f"{tenths / 10:.1f}%"
