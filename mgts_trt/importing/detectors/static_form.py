"""Any detector's ONNX file as one static graph: functions inlined, sizes fixed, constants folded, one opset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, TensorProto, ValueInfoProto, checker, defs, helper, inliner, version_converter

from mgts_trt.bundle.onnx_graph import STANDARD, all_nodes, opset
from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.cutting import Cutoff, cut_nms
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.folding import Shapes, branches, fold, infer
from mgts_trt.importing.original import OLDEST_OPSET, real_inputs, shape_text

OPSET, IR_VERSION = 20, 10
"""Those of the project's own files, and of the bodies of its operators."""

_SIZES_INPUTS = ("orig_target_sizes", "target_sizes", "orig_size")
"""Inputs that RT-DETR's exporters give the size of the picture by: width and height, int64 [1, 2]."""


@dataclass(frozen=True)
class ImageInput:
    """The tensor a detector takes a picture by.

    Attributes:
        name: Its name.
        layout: Order of its dimensions; `CHW` has no batch.
        hw: Height and width, pixels.
    """

    name: str
    layout: str
    hw: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture."""
        height, width = self.hw
        return {"NCHW": (1, 3, height, width), "NHWC": (1, height, width, 3), "CHW": (3, height, width)}[self.layout]


@dataclass(frozen=True)
class StaticForm:
    """A detector for one picture.

    Attributes:
        model: Its graph, opset `OPSET`, as far as shapes do not depend on data.
        image: Its input.
        size_input: Name of a second input of the original that is a constant here: width and height.
        cut: What of the original's own NMS was left out; None if it has none.
        shapes: Name → shape of every tensor whose shape is known.
    """

    model: ModelProto
    image: ImageInput
    size_input: str | None
    cut: Cutoff | None
    shapes: Shapes


def static_form(original: ModelProto, options: DetectorOptions) -> StaticForm:
    """The static graph of a detector's ONNX file.

    Args:
        original: With its weights; it is not changed.
        options: Give the size where the model's is dynamic.

    Raises:
        OnnxError: The model cannot be imported; the message says what to do.
    """
    model = ModelProto()
    model.CopyFrom(original)
    _check_opset(model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    _check_operators(model)
    image, size_input = _inputs(model, options)
    _check_types([*model.graph.input, *model.graph.output])
    _fix_sizes(model, image, size_input)
    fold(model)
    cut = cut_nms(model, options)
    _say_sizes(model, fold(model))
    model = in_opset(model)
    name_nodes(model)
    return StaticForm(model, image, size_input, cut, infer(model))


def rename_tensors(model: ModelProto, names: Mapping[str, str]) -> None:
    """Give tensors other names, wherever a model names them: so those of the contract become free."""
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = names.get(value.name, value.name)
        for node in graph.node:
            for tensors in (node.input, node.output):
                tensors[:] = [names.get(name, name) for name in tensors]
            graphs.extend(branches(node).values())


def tensor_table(values: Sequence[ValueInfoProto]) -> str:
    """Several of them, in a line."""
    return "; ".join(f"{value.name} {shape_text(value)}" for value in values) or "none"


def _check_opset(model: ModelProto) -> None:
    if (version := opset(model)) < OLDEST_OPSET:
        raise OnnxError(
            f"The detector has opset {version}; {OLDEST_OPSET} is the oldest taken. Export it with a newer one."
        )


def _check_operators(model: ModelProto) -> None:
    foreign = [
        node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
        for node in all_nodes(model.graph)
        if node.domain not in STANDARD or not defs.has(node.op_type, "")
    ]
    if foreign:
        names = ", ".join(dict.fromkeys(foreign))
        advice = "Export it in standard ONNX operators"
        if any("nms" in name.lower() for name in foreign):
            advice = "Export it without its NMS (`nms=False`, no `--end2end`): an NMS is added here"
        raise OnnxError(f"The detector uses operators that ONNX has not: {names}. {advice}.")


def _check_types(values: Sequence[ValueInfoProto]) -> None:
    for value in values:
        kind = value.type.tensor_type.elem_type
        if kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE):
            raise OnnxError(
                f"{value.name} is {shape_text(value)}; float32 is taken. Export the model in float32 (without `half`): "
                "lower precisions are made from it afterwards."
            )
        if kind in (TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16):
            raise OnnxError(
                f"{value.name} is {shape_text(value)}, as quantised models have it; float32 is taken. Export the model "
                "before it is quantised: INT8 is made from it afterwards."
            )


def _inputs(model: ModelProto, options: DetectorOptions) -> tuple[ImageInput, str | None]:
    inputs = real_inputs(model)
    pictures = [value for value in inputs if len(value.type.tensor_type.shape.dim) in (3, 4)]
    others = [value for value in inputs if value not in pictures]
    if len(pictures) != 1 or any(value.name not in _SIZES_INPUTS for value in others):
        raise OnnxError(
            f"The detector's inputs are {tensor_table(inputs)}; one picture is expected, [N, 3, H, W], [N, H, W, 3] or "
            "[3, H, W]. Export the network alone, without further inputs."
        )
    value = pictures[0]
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
    *batch, a, b, c = dims
    if a == 3:
        layout, sides = "NCHW" if batch else "CHW", (b, c)
    elif c == 3 and batch:
        layout, sides = "NHWC", (a, b)
    else:
        raise OnnxError(
            f"The detector's input is {value.name} {shape_text(value)}; [N, 3, H, W], [N, H, W, 3] or [3, H, W] is "
            "expected. Export it for colour pictures, with the number of channels fixed."
        )
    fallback = options.input_hw or options.canvas or (None, None)
    height, width = (side or other for side, other in zip(sides, fallback, strict=True))
    if not height or not width:
        raise OnnxError(
            f"The detector's input is {value.name} {shape_text(value)}: its height and width are open. Say the size it "
            "is to run at: --canvas HEIGHTxWIDTH."
        )
    if options.input_hw and options.input_hw != (height, width):
        raise OnnxError(
            f"The detector's input is {value.name} {shape_text(value)}, fixed, and cannot run at {options.input_hw[0]} "
            f"× {options.input_hw[1]}. Leave the input size out, or export the model at that size."
        )
    return ImageInput(value.name, layout, (height, width)), others[0].name if others else None


def _fix_sizes(model: ModelProto, image: ImageInput, size_input: str | None) -> None:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(image.name, TensorProto.FLOAT, image.shape))
    if size_input is not None and size_input not in weights:
        height, width = image.hw
        graph.initializer.append(helper.make_tensor(size_input, TensorProto.INT64, [1, 2], [width, height]))
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")


def _say_sizes(model: ModelProto, shapes: Shapes) -> None:
    """Give the outputs their shapes; where one depends on data, that it has one, which ONNX's checker asks for."""
    for output in model.graph.output:
        kind = output.type.tensor_type
        known: Sequence[int | None] = shapes.get(output.name, [None])
        kind.CopyFrom(helper.make_tensor_type_proto(kind.elem_type, known).tensor_type)


def in_opset(model: ModelProto) -> ModelProto:
    """A model in the opset of the project's own files.

    Raises:
        OnnxError: It cannot be brought there.
    """
    version = opset(model)
    del model.graph.value_info[:]
    converted = model
    if version != OPSET:
        try:
            converted = version_converter.convert_version(model, OPSET)
        except Exception as error:  # the converter's errors have no common base
            if version < OPSET:
                raise OnnxError(
                    f"The model cannot be brought from opset {version} to {OPSET}: {error}. Export it with opset "
                    f"{OPSET}."
                ) from error
    del converted.opset_import[:]
    converted.opset_import.append(helper.make_opsetid("", OPSET))
    converted.ir_version = IR_VERSION
    try:
        checker.check_model(converted)
    except checker.ValidationError as error:
        raise OnnxError(
            f"The model has opset {version} and is no valid model of opset {OPSET}: {error}. Export it with opset "
            f"{OPSET}."
        ) from error
    return converted


def name_nodes(model: ModelProto) -> None:
    """Names of their own for all nodes, which precisions and plans are told by."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)
        node.doc_string = ""
        del node.metadata_props[:]
