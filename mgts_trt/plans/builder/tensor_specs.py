"""Type and shape of every tensor of an ONNX model, with its named dimensions."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mgts_trt.bundle import operators
from mgts_trt.bundle.onnx_graph import Tensor, import_onnx, infer_tensors
from mgts_trt.bundle.tensors import TensorSpec

_PRIMES = ((5, 7), (11, 13), (17, 19), (23, 29))
"""Of each named dimension two sizes to infer at. A tensor's size that follows one through both is that dimension, one
that is the same multiple of both is that multiple of it."""


def tensor_specs(model: Any) -> dict[str, TensorSpec | None]:
    """Infer what the tensors of a model are.

    ONNX's own inference loses named dimensions at the first Reshape; at given sizes it finds nearly all. So it is asked
    twice, at two sizes of each.

    Args:
        model: An ONNX model, which may call functions that it holds: their inner tensors are not told of.

    Returns:
        Name → type and shape; None where they cannot be inferred, or a size is neither a number nor a multiple of a
        named dimension.
    """
    onnx = import_onnx()
    whole = operators.inline(model)
    symbols = sorted(
        {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param}
    )
    pairs = dict(zip(symbols, _PRIMES, strict=False))
    found: list[Mapping[str, Tensor]] = []
    for which in (0, 1):
        copy = onnx.ModelProto()
        copy.CopyFrom(whole)  # inference takes weights out
        found.append(infer_tensors(copy, {symbol: pair[which] for symbol, pair in pairs.items()}))
    first, second = found
    by_sizes = {pair: symbol for symbol, pair in pairs.items()}
    return {name: _spec(tensor, second[name], by_sizes) for name, tensor in first.items() if name in second}


def _spec(first: Tensor, second: Tensor, symbols: Mapping[tuple[int, int], str]) -> TensorSpec | None:
    if first.shape is None or second.shape is None or len(first.shape) != len(second.shape):
        return None
    sizes = [a if a == b else _dimension(a, b, symbols) for a, b in zip(first.shape, second.shape, strict=True)]
    try:
        return TensorSpec.model_validate({"dtype": first.dtype, "shape": sizes})
    except ValidationError:  # a size without a name, or a type that no engine takes
        return None


def _dimension(first: int, second: int, symbols: Mapping[tuple[int, int], str]) -> str | None:
    """What a size is that took these two values."""
    for (one, other), symbol in symbols.items():
        times, rest = divmod(first, one)
        if not rest and second == times * other:
            return symbol if times == 1 else f"{times}*{symbol}"
    return None
