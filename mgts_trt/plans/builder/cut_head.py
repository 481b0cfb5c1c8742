"""MGTS's ONNX file without its head: cut at the two feature maps, the head's weights read from what is cut away.

The CUDA kernel that takes the head's place computes one head and no other. So what is cut away is written down step by
step, as text, and must be the text of that head.
"""

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.onnx_graph import import_onnx, load_onnx
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError
from mgts_trt.plans.head_form import FEATURES
from mgts_trt.stages.head import HeadWeights

_HEAD = (
    "ReduceMean(foreground_features, [2, 3], keepdims=0)",
    "ReduceMean(original_features, [2, 3], keepdims=0)",
    "Concat(#1, #2, axis=1)",
    "Gemm(#3, matrix, alpha=1.0, transA=0, transB=1)",
    "Relu(#4)",
    "Gemm(#5, matrix, alpha=1.0, transA=0, transB=1)",
    "Sigmoid(#6)",
    "Mul(#3, #7)",
    "Gemm(#8, matrix, alpha=1.0, transA=0, transB=1)",
    "ReduceL2(#9, [1], keepdims=1)",
    "Clip(#10, 1e-12)",
    "Div(#9, #11)",
)
"""What `mgts_trt.stages.head.fused_head` computes, in the exporter's operators, as `_Steps` writes them."""

_NEUTRAL = frozenset({"beta", "noop_with_empty_axes"})
"""Attributes that change nothing where there is no bias and the axes are named."""

_FEW = 4
"""Elements up to which a constant is written out."""


class Headless(NamedTuple):
    """A model cut at its feature maps.

    Attributes:
        model: What is left: an ONNX model whose outputs are `FEATURES`.
        outputs: The two maps, of the type they are computed in: float16 in FP16 and INT8 files.
        weights: Of the head that was cut away, float32.
    """

    model: Any
    outputs: dict[str, TensorSpec]
    weights: HeadWeights


def cut_head(path: Path) -> Headless:
    """Cut an MGTS file at its feature maps.

    The casts and the quantisation between the head's layers go with it: the kernel computes in float32 from the maps
    as they are. Weights in half are widened, those in INT8 are dequantised, so that of an INT8 file the two streams run
    in INT8 and the head does not.

    Args:
        path: The ONNX file.

    Raises:
        BuildError: What follows the feature maps is not the head the kernel computes, or it cannot read such maps.
        OnnxError: The file cannot be read.
    """
    onnx = import_onnx()
    from onnx.utils import Extractor

    model = onnx.shape_inference.infer_shapes(load_onnx(path))
    extractor = Extractor(model)
    steps = _Steps(path, model, lambda name: _evaluate(extractor, name))
    steps.require(_HEAD)
    outputs = {name: _spec(path, name, extractor.value_infos) for name in FEATURES}
    first, second = outputs.values()
    if first != second:
        raise BuildError(
            f"{path}: {FEATURES[0]} is {first} and {FEATURES[1]} is {second}, but the fused head reads two maps of one "
            "type and shape. Build with --head graph."
        )
    weights = HeadWeights(*(np.asarray(matrix, np.float32) for matrix in steps.matrices))
    cut = extractor.extract_model([value.name for value in model.graph.input], list(FEATURES))
    return Headless(cut, outputs, weights)


class _Steps:
    """What a model computes from `FEATURES` to its output, one text a step.

    A step names what it reads: a feature map, an earlier step (`#3`), a short constant by its value, weights as
    `matrix`. Casts between float types do not count, nor do a quantise and a dequantise node of one scale.

    Args:
        path: Named in messages.
        model: The ONNX model.
        evaluate: Gives the value of a constant by its name.

    Attributes:
        texts: The steps; each comes after those it reads.
        matrices: The weights in the order they are read.

    Raises:
        BuildError: There are no feature maps, or several outputs.
    """

    def __init__(self, path: Path, model: Any, evaluate: Callable[[str], Array]) -> None:
        self.path, self.texts, self.matrices = path, list[str](), list[Array]()
        self._evaluate = evaluate
        self._opset = {entry.domain: entry.version for entry in model.opset_import}
        self._maker = {output: node for node in model.graph.node for output in node.output}
        self._constants = {tensor.name for tensor in model.graph.initializer}
        self._behind: set[str] = set()  # computed from the feature maps
        for node in model.graph.node:
            given = [name for name in node.input if name]
            if any(name in FEATURES or name in self._behind for name in given):
                self._behind.update(node.output)
            elif all(name in self._constants for name in given):
                self._constants.update(node.output)
        outputs = [value.name for value in model.graph.output]
        missing = [name for name in FEATURES if name not in self._maker]
        if missing or len(outputs) != 1:
            found = f"no tensor {missing[0]}" if missing else f"the outputs {', '.join(outputs)}"
            raise BuildError(
                f"{path} has {found}; a fused head makes its one output of {' and '.join(FEATURES)}. Export the bundle "
                "again with this version, or build with --head graph."
            )
        self._numbers: dict[str, str] = {}
        self._write(outputs[0])

    def require(self, head: tuple[str, ...]) -> None:
        """Raise `BuildError`, naming the first step that differs, unless the steps are these."""
        for number, (found, expected) in enumerate(zip_longest(self.texts, head, fillvalue="nothing"), 1):
            if found != expected:
                raise BuildError(
                    f"{self.path} does not end in the head that the fused kernel computes: behind the feature maps, "
                    f"step {number} is {found}, and {expected} was expected. Build with --head graph."
                )

    def _write(self, tensor: str) -> str:
        """Write down what computes a tensor, and return what it is called."""
        tensor = self._origin(tensor)
        if tensor in self._constants:
            return self._constant(tensor)
        if tensor not in self._behind:
            return tensor or "nothing"
        if tensor not in self._numbers:
            node = self._maker[tensor]
            words = [self._write(name) for name in node.input]
            words += [f"{name}={value}" for name, value in sorted(self._attributes(node).items())]
            self.texts.append(f"{node.op_type}({', '.join(words)})")
            self._numbers[tensor] = f"#{len(self.texts)}"
        return self._numbers[tensor]

    def _origin(self, tensor: str) -> str:
        """The tensor that has the same numbers before it was cast or quantised."""
        from onnx import TensorProto

        floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
        while tensor in self._behind:
            node = self._maker[tensor]
            before = self._maker.get(node.input[0])
            if node.op_type == "Cast" and node.attribute[0].i in floats:
                tensor = node.input[0]
            elif (
                node.op_type == "DequantizeLinear"
                and before is not None
                and before.op_type == "QuantizeLinear"
                and list(before.input[1:]) == list(node.input[1:])
            ):
                tensor = before.input[0]
            else:
                break
        return tensor

    def _constant(self, name: str) -> str:
        value = self._evaluate(name)
        if value.ndim == 2:
            self.matrices.append(value)
            return "matrix"
        if value.size > _FEW:
            return f"{value.dtype} {list(value.shape)}"
        return f"{value:.4g}" if value.ndim == 0 else str(value.tolist())

    def _attributes(self, node: Any) -> dict[str, Any]:
        """An operator's attributes, with ONNX's defaults for those the node does not name."""
        from onnx import defs, helper

        defaults = []
        if defs.has(node.op_type, node.domain):
            schema = defs.get_schema(node.op_type, self._opset[node.domain], node.domain)
            defaults = [each.default_value for each in schema.attributes.values() if each.default_value.name]
        values = {each.name: helper.get_attribute_value(each) for each in (*defaults, *node.attribute)}
        return {name: value for name, value in values.items() if name not in _NEUTRAL}


def _evaluate(extractor: Any, name: str) -> Array:
    """A constant of a model: stored, or computed (widened, dequantised) from what is stored."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    if name in extractor.initializers:
        return np.asarray(numpy_helper.to_array(extractor.initializers[name]))
    evaluator: Any = ReferenceEvaluator(extractor.extract_model([], [name]))
    return np.asarray(evaluator.run(None, {})[0])


def _spec(path: Path, name: str, infos: dict[str, Any]) -> TensorSpec:
    from onnx import helper

    kind = infos[name].type.tensor_type if name in infos else None
    dtype = helper.tensor_dtype_to_string(kind.elem_type) if kind else "unknown"
    shape = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim) if kind else ()
    known = {"TensorProto.FLOAT": "float32", "TensorProto.FLOAT16": "float16"}
    if dtype not in known or len(shape) != 4 or any(isinstance(size, str) or not size for size in shape[1:]):
        raise BuildError(
            f"{path}: {name} is {dtype} {list(shape)}, but the fused head reads float or half maps of known size, "
            "[N, C, h, w]. Build with --head graph."
        )
    return TensorSpec.model_validate({"dtype": known[dtype], "shape": shape})
