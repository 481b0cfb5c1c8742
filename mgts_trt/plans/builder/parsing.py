"""From an ONNX file to a TensorRT network, with proof that nothing was lost on the way.

The parser answers True for graphs it has understood only in part, and a strongly typed network silently keeps the
types it was given. So after parsing four things are compared: the network's tensors with the manifest's, the graph's
nodes with the network's layers, what each node says with how its layer is set (`mgts_trt.plans.builder.semantics`), and
the precision the work is done in with the one asked for (`mgts_trt.plans.builder.proof`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mgts_trt.bundle.onnx_graph import load_onnx
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.listeners import Message

STRUCTURAL = frozenset(
    {
        "Cast",
        "CastLike",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Dropout",
        "Expand",
        "Flatten",
        "Identity",
        "Pad",
        "Range",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""ONNX operators that only move or describe data: the parser may fold such a node into its neighbours."""

_PASS_ALONE = frozenset({"Max", "Mean", "Min", "Sum"})
"""Operators that do nothing to a single input, and then leave no layer."""


class Node(NamedTuple):
    """One node of an ONNX graph."""

    name: str
    op: str
    must_have_layer: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.op})"


@dataclass(frozen=True)
class Layers:
    """What a network is made of.

    Attributes:
        nodes: Nodes of the ONNX graph.
        nodes_with_layer: Those that a layer names as its origin.
        by_type: Type of a layer's first output → number of layers.
    """

    nodes: int
    nodes_with_layer: int
    by_type: dict[str, int]


class Parsed(NamedTuple):
    """A network, and the parser that owns its weights: keep both until the plan is built."""

    network: Any
    parser: Any


def parse(flavour: Flavour, builder: Any, path: Path, messages: Sequence[Message]) -> Parsed:
    """Parse an ONNX file, by its path so that weights in files beside it are found.

    Args:
        flavour: The installed TensorRT.
        builder: Made by it.
        path: The ONNX file.
        messages: What TensorRT has logged so far, as `Flavour.collect` fills it.

    Raises:
        BuildError: TensorRT does not understand the file; each of its errors is named with the node.
    """
    trt = flavour.module
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    if parser.parse_from_file(str(path)):
        return Parsed(network, parser)
    errors = [_parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
    errors = errors or [message.text for message in messages if message.level == "error"] or ["it gives no reason"]
    raise BuildError(
        f"{flavour} cannot parse {path}: {'; '.join(errors)}. Replace what it names in the network and export the "
        "bundle again."
    )


def check_tensors(
    flavour: Flavour, network: Any, inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec], path: Path
) -> None:
    """Raise `BuildError` unless the network's tensors are the manifest's; a named dimension is dynamic."""
    found_inputs = [network.get_input(i) for i in range(network.num_inputs)]
    found_outputs = [network.get_output(i) for i in range(network.num_outputs)]
    for kind, found, specs in (("input", found_inputs, inputs), ("output", found_outputs, outputs)):
        names = {tensor.name: tensor for tensor in found}
        if names.keys() != specs.keys():
            raise BuildError(
                f"{path} has the {kind}s {', '.join(names)}; the manifest says {', '.join(specs)}. "
                "Export the bundle again."
            )
        for name, spec in specs.items():
            dtype, shape = flavour.dtype(names[name].dtype), tuple(names[name].shape)
            wanted = tuple(-1 if isinstance(size, str) else size for size in spec.shape)
            if (dtype, shape) != (spec.dtype, wanted):
                raise BuildError(
                    f"{path}: the {kind} {name} is {dtype} {list(shape)} to TensorRT; the manifest says {spec}. "
                    "Export the bundle again."
                )


def examine(flavour: Flavour, network: Any, path: Path) -> Layers:
    """Count the network's layers, and check that they are the whole ONNX graph.

    Args:
        flavour: The installed TensorRT.
        network: As parsed from `path`.
        path: The ONNX file.

    Raises:
        BuildError: A node that computes something has no layer.
    """
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    nodes = read_nodes(path)
    origins = [origin(layer) for layer in layers]
    if lost := nodes_without_layer(nodes, origins):
        some = ", ".join(str(node) for node in lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        raise BuildError(
            f"{flavour} parsed {path} but left out {some}: the plan would compute something else. Express these "
            "nodes in other operators and export the bundle again."
        )
    named = set(origins)
    return Layers(
        nodes=len(nodes),
        nodes_with_layer=sum(node.name in named for node in nodes),
        by_type=dict(Counter(flavour.dtype(layer.get_output_type(0)) for layer in layers if layer.num_outputs)),
    )


def nodes_without_layer(nodes: Iterable[Node], origins: Iterable[str]) -> list[Node]:
    """The nodes that compute something and for which no layer was made.

    Args:
        nodes: Of the ONNX graph.
        origins: For each layer of the network, the name of the node it was made for.
    """
    # Several layers may come from one node. Where nodes share a name, each needs a layer at least.
    left = Counter(origins)
    lost = []
    for node in nodes:
        if left[node.name]:
            left[node.name] -= 1
        elif node.must_have_layer:
            lost.append(node)
    return lost


def read_nodes(path: Path) -> list[Node]:
    """The nodes of an ONNX file, those of nested graphs too; weights in other files are not read.

    A node must have a layer unless its operator is structural (`STRUCTURAL`), or it has constant inputs only, or it
    is a sum, mean, minimum or maximum of a single tensor.

    Raises:
        BuildError: The file calls functions of its own (their nodes cannot be told apart later).
        OnnxError: It cannot be read.
    """
    model = load_onnx(path, weights=False)
    if model.functions:
        names = ", ".join(function.name for function in model.functions[:3])
        raise BuildError(f"{path} calls functions of its own ({names}). Inline them (`onnx.inliner`) and export again.")
    return [node for _, node in each_node(model.graph)]


def each_node(graph: Any, constants: Set[str] = frozenset()) -> Iterator[tuple[Any, Node]]:
    """The nodes of an ONNX graph and those nested in it, in their order, as they are and as `Node`.

    Args:
        graph: With its initialisers.
        constants: Names of the constants of the graphs around it.
    """
    constants = set(constants) | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        given = [name for name in node.input if name]
        constant = all(name in constants for name in given) and bool(given or node.op_type == "Constant")
        if constant:
            constants.update(node.output)
        passes = node.op_type in STRUCTURAL or (node.op_type in _PASS_ALONE and len(given) == 1)
        # The parser names a nameless node after what it computes.
        yield node, Node(node.name or f"node_of_{node.output[0]}", node.op_type, not (constant or passes))
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from each_node(inner, constants)


def origin(layer: Any) -> str:
    """Name of the ONNX node a layer was made for; the layer's own name where its metadata does not say."""
    metadata: str = layer.metadata
    prefix = "[ONNX Layer: "
    if metadata.startswith(prefix) and metadata.endswith("]"):
        return metadata[len(prefix) : -1]
    name: str = layer.name
    return name


def _parser_error(error: Any) -> str:
    text: str = error.desc().strip()
    name, op = error.node_name(), error.node_operator()
    return f"node {name or '(nameless)'} ({op}): {text} [{error.func()}]" if op else text
