"""A network cut at its operators into a chain: models that become engines, and operators that kernels compute.

An operator waits for what it reads, and what reads it waits for the operator. So every tensor has a *stage*: the
number of operators, one after the other, on the longest way to it. Engine k computes the tensors of stage k, then the
operators run that read only those, then engine k + 1. Constants belong to no stage, nor do values that follow from
shapes: they are computed anew wherever they are read, since an engine cannot take a shape from the device.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle import operators
from mgts_trt.bundle.onnx_graph import import_onnx
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError
from mgts_trt.plans.builder.one_picture import with_known_shapes
from mgts_trt.plans.builder.tensor_specs import tensor_specs
from mgts_trt.plans.chain import Attribute, OperatorStep

_SHAPES = frozenset({"Shape", "Size"})


class Part(NamedTuple):
    """A piece of a network that becomes an engine.

    Attributes:
        model: In standard operators.
        inputs: Name → tensor.
        outputs: Name → tensor.
    """

    model: Any
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class Cut(NamedTuple):
    """A network as a chain; see `mgts_trt.plans.chain`.

    Attributes:
        steps: In the order they run.
        tensors: Every tensor that a step reads or writes, constants too.
        constants: Those that operators read, float32.
    """

    steps: tuple[Part | OperatorStep, ...]
    tensors: dict[str, TensorSpec]
    constants: dict[str, Array]


def cut(model: Any, path: Path) -> Cut:
    """Cut a model at every operator of the domain `mgts` that it calls.

    Args:
        model: An ONNX model, weights included; it stays as it is.
        path: Its file, for messages.

    Raises:
        BuildError: It was exported with another version of the operators, calls one in a branch or loop, or a tensor
            at a cut has a size that is not known before it runs.
        OnnxError: It calls an operator that does not exist.
    """
    return _Cutter(model, path).cut()


class _Cutter:
    def __init__(self, model: Any, path: Path) -> None:
        _require_version(model, path)
        self.path, self.model = path, _with_bodies_of_ours(model)
        self.specs = tensor_specs(self.model)
        graph = self.model.graph
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.initializers]
        self.outputs = [value.name for value in graph.output]
        self.nodes = with_known_shapes(list(graph.node), self.specs)
        self.reads = [list(dict.fromkeys(_reads(node))) for node in self.nodes]
        self.maker = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}
        self.constant = set(self.initializers)
        self.free = set(self.initializers)  # constants, and what follows from shapes
        self.stage = dict.fromkeys((*self.inputs, *self.initializers), 0)
        self._follow()
        self.needed = self._needed()

    def cut(self) -> Cut:
        calls = [index for index in sorted(self.needed) if self.is_operator(index)]
        read_by_operators = {name for index in calls for name in self.reads[index]} - self.constant
        taken = read_by_operators | set(self.outputs)
        stages = [self._engine(stage, taken) for stage in range(1 + max(self._stage_of(i) for i in self.needed))]
        taken = taken.union(*(inputs for _, inputs, _ in stages))
        tensors: dict[str, TensorSpec] = {}
        constants: dict[str, Array] = {}
        steps: list[Part | OperatorStep] = []
        for stage, (nodes, inputs, own) in enumerate(stages):
            outputs = [name for index in nodes for name in self.nodes[index].output if name in own & taken]
            if outputs:
                part = Part(
                    self._model(nodes, inputs, outputs),
                    {name: self._spec(name) for name in inputs},
                    {name: self._spec(name) for name in outputs},
                )
                tensors |= part.inputs | part.outputs
                steps.append(part)
            for index in calls:
                if self._stage_of(index) == stage:
                    step = self._operator(index)
                    for name in step.inputs:
                        if name in self.constant and name not in constants:
                            constants[name] = self._value(name)
                            tensors[name] = TensorSpec(dtype="float32", shape=constants[name].shape)
                    passing = (name for name in (*step.inputs, *step.outputs) if name not in constants)
                    tensors |= {name: self._spec(name) for name in passing}
                    steps.append(step)
        return Cut(tuple(steps), tensors, constants)

    def is_operator(self, index: int) -> bool:
        """Whether a node calls an operator of the domain."""
        return bool(self.nodes[index].domain == operators.DOMAIN)

    def _follow(self) -> None:
        """Find the stage of each tensor, and which are constants or follow from shapes."""
        for index, node in enumerate(self.nodes):
            _require_flat(node, self.path)
            reads, called = self.reads[index], self.is_operator(index)
            stage = max((self.stage.get(name, 0) for name in reads), default=0) + called
            self.stage |= dict.fromkeys((name for name in node.output if name), stage)
            if not called and all(name in self.constant for name in reads):
                self.constant.update(node.output)
            if not called and (node.op_type in _SHAPES or all(name in self.free for name in reads)):
                self.free.update(node.output)

    def _stage_of(self, index: int) -> int:
        """The engine a node is computed in; of an operator, the one it runs behind."""
        return max((self.stage.get(name, 0) for name in self.reads[index]), default=0)

    def _needed(self) -> set[int]:
        """The nodes on a way to an output."""
        needed: set[int] = set()
        left = [name for name in self.outputs if name in self.maker]
        while left:
            index = self.maker[left.pop()]
            if index not in needed:
                needed.add(index)
                left += [name for name in self.reads[index] if name in self.maker]
        if not needed:
            raise BuildError(f"{self.path} computes nothing: its outputs are its inputs. Export the bundle again.")
        return needed

    def _engine(self, stage: int, taken: set[str]) -> tuple[list[int], list[str], set[str]]:
        """One engine: its nodes, the tensors it reads, and those that it alone computes."""
        own = {
            index
            for index in self.needed
            if not self.is_operator(index)
            and self._stage_of(index) == stage
            and any(name not in self.free or name in taken for name in self.nodes[index].output)
        }
        nodes = set(own)
        left = list(own)
        while left:
            for name in self.reads[left.pop()]:
                index = self.maker.get(name)
                if name in self.free and index is not None and index not in nodes:
                    nodes.add(index)
                    left.append(index)
        ordered = sorted(nodes)
        made = {name for index in ordered for name in self.nodes[index].output}
        reads = dict.fromkeys(name for index in ordered for name in self.reads[index])
        inputs = [name for name in reads if name not in made and name not in self.initializers]
        return ordered, inputs, {name for index in own for name in self.nodes[index].output if name}

    def _operator(self, index: int) -> OperatorStep:
        from onnx import helper

        node = self.nodes[index]
        values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        attributes: dict[str, Attribute] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return OperatorStep(
            operator=node.op_type,
            node=node.name or f"node_of_{node.output[0]}",
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes=attributes,
        )

    def _spec(self, name: str) -> TensorSpec:
        spec = self.specs.get(name)
        if spec is None:
            index = self.maker.get(name)
            made = f", which {self.nodes[index].name or self.nodes[index].op_type} makes," if index is not None else ""
            raise BuildError(
                f"{self.path}: what {name}{made} looks like is not known before it runs, and it lies at a cut. Give it "
                "a static shape and export the bundle again, or build with --ops graph."
            )
        return spec

    def _value(self, name: str) -> Array:
        """A constant as float32: stored, or computed (widened, dequantised) from what is stored."""
        from onnx import helper, numpy_helper
        from onnx.reference import ReferenceEvaluator

        if name in self.initializers:
            value = np.asarray(numpy_helper.to_array(self.initializers[name]))
        else:
            nodes: set[int] = set()
            left = [name]
            while left:
                index = self.maker.get(left.pop())
                if index is not None and index not in nodes:
                    nodes.add(index)
                    left += self.reads[index]
            evaluator: Any = ReferenceEvaluator(
                self._wrap(sorted(nodes), [], [helper.make_value_info(name, helper.make_tensor_type_proto(1, None))])
            )
            value = np.asarray(evaluator.run(None, {})[0])
        if value.dtype.kind != "f":
            raise BuildError(
                f"{self.path}: the constant {name} is {value.dtype}, and operators of the domain {operators.DOMAIN} "
                "take floats. Export the bundle again."
            )
        return np.ascontiguousarray(value, np.float32).reshape(value.shape)

    def _model(self, nodes: list[int], inputs: list[str], outputs: list[str]) -> Any:
        return self._wrap(nodes, [self._info(name) for name in inputs], [self._info(name) for name in outputs])

    def _info(self, name: str) -> Any:
        from onnx import helper

        spec = self._spec(name)
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape)

    def _wrap(self, nodes: list[int], inputs: list[Any], outputs: list[Any]) -> Any:
        from onnx import helper

        used = dict.fromkeys(name for index in nodes for name in self.reads[index])
        graph = helper.make_graph(
            [self.nodes[index] for index in nodes],
            self.model.graph.name or "part",
            inputs,
            outputs,
            [self.initializers[name] for name in used if name in self.initializers],
        )
        opsets = [entry for entry in self.model.opset_import if entry.domain != operators.DOMAIN]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.model.ir_version)


def _with_bodies_of_ours(model: Any) -> Any:
    """A copy in which only our operators are functions, with the bodies that the kernels compute."""
    onnx = import_onnx()
    from onnx import inliner

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    operators.drop_functions(copy)
    if copy.functions:
        copy = inliner.inline_local_functions(copy)
    operators.add_functions(copy)
    return copy


def _require_version(model: Any, path: Path) -> None:
    for entry in model.opset_import:
        if entry.domain == operators.DOMAIN and entry.version != operators.VERSION:
            raise BuildError(
                f"{path} calls operators of the domain {entry.domain} in version {entry.version}, and the kernels here "
                f"compute version {operators.VERSION}. Export the bundle again, or build with --ops graph."
            )


def _require_flat(node: Any, path: Path) -> None:
    """Raise `BuildError` if a branch or loop of the node calls an operator."""
    for graph in _inner_graphs(node):
        for inner in graph.node:
            if inner.domain == operators.DOMAIN:
                raise BuildError(
                    f"{path} calls {inner.op_type} inside {node.name or node.op_type}, and a network cannot be cut in "
                    "a branch or loop. Build with --ops graph."
                )


def _reads(node: Any) -> Iterator[str]:
    """The tensors a node needs; what its branches and loops need of those around them, too."""
    yield from (name for name in node.input if name)
    graphs = list(_inner_graphs(node))
    inside = {name for graph in graphs for inner in graph.node for name in inner.output}
    inside |= {value.name for graph in graphs for value in (*graph.input, *graph.initializer)}
    for graph in graphs:
        outside = (name for inner in graph.node for name in inner.input if name and name not in inside)
        yield from (*outside, *(value.name for value in graph.output if value.name not in inside))


def _inner_graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        for graph in (attribute.g,) if attribute.HasField("g") else tuple(attribute.graphs):
            yield graph
            for inner in graph.node:
                yield from _inner_graphs(inner)
