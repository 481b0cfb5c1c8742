"""Nodes written one after another into a graph, each with a name of its own."""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from mgts_trt._typing import Array
from mgts_trt.importing.detectors.folding import replace_nodes


class NodeWriter:
    """Writes nodes and constants whose names begin with a prefix.

    Attributes:
        nodes: Written so far, in order.
        initializers: Constants they read.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.initializers: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def __call__(
        self, op: str, *inputs: str | Array, output: str | None = None, domain: str = "", **attributes: Any
    ) -> str:
        """Write a node of one output.

        Args:
            op: Its operator.
            inputs: Tensors by name, or constants.
            output: Name of what it gives; made up if None.
            domain: Of the operator.
            attributes: Of the node.

        Returns:
            Name of what it gives.
        """
        name = f"{self.prefix}.{op}_{len(self.nodes)}"
        given = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        result = output or f"{name}.out"
        self.nodes.append(helper.make_node(op, given, [result], name=name, domain=domain, **attributes))
        return result

    def constant(self, value: Array) -> str:
        """A constant, equal ones once; its name."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            self._constants[key] = f"{self.prefix}.constant_{len(self._constants)}"
            self.initializers.append(
                numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), self._constants[key])
            )
        return self._constants[key]

    def columns(self, tensor: str, first: int, last: int, axis: int = 2) -> str:
        """The part `first` … `last` (exclusive) of a tensor along an axis."""
        return self("Slice", tensor, ints(first), ints(last), ints(axis))

    def into(self, model: ModelProto, *, front: bool = False) -> None:
        """Put what was written into a model, before its nodes or behind them."""
        nodes = [*self.nodes, *model.graph.node] if front else [*model.graph.node, *self.nodes]
        replace_nodes(model, nodes)
        model.graph.initializer.extend(self.initializers)


def write_unit_rows(write: NodeWriter, rows: str, axis: int, output: str | None = None) -> str:
    """Write the nodes that bring what lies along an axis to length 1.

    Divided by the largest number first: squares of features beyond 255 do not fit into half.
    """
    largest = write("ReduceMax", write("Abs", rows), ints(axis), keepdims=1)
    scaled = write("Div", rows, write("Max", largest, floats(1e-12)))
    length = write("ReduceL2", scaled, ints(axis), keepdims=1)
    return write("Div", scaled, write("Max", length, floats(1e-6)), output=output)


def ints(*values: int) -> Array:
    """int64 [n]."""
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    """float32 [n]."""
    return np.array(values, np.float32)
