"""That a parsed network computes what the ONNX graph says, read back layer by layer.

TensorRT's parser answers True also where it took an attribute for another one: the plan is then fast, quiet, and wrong.
Where TensorRT is known to differ from ONNX, `RULES` says what the layer made for a node must be set to, and from where
that is known. What differs is set, if that mends it, and told; else the build fails. Besides, every tensor that has a
name in both has the same type and size in both: a product that broadcasts otherwise, or a Resize to another size, shows
there.

What cannot be read from a network is left to parity on the machine that runs it. Of equal values ONNX's TopK takes the
lower index first, and TensorRT promises nothing: no result may depend on it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgts_trt.bundle.onnx_graph import Tensor, element_type, infer_tensors, load_onnx, opset
from mgts_trt.errors import BuildError
from mgts_trt.plans.builder.parsing import Node, each_node, origin
from mgts_trt.plans.flavour import Flavour

_IMPORTERS = "onnx-tensorrt, onnxOpImporters.cpp"
_OPERATORS = "onnx-tensorrt's table of operators"
_HEADER = "TensorRT's NvInferRuntimeBase.h"


_TYPES = {
    "float32": "FLOAT",
    "float16": "HALF",
    "bfloat16": "BF16",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "bool": "BOOL",
}
"""NumPy's name of a type → TensorRT's."""


class UnsupportedError(Exception):
    """No layer of TensorRT does what a node asks for; the message says what that is."""


@dataclass(frozen=True)
class Operator:
    """A node of an ONNX graph, as far as a rule looks at it.

    Attributes:
        attributes: Name → value; text as `str`.
        opset: Of the standard operators.
        tensors: Every tensor of the graph, by name.
        inputs: Names, in order.
        outputs: Names, in order.
    """

    attributes: Mapping[str, Any]
    opset: int
    tensors: Mapping[str, Tensor]
    inputs: Sequence[str]
    outputs: Sequence[str]

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def choice(self, name: str, default: str, names: Mapping[str, str]) -> str:
        """TensorRT's name of what an attribute says."""
        said = self.get(name, default)
        if said not in names:
            raise UnsupportedError(f"{name} is {said!r}; known are {', '.join(names)}")
        return names[said]

    def dtype(self, tensor: str) -> str:
        """A tensor's type by NumPy's name; empty where it is not known."""
        return self.tensors[tensor].dtype if tensor in self.tensors else ""


Wanted = dict[str, Any]
"""Setting of a layer → the value it must have: a member's name for an enum."""


@dataclass(frozen=True)
class Rule:
    """What a layer must be set to.

    Attributes:
        layer: TensorRT's type of the layer that does a node's work.
        kind: TensorRT's class of it.
        wanted: From a node and its layer to the settings. Raises `UnsupportedError`.
        source: Where it is said, or was found, that TensorRT differs or may.
        mends: A setting that differs is set; and there must be such a layer. Else the build fails, as it does where
            the parser may have changed an input along with the setting.
    """

    layer: str
    kind: str
    wanted: Callable[[Operator, Any], Wanted]
    source: str
    mends: bool = False


def _grid_sample(node: Operator, layer: Any) -> Wanted:
    modes = {"linear": "LINEAR", "bilinear": "LINEAR", "cubic": "CUBIC", "bicubic": "CUBIC", "nearest": "NEAREST"}
    padding = {"zeros": "FILL", "border": "CLAMP", "reflection": "REFLECT"}
    return {
        "interpolation_mode": node.choice("mode", "linear", modes),
        "sample_mode": node.choice("padding_mode", "zeros", padding),
        "align_corners": bool(node.get("align_corners", 0)),
    }


def _resize(node: Operator, layer: Any) -> Wanted:
    if node.get("antialias", 0):
        raise UnsupportedError("antialias is set")
    if (policy := node.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        raise UnsupportedError(f"keep_aspect_ratio_policy is {policy!r}")
    coordinates = {
        "half_pixel": "HALF_PIXEL",
        "pytorch_half_pixel": "HALF_PIXEL",
        "align_corners": "ALIGN_CORNERS",
        "asymmetric": "ASYMMETRIC",
    }
    rounding = {
        "round_prefer_floor": "HALF_DOWN",
        "round_prefer_ceil": "HALF_UP",
        "floor": "FLOOR",
        "ceil": "CEIL",
    }
    name = "coordinate_transformation_mode"
    mode = node.choice("mode", "nearest", {"nearest": "NEAREST", "linear": "LINEAR", "cubic": "CUBIC"})
    upper = node.get(name, "half_pixel") == "pytorch_half_pixel"
    wanted: Wanted = {
        "resize_mode": mode,
        "coordinate_transformation": node.choice(name, "half_pixel", coordinates),
        "selector_for_single_pixel": "UPPER" if upper else "FORMULA",
        "exclude_outside": bool(node.get("exclude_outside", 0)),
    }
    if mode == "NEAREST":
        wanted["nearest_rounding"] = node.choice("nearest_mode", "round_prefer_floor", rounding)
    if mode == "CUBIC":
        wanted["cubic_coeff"] = float(node.get("cubic_coeff_a", -0.75))
    return wanted


def _top_k(node: Operator, layer: Any) -> Wanted:
    return {
        "op": "MAX" if node.get("largest", 1) else "MIN",
        "axes": 1 << _axis(node, -1, layer),
    }


def _softmax(node: Operator, layer: Any) -> Wanted:
    # Before opset 13 the tensor is a matrix, rows and columns divided at `axis`.
    return {"axes": 1 << _axis(node, -1, layer) if node.opset >= 13 else 1 << 1}


def _product(node: Operator, layer: Any) -> Wanted:
    wanted: Wanted = {}
    for index, (setting, attribute) in enumerate((("op0", "transA"), ("op1", "transB"))):
        factor = layer.get_input(index)
        # A factor of another name was made by the parser, which may have turned it over.
        if factor.name == node.inputs[index]:
            turned = "TRANSPOSE" if node.get(attribute, 0) else "NONE"
            wanted[setting] = "VECTOR" if len(tuple(factor.shape)) == 1 else turned
    return wanted


def _cast(node: Operator, layer: Any) -> Wanted:
    to = element_type(node.get("to", 1))
    types = (node.dtype(node.inputs[0]), to)
    other = {"uint8": types[1 - types.index("uint8")]} if "uint8" in types else {}
    if other and other["uint8"] not in ("uint8", "float16", "float32", ""):
        raise UnsupportedError(f"it casts {types[0]} to {types[1]}, and uint8 goes with float16 and float32 alone")
    return {"to_type": _TYPES.get(to, to)}


def _quantize(node: Operator, layer: Any) -> Wanted:
    scale = node.tensors.get(node.inputs[1])
    per_axis = scale is not None and scale.shape is not None and len(scale.shape) == 1 and scale.shape[0] > 1
    return {"axis": _axis(node, 1, layer)} if per_axis else {}


def _average_pool(node: Operator, layer: Any) -> Wanted:
    padded = any(node.get("pads", ())) or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return {"average_count_excludes_padding": not node.get("count_include_pad", 0)} if padded else {}


RULES: dict[str, Rule] = {
    "GridSample": Rule(
        "GRID_SAMPLE",
        "IGridSampleLayer",
        _grid_sample,
        f"NVIDIA/TensorRT issue 4646: opset 20's name linear is taken for nearest, to 11.1 at least; {_IMPORTERS}",
        mends=True,
    ),
    "Resize": Rule(
        "RESIZE",
        "IResizeLayer",
        _resize,
        f"{_OPERATORS}: no antialias, stretch alone, and no half_pixel_symmetric; {_IMPORTERS}",
        mends=True,
    ),
    "TopK": Rule("TOPK", "ITopKLayer", _top_k, f"{_IMPORTERS}: a vector becomes a matrix, axes are a mask"),
    "Softmax": Rule("SOFTMAX", "ISoftMaxLayer", _softmax, "ONNX's Softmax-13 gave axis another meaning and default"),
    "Gemm": Rule(
        "MATRIX_MULTIPLY", "IMatrixMultiplyLayer", _product, f"{_IMPORTERS}: transposition is a setting of the layer"
    ),
    "MatMul": Rule(
        "MATRIX_MULTIPLY", "IMatrixMultiplyLayer", _product, f"{_IMPORTERS}: a vector is another operation of the layer"
    ),
    "Cast": Rule("CAST", "ICastLayer", _cast, f"{_HEADER}, DataType::kUINT8: from and to float32 and float16 alone"),
    "QuantizeLinear": Rule("QUANTIZE", "IQuantizeLayer", _quantize, f"{_IMPORTERS}: the axis is a setting of its own"),
    "DequantizeLinear": Rule(
        "DEQUANTIZE", "IDequantizeLayer", _quantize, f"{_IMPORTERS}: the axis is a setting of its own"
    ),
    "AveragePool": Rule(
        "POOLING", "IPoolingLayer", _average_pool, "ONNX counts no padding by default, TensorRT by a setting"
    ),
}
"""ONNX operator → what the layer made for it must be set to."""


def settle(flavour: Flavour, network: Any, path: Path, sizes: Mapping[str, int]) -> list[str]:
    """Compare a network with the graph it was parsed from, and set what the parser got wrong.

    Args:
        flavour: The installed TensorRT.
        network: As parsed from `path`; settings that differ are changed.
        path: The ONNX file.
        sizes: Dynamic dimension → a size within the profile.

    Returns:
        What was set, a sentence each.

    Raises:
        BuildError: Something differs and cannot be set, or no layer can do what a node asks for.
        OnnxError: The file cannot be read.
    """
    model = load_onnx(path, weights=False)
    nodes = list(each_node(model.graph))
    tensors = infer_tensors(model, sizes)  # it takes the large weights away
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    done = list(_settings(flavour, layers, nodes, tensors, opset(model), path))
    _same_tensors(flavour, layers, tensors, path)
    return done


def _settings(
    flavour: Flavour,
    layers: Sequence[Any],
    nodes: Sequence[tuple[Any, Node]],
    tensors: Mapping[str, Tensor],
    opset: int,
    path: Path,
) -> Iterator[str]:
    made: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for layer in layers:
        made[origin(layer), layer.type.name].append(layer)
    for proto, node in nodes:
        rule = RULES.get(node.op)
        if rule is None or proto.domain not in ("", "ai.onnx"):
            continue
        # Where nodes share a name their layers stand in the nodes' order.
        of_node = made[node.name, rule.layer]
        if not of_node:
            if rule.mends and node.must_have_layer:
                raise BuildError(
                    f"{flavour} made no {rule.layer} layer for {node} of {path}: what it computes instead cannot be "
                    "compared. Express the node in other operators and export the bundle again."
                )
            continue
        layer = of_node.pop(0)
        layer.__class__ = getattr(flavour.module, rule.kind)  # TensorRT hands layers out as their base class
        operator = Operator(_attributes(proto), opset, tensors, list(proto.input), list(proto.output))
        try:
            wanted = rule.wanted(operator, layer)
        except UnsupportedError as error:
            raise BuildError(
                f"{flavour} cannot compute {node} of {path}: {error} ({rule.source}). Express the node in other "
                "operators and export the bundle again."
            ) from None
        for setting, value in wanted.items():
            if said := _compare(flavour, layer, setting, value, rule, f"{node} of {path}"):
                yield said


def _compare(flavour: Flavour, layer: Any, setting: str, value: Any, rule: Rule, node: str) -> str | None:
    """Leave a setting at the wanted value; what had to be changed, if anything."""
    found = _readable(getattr(layer, setting))
    if _alike(found, value):
        return None
    if rule.mends:
        current = getattr(layer, setting)
        with suppress(AttributeError, RuntimeError, TypeError, ValueError):  # it is read back
            setattr(layer, setting, getattr(type(current), value) if isinstance(value, str) else value)
        if _alike(_readable(getattr(layer, setting)), value):
            return f"{flavour} parsed {node} with {setting} {found}; it is set to {value}, as the model says."
    raise BuildError(
        f"{flavour} parsed {node} with {setting} {found}, and the model says {value} ({rule.source}). The plan would "
        "compute something else. Use another version of TensorRT, or express the node in other operators and export "
        "the bundle again."
    )


def _same_tensors(flavour: Flavour, layers: Sequence[Any], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise `BuildError` unless each tensor with a name in both has one type and size."""
    for layer in layers:
        for index in range(layer.num_outputs):
            tensor = layer.get_output(index)
            expected = tensors.get(tensor.name)
            if expected is None or expected.dtype in ("", "unknown", "object"):
                continue
            dtype, shape = flavour.dtype(tensor.dtype), tuple(tensor.shape)
            if not (_same_type(dtype, expected.dtype) and _same_shape(shape, expected.shape)):
                size = "" if expected.shape is None else f" {list(expected.shape)}"
                raise BuildError(
                    f"{flavour} makes {tensor.name} of {path} {dtype} {list(shape)} in {origin(layer)}; by the model "
                    f"it is {expected.dtype}{size}. Express the node in other operators and export the bundle again."
                )


def _same_type(found: str, expected: str) -> bool:
    integers = ("int32", "int64")  # TensorRT counts and indexes in either
    return found == expected or (found in integers and expected in integers)


def _same_shape(found: Sequence[int], expected: Sequence[int] | None) -> bool:
    """Whether the sizes are alike; a 1 more or less moves no value, and what is dynamic (negative) fits all."""
    if expected is None:
        return True
    mine, theirs = ([size for size in shape if size != 1] for shape in (found, expected))
    if any(size < 0 for size in found):
        return len(found) != len(expected) or all(a < 0 or a == b for a, b in zip(found, expected, strict=True))
    return mine == theirs


def _axis(node: Operator, default: int, layer: Any) -> int:
    rank = len(node.tensors[node.inputs[0]].shape or ()) if node.inputs[0] in node.tensors else 0
    axis = int(node.get("axis", default))
    return axis if axis >= 0 else axis + (rank or len(tuple(layer.get_input(0).shape)))


def _readable(value: Any) -> Any:
    """A setting as rules write it: an enum's member by its name."""
    if isinstance(value, bool | int | float):
        return value
    return value.name


def _alike(found: Any, wanted: Any) -> bool:
    return abs(found - wanted) < 1e-6 if isinstance(wanted, float) else bool(found == wanted)


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
