"""FP16 as a pass over a checked FP32 file: which nodes compute in half, and the graph with exactly these in half.

TensorRT is strongly typed: a layer computes in the type its tensors have in the ONNX graph. So a precision is a graph,
and this pass writes it: nodes, names and taps are those of the FP32 file, with casts where half and float32 meet.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mgts_trt.bundle.operators import DOMAIN, MAPS
from mgts_trt.errors import PrecisionError

HALF_MAX = float(np.finfo(np.float16).max)
"""65504: what is greater is infinite in half."""

HEADROOM = 4.0
"""How many times the greatest value measured must fit into half: other pictures may give greater ones."""

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that compute in half where their second input is a constant, a weight: the bulk of the work."""

FOLLOWERS = frozenset({"Add", "Clip", "MaxPool", "Relu"})
"""What completes a layer, in half behind it. In half these round no more than the layer's own output does."""

MOVERS = frozenset({"Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that only lay out the values they get, in half where they get half. Behind them nothing but another layer
is in half: there begin coordinates, ranking and probabilities. What takes a part of a tensor is no mover: one cast
before two slices is fewer than two behind them."""


class Tensors:
    """Who makes, and what is known about, each tensor of a graph whose types have been inferred (`save_checked`)."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.types = {name: tensor.data_type for name, tensor in self.initializers.items()}
        for value in (*graph.input, *graph.output, *graph.value_info):
            self.types[value.name] = value.type.tensor_type.elem_type
        self.maker = {name: node for node in graph.node for name in node.output}
        self.constant = set(self.initializers)
        for node in graph.node:
            if all(name in self.constant for name in node.input if name):
                self.constant.update(node.output)

    def floats(self, names: Collection[str]) -> list[str]:
        """Those of `names` that are float32."""
        return [name for name in names if self.types.get(name) == TensorProto.FLOAT]

    def data(self, node: NodeProto) -> list[str]:
        """A node's float32 inputs that depend on the model's inputs."""
        return [name for name in self.floats(node.input) if name not in self.constant]

    def maps(self, node: NodeProto) -> list[str]:
        """The inputs of an operator of the domain `mgts` that it takes in half as well; none of other nodes."""
        return list(node.input[: MAPS[node.op_type]]) if node.domain == DOMAIN else []

    def is_layer(self, node: NodeProto) -> bool:
        """Whether a node is a product with weights."""
        return node.op_type in LAYERS and node.input[1] in self.constant and bool(self.data(node))

    def values(self, name: str) -> np.ndarray | None:
        """The values of an initialiser, or of one behind a Cast, in its shape and stored type; None for others."""
        if name in self.maker and self.maker[name].op_type == "Cast":
            name = self.maker[name].input[0]
        return numpy_helper.to_array(self.initializers[name]) if name in self.initializers else None


def half_nodes(
    model: ModelProto, largest: Mapping[str, float] | None = None, *, keep: Collection[str] = ()
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Decide which nodes compute in half.

    Layers with weights do, with what completes them (`FOLLOWERS`) and what moves their values (`MOVERS`); so does
    `AlignRois` where its map is in half: it rounds once, as the cast behind it would. All else is float32:
    normalisation of pixels, averages, anchors and boxes, NMS and ranking, probabilities, and the final L2
    normalisation. A node that reads or writes values too great for half stays in float32.

    Args:
        model: In float32, with inferred types and unique names of nodes.
        largest: Tensor → greatest magnitude measured (`mgts_trt.precisions.ranges`); what is missing is taken to fit.
        keep: Names of nodes to leave in float32 besides, as a study of sensitivity does.

    Returns:
        Names of the nodes that compute in half; and those of layers and followers kept in float32 for their values.
    """
    tensors = Tensors(model)
    peak = dict(largest or {})
    half: set[str] = set()
    computed: set[str] = set()  # tensors made in half by layers and followers
    moved: set[str] = set()  # these, and what movers make of them
    overflowing = []
    for node in model.graph.node:
        data = tensors.data(node)
        if not data:
            continue
        aligns = (node.domain, node.op_type) == (DOMAIN, "AlignRois")
        if node.op_type in MOVERS or aligns:
            sources = tensors.maps(node) if aligns else data
            for name in node.output:
                peak.setdefault(name, max(peak.get(source, 0.0) for source in sources))
            if node.name not in keep and all(name in moved for name in sources):
                half.add(node.name)
                moved.update(tensors.floats(node.output))
            continue
        follows = node.op_type in FOLLOWERS and all(name in computed for name in data)
        if node.name in keep or not (follows or tensors.is_layer(node)):
            continue
        values = (peak.get(name, 0.0) * HEADROOM for name in (*data, *node.output))
        constants = (_magnitude(tensors, name) for name in node.input)
        if not all(value <= HALF_MAX for value in (*values, *constants)):  # as NaN is not
            overflowing.append(node.name)
            continue
        half.add(node.name)
        computed.update(tensors.floats(node.output))
        moved.update(tensors.floats(node.output))
    return frozenset(half), tuple(overflowing)


def to_half(model: ModelProto, nodes: Collection[str], largest: Mapping[str, float] | None = None) -> ModelProto:
    """The same graph with these nodes in half and the fewest casts.

    Weights are converted, not cast; one that is stored in half behind a Cast loses the Cast. A tensor that both kinds
    of nodes read is cast once. Inputs and outputs of the model keep their types.

    Args:
        model: In float32, with inferred types and unique names of nodes; it is not changed.
        nodes: Names of the nodes to compute in half.
        largest: Tensor → greatest magnitude measured; what is missing is taken to fit.

    Raises:
        PrecisionError: A name is unknown, or a value or weight that is to be half overflows; the message names the
            layer.
    """
    if unknown := sorted(set(nodes) - {node.name for node in model.graph.node}):
        raise PrecisionError(f"There is no node {unknown[0]!r} in the model; name nodes as the FP32 file does.")
    result = ModelProto()
    result.CopyFrom(model)
    tensors = Tensors(model)
    _refuse_overflow(model, tensors, nodes, largest or {})
    made_half = {name for node in model.graph.node if node.name in nodes for name in tensors.floats(node.output)}
    outputs = {value.name for value in model.graph.output}
    # An output keeps its name and type: the half tensor before it takes another name.
    own = {name: f"{name}.half" if name in outputs else name for name in made_half}
    written: list[NodeProto] = []
    known: dict[str, str] = {}
    halves: list[TensorProto] = []

    def cast(name: str, source: str, to: int) -> str:
        if name not in known:
            known[name] = name
            written.append(helper.make_node("Cast", [source], [name], name=f"{name}.cast", to=to))
        return name

    def as_half(name: str) -> str:
        if name in made_half:
            return own[name]
        maker = tensors.maker.get(name)
        if name in tensors.constant and maker is not None and maker.op_type == "Cast":
            source: str = maker.input[0]
            if tensors.types.get(source) == TensorProto.FLOAT16:
                return source
        if name in tensors.initializers:
            if name not in known:
                known[name] = f"{name}.half"
                values = numpy_helper.to_array(tensors.initializers[name]).astype(np.float16)
                halves.append(numpy_helper.from_array(values, known[name]))
            return known[name]
        return cast(f"{name}.half", name, TensorProto.FLOAT16)

    def as_float(name: str) -> str:
        if name not in made_half:
            return name
        return cast(name if name in outputs else f"{name}.float", own[name], TensorProto.FLOAT)

    for node in result.graph.node:
        in_half = node.name in nodes
        floats = set(tensors.floats(node.input))
        if node.op_type == "Shape":  # of any type, as it is there
            floats -= made_half
            node.input[0] = own.get(node.input[0], node.input[0])
        maps = tensors.maps(node)
        if node.domain == DOMAIN:
            as_they_are = bool(maps) and all(name in made_half for name in maps)
            halves_read = set(maps) if as_they_are else set()
        else:
            halves_read = floats if in_half else set()
        names = [
            (as_half if name in halves_read else as_float)(name) if name in floats else name for name in node.input
        ]
        del node.input[:]
        node.input.extend(names)
        if in_half:
            names = [own.get(name, name) for name in node.output]
            del node.output[:]
            node.output.extend(names)
            _set_type(node, TensorProto.FLOAT16)
        written.append(node)
    for name in sorted(made_half & outputs):
        as_float(name)
    result.graph.initializer.extend(halves)
    write_nodes(result, written)
    del result.graph.value_info[:]  # of the types before
    return result


def simulate_rounding(model: ModelProto) -> ModelProto:
    """A model with half tensors as one that computes in float32 and rounds every such tensor to half.

    ONNX Runtime has no half kernels on CPUs: it widens such nodes to float32 and drops the casts between them, so that
    running the file itself shows next to none of the rounding a GPU does. Here each half tensor becomes a float32
    tensor of half values. A GPU that fuses operators rounds less often, never more.

    Args:
        model: As `to_half` gives it, with inferred types. It is not changed.
    """
    result = ModelProto()
    result.CopyFrom(model)
    tensors = Tensors(model)
    written: list[NodeProto] = []

    def widen(source: str, target: str) -> None:
        written.append(helper.make_node("Cast", [source], [target], name=f"{target}.widen", to=TensorProto.FLOAT))

    def is_half(name: str) -> bool:
        return tensors.types.get(name) == TensorProto.FLOAT16

    for value in result.graph.output:
        if is_half(value.name):
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in result.graph.initializer:
        if is_half(tensor.name):
            widen(f"{tensor.name}.stored", tensor.name)
            tensor.name = f"{tensor.name}.stored"
    for node in result.graph.node:
        rounded = [name for name in node.output if is_half(name)]
        if node.op_type == "Cast" and rounded:  # float32 → half
            node.output[0] = f"{rounded[0]}.rounded"
        else:
            _set_type(node, TensorProto.FLOAT)
            for i, name in enumerate(node.output):
                if name in rounded:
                    node.output[i] = f"{name}.exact"
        written.append(node)
        for name in rounded:
            if node.op_type != "Cast":
                exact, half = f"{name}.exact", f"{name}.rounded"
                written.append(helper.make_node("Cast", [exact], [half], name=half, to=TensorProto.FLOAT16))
            widen(f"{name}.rounded", name)
    write_nodes(result, written)
    del result.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True, data_prop=True)


def _set_type(node: NodeProto, dtype: int) -> None:
    """Let an operator of the domain `mgts` that chooses its output's type give `dtype`."""
    for attribute in node.attribute if node.domain == DOMAIN else ():
        if attribute.name == "dtype":
            attribute.i = dtype


def _refuse_overflow(model: ModelProto, tensors: Tensors, nodes: Collection[str], largest: Mapping[str, float]) -> None:
    for node in model.graph.node:
        if node.name not in nodes:
            continue
        for name in (*node.input, *node.output):
            value = _magnitude(tensors, name) if name in tensors.constant else largest.get(name, 0.0) * HEADROOM
            if not value <= HALF_MAX:
                what = (
                    f"its constant {name} reaches {value:.4g}"
                    if name in tensors.constant
                    else f"its values in {name} reach {largest[name]:.4g} on the pictures measured, and a "
                    f"{HEADROOM:g} times greater one must fit"
                )
                raise PrecisionError(
                    f"The layer {node.name} ({node.op_type}) cannot be in half, which ends at {HALF_MAX:g}: {what}. "
                    "Keep it in float32."
                )


def _magnitude(tensors: Tensors, name: str) -> float:
    """Greatest magnitude of a float constant whose values are known."""
    if name not in tensors.constant or tensors.types.get(name) != TensorProto.FLOAT:
        return 0.0
    values = tensors.values(name)
    return float(np.abs(values).max(initial=0)) if values is not None else 0.0


def write_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    """Make these the graph's nodes, less those that only feed nothing, and drop constants nobody reads."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    used = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            used.append(NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(reversed(used))
    kept = [TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(kept)
