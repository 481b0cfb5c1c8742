"""What an ONNX file computes, read without a runtime: its tensors, weights, operators, and work.

This needs the package onnx, which the extras `rtx` and `tensorrt` bring.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mgts_trt.bundle import macs
from mgts_trt.bundle.macs import Operand, Work, Workload, working_precision
from mgts_trt.errors import OnnxError

INSTALL_ONNX = "pip install onnx"

_LARGE = 1024
"""Weights of more elements are no shapes: the inference of shapes only needs their own."""

_RESHAPING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""As in `mgts_trt.plans.builder.proof`: operators behind which a tensor is the same numbers."""

STANDARD = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""


class OnnxGraph(NamedTuple):
    """What an ONNX file holds.

    Attributes:
        opset: Domain → version; the standard domain is `ai.onnx`.
        inputs: Name → type and shape, as a person reads them; a dynamic dimension has its name.
        outputs: Likewise.
        sizes: Dynamic dimension → size the work was counted at.
        parameters: Number of weights: elements of constants of floating or 8-bit types.
        weights: Element type → bytes of the constants.
        operators: Operator → number of nodes, the most first.
        workload: Convolutions and products.
        uncounted: Names of those whose shape could not be inferred.
    """

    opset: dict[str, int]
    inputs: dict[str, str]
    outputs: dict[str, str]
    sizes: dict[str, int]
    parameters: int
    weights: dict[str, int]
    operators: dict[str, int]
    workload: Workload
    uncounted: tuple[str, ...]


class Tensor(NamedTuple):
    """Element type by NumPy's name, and shape where it could be inferred."""

    dtype: str
    shape: tuple[int, ...] | None


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        OnnxError: It is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise OnnxError(
            f"Reading ONNX files needs the package onnx, and it is not installed: `{INSTALL_ONNX}`."
        ) from error
    return onnx


def load_onnx(path: Path, *, weights: bool = True) -> Any:
    """Read an ONNX file; without `weights`, those in other files are left where they are.

    Raises:
        OnnxError: The package onnx is missing, or the file cannot be read.
    """
    onnx = import_onnx()
    try:
        model = onnx.load(path, load_external_data=weights)
    except Exception as error:  # protobuf's decoding errors have no common base
        raise OnnxError(f"Cannot read {path}: {error}. Export it again.") from error
    if not model.graph.node:
        raise OnnxError(f"Cannot read {path}: it holds no graph. Name an ONNX model; or export it again.")
    return model


def opset(model: Any) -> int:
    """The version of ONNX's own operators in a model; 1 where it names none, as ONNX has it."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in STANDARD), default=1)


def all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph, and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from all_nodes(inner)


def read_graph(path: Path, sizes: Mapping[str, int]) -> OnnxGraph:
    """Read what an ONNX file computes.

    Args:
        path: The file; weights in files beside it are counted, not read.
        sizes: Dynamic dimension → size to count the work at; what is missing is counted at 1.

    Raises:
        OnnxError: The package onnx is missing, or the file cannot be read.
    """
    model = load_onnx(path, weights=False)
    from onnx import inliner

    model = inliner.inline_local_functions(model)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    symbols = {
        dim.dim_param
        for value in graph.input
        if value.name not in constants
        for dim in value.type.tensor_type.shape.dim
        if dim.dim_param
    }
    bound = {symbol: sizes.get(symbol, 1) for symbol in sorted(symbols)}
    inputs = {value.name: _text(value) for value in graph.input if value.name not in constants}
    outputs = {value.name: _text(value) for value in graph.output}
    tensors = list(_constants(graph))
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[element_type(tensor.data_type)] += _bytes(tensor)
    work, uncounted = _workload(graph, constants, infer_tensors(model, bound))
    return OnnxGraph(
        opset={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        inputs=inputs,
        outputs=outputs,
        sizes=bound,
        parameters=sum(math.prod(tensor.dims) for tensor in tensors if _is_weight(element_type(tensor.data_type))),
        weights=dict(weights.most_common()),
        operators=dict(Counter(_operator(node) for node in graph.node).most_common()),
        workload=Workload(tuple(work)),
        uncounted=tuple(uncounted),
    )


def _constants(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.name == "value")


def infer_tensors(model: Any, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Type and shape of every tensor of an ONNX model; `model` loses its large weights on the way.

    Args:
        model: Without functions of its own.
        sizes: Dynamic dimension → size.

    Returns:
        Name → element type, and shape where ONNX's inference finds all of it, else None.
    """
    from onnx import helper, shape_inference

    graph = model.graph
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    # What the file says of its inner tensors holds for dimensions without a size.
    known = [value for value in graph.value_info if not any(d.dim_param for d in value.type.tensor_type.shape.dim)]
    del graph.value_info[:]
    graph.value_info.extend(known)
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
    large = [tensor for tensor in graph.initializer if math.prod(tensor.dims) > _LARGE]
    small = [tensor for tensor in graph.initializer if math.prod(tensor.dims) <= _LARGE]
    given = {value.name for value in graph.input}
    graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in large
        if tensor.name not in given
    )
    del graph.initializer[:]
    graph.initializer.extend(small)
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = {tensor.name: Tensor(element_type(tensor.data_type), tuple(tensor.dims)) for tensor in small}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
        complete = kind.HasField("shape") and None not in dims
        shape = tuple(dim for dim in dims if dim is not None) if complete else None
        tensors[value.name] = Tensor(element_type(kind.elem_type), shape)
    return tensors


def element_type(elem_type: int) -> str:
    """NumPy's name of an ONNX element type; `unknown` where it has none."""
    from onnx import TensorProto, helper

    if elem_type == TensorProto.BFLOAT16:
        return "bfloat16"
    try:
        return str(helper.tensor_dtype_to_np_dtype(elem_type))
    except (KeyError, ValueError):
        return "unknown"


def _workload(graph: Any, constants: set[str], tensors: Mapping[str, Tensor]) -> tuple[list[Work], list[str]]:
    maker = {output: node for node in graph.node for output in node.output}
    constants = set(constants)
    work, uncounted = [], []
    for node in graph.node:
        if all(name in constants for name in node.input if name):
            constants.update(node.output)
            continue
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"):
            continue
        factors = list(node.input) if node.op_type == "Einsum" else list(node.input[:2])
        name = node.name or f"node_of_{node.output[0]}"
        shapes = [tensors[factor].shape if factor in tensors else None for factor in (*factors, node.output[0])]
        whole = [shape for shape in shapes if shape is not None]
        count = _macs(node, whole[:-1], whole[-1]) if len(whole) == len(shapes) else None
        if count is None:
            uncounted.append(name)
            continue
        operands = [_operand(factor, tensors, maker) for factor in factors]
        work.append(Work(name, node.op_type, count, working_precision(*operands)))
    return work, uncounted


def _macs(node: Any, factors: list[tuple[int, ...]], output: tuple[int, ...]) -> int | None:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Conv":
        return macs.convolution(output, factors[1])
    if node.op_type == "ConvTranspose":
        return macs.deconvolution(factors[0], factors[1])
    if node.op_type == "Einsum":
        return macs.einsum(attributes["equation"].s.decode(), factors)
    transposed = "transA" in attributes and attributes["transA"].i
    return macs.product(output, factors[0][-2 if transposed else -1])


def _operand(name: str, tensors: Mapping[str, Tensor], maker: Mapping[str, Any]) -> Operand:
    source = maker.get(name)
    while source is not None and source.op_type in _RESHAPING:
        source = maker.get(source.input[0])
    stored = None
    if source is not None and source.op_type == "DequantizeLinear":
        stored = tensors.get(source.input[0])
    return Operand(tensors[name].dtype, stored.dtype if stored else None)


def _text(value: Any) -> str:
    kind = value.type.tensor_type
    dims = ", ".join(
        dim.dim_param or (str(dim.dim_value) if dim.HasField("dim_value") else "?") for dim in kind.shape.dim
    )
    return f"{element_type(kind.elem_type)} [{dims}]"


def _bytes(tensor: Any) -> int:
    from onnx import TensorProto, helper

    if tensor.data_type == TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    size: int = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return size


def _is_weight(dtype: str) -> bool:
    return "float" in dtype or dtype in ("int8", "uint8")


def _operator(node: Any) -> str:
    return node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
