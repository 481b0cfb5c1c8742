"""Proof that a TensorRT network works in the precision it was exported for.

A strongly typed network computes each layer in the type of its inputs: a cast that was forgotten, or a dequantise layer
in the wrong place, gives a plan that is right, slow, and silent about it. So the MACs of each convolution and product
are counted (`mgts_trt.bundle.macs`) and credited to the precision that feeds it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgts_trt.bundle import macs
from mgts_trt.bundle.macs import Operand, Work, Workload, macs_text, share, share_text, working_precision
from mgts_trt.errors import BuildError
from mgts_trt.plans.builder.parsing import origin
from mgts_trt.plans.flavour import Flavour

_OPS = {
    "CONVOLUTION": ("Conv", "IConvolutionLayer"),
    "DECONVOLUTION": ("ConvTranspose", "IDeconvolutionLayer"),
    "MATRIX_MULTIPLY": ("MatMul", "IMatrixMultiplyLayer"),
    "EINSUM": ("Einsum", "IEinsumLayer"),
}
"""Type of a layer that computes → the ONNX operator it stands for, and TensorRT's class of it."""

_RESHAPING = frozenset({"SHUFFLE", "SQUEEZE", "UNSQUEEZE"})
"""Layers behind which a tensor is the same numbers: the parser itself puts them between weights and product."""


def measure(flavour: Flavour, network: Any, shapes: Mapping[str, Sequence[int]]) -> Workload:
    """What a network computes, layer by layer; what depends on constants alone is computed at build and not counted.

    Args:
        flavour: The installed TensorRT.
        network: As parsed; it is as before when this returns.
        shapes: Input → shape to count it at, for inputs that have dynamic dimensions.

    Raises:
        BuildError: The shape of a layer depends on the data.
    """
    with _resized(network, shapes):
        return Workload(tuple(_work(flavour, [network.get_layer(i) for i in range(network.num_layers)])))


def require_share(workload: Workload, precision: str, least: float, path: Path) -> None:
    """Raise `BuildError`, naming the largest layers that do not, unless enough of the work is done in `precision`.

    Args:
        workload: Of the network.
        precision: The one asked for.
        least: Share of the MACs, 0…1.
        path: The ONNX file.
    """
    found = share(workload.by_precision, precision)
    if found is None or found >= least:
        return
    worst = "; ".join(str(layer) for layer in workload.largest(3, besides=precision))
    raise BuildError(
        f"{path} is to be {precision}, but of its {macs_text(workload.total)} {share_text(workload.by_precision)} "
        f"(at least {least:.0%} {precision} expected). The largest others: {worst}. Give these layers inputs in "
        f"{precision} and export the bundle again, or lower min_share in the recipe's [precision.{precision}]."
    )


@contextmanager
def _resized(network: Any, shapes: Mapping[str, Sequence[int]]) -> Iterator[None]:
    """Give the network's inputs other shapes for a while; TensorRT works out those of all other tensors anew."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    before = [(tensor, tuple(tensor.shape)) for tensor in inputs if tensor.name in shapes]
    try:
        for tensor, _ in before:
            tensor.shape = tuple(shapes[tensor.name])
        yield
    finally:
        for tensor, shape in before:
            tensor.shape = shape


def _work(flavour: Flavour, layers: Sequence[Any]) -> Iterator[Work]:
    maker: dict[str, Any] = {}
    constants: set[str] = set()
    for layer in layers:  # in an order in which every tensor is made before it is used
        inputs = [tensor for i in range(layer.num_inputs) if (tensor := layer.get_input(i)) is not None]
        kind = layer.type.name
        constant = kind == "CONSTANT" or (bool(inputs) and all(tensor.name in constants for tensor in inputs))
        for i in range(layer.num_outputs):
            output = layer.get_output(i).name
            maker[output] = layer
            if constant:
                constants.add(output)
        if kind not in _OPS or constant:
            continue
        op, class_name = _OPS[kind]
        layer.__class__ = getattr(flavour.module, class_name)  # TensorRT hands layers out as their base class
        if any(size < 0 for tensor in (*inputs, layer.get_output(0)) for size in tensor.shape):
            raise BuildError(
                f"The shape of {origin(layer)} ({op}) depends on the data or on an input without a profile: its work "
                "cannot be counted, nor the plan be captured. Give it a static shape and export the bundle again."
            )
        # The second input of a convolution is missing where the weights lie in the layer, the third is its bias.
        factors = inputs if kind == "EINSUM" else [layer.get_input(i) for i in range(min(layer.num_inputs, 2))]
        operands = [_operand(flavour, tensor, maker) for tensor in factors if tensor is not None]
        if len(operands) == 1:
            operands.append(Operand(operands[0].dtype))
        yield Work(origin(layer), op, _macs(flavour, kind, layer, inputs), working_precision(*operands))


def _macs(flavour: Flavour, kind: str, layer: Any, inputs: Sequence[Any]) -> int:
    source, output = tuple(inputs[0].shape), tuple(layer.get_output(0).shape)
    if kind == "CONVOLUTION":
        return macs.convolution(output, (output[1], source[1] // layer.num_groups, *layer.kernel_size_nd))
    if kind == "DECONVOLUTION":
        return macs.deconvolution(source, (source[1], output[1] // layer.num_groups, *layer.kernel_size_nd))
    if kind == "MATRIX_MULTIPLY":
        transposed = layer.op0 == flavour.module.MatrixOperation.TRANSPOSE
        return macs.product(output, source[-2 if transposed else -1])
    # TensorRT knows no ellipsis in an einsum: its indices all have names.
    return macs.einsum(layer.equation, [tuple(tensor.shape) for tensor in inputs]) or 0


def _operand(flavour: Flavour, tensor: Any, maker: Mapping[str, Any]) -> Operand:
    """A factor, with the type it is stored in where it comes straight from a dequantise layer."""
    source = maker.get(tensor.name)
    while source is not None and source.type.name in _RESHAPING:
        source = maker.get(source.get_input(0).name)
    stored = source.get_input(0).dtype if source is not None and source.type.name == "DEQUANTIZE" else None
    return Operand(flavour.dtype(tensor.dtype), None if stored is None else flavour.dtype(stored))
