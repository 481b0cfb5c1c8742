"""A graph form as an ONNX file, and the surgery on such files."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from export.graphs.networks import Graph
from mgts_trt.errors import MgtsError
from mgts_trt.tensors import Dtype, TensorSpec

OPSET = 20
"""The first with GridSample in the form TensorRT's and ONNX Runtime's versions of today read alike."""

_SMALL = 1024
"""Elements up to which a constant stays in float32: shapes, anchors' bounds and biases save nothing."""


class ExportError(MgtsError):
    """A network that could not be exported, or whose exported form is not the network."""


def export_onnx(graph: Graph, inputs: dict[str, Tensor], path: Path, *, dynamic: str | None = None) -> None:
    """Trace `graph` into a self-contained ONNX file whose outputs are the contract's; taps keep their names inside.

    Args:
        graph: In evaluation mode.
        inputs: Example inputs by name. Each must be a tensor of its own: tracing merges inputs that are one object.
        path: The file to write.
        dynamic: Name of the first dimension of every input where it varies.

    Raises:
        ExportError: The tracer or the ONNX checker refuses the graph.
    """
    names = [*graph.outputs, *graph.taps]
    shapes = {name: {0: torch.export.Dim(dynamic, min=1, max=1024)} for name in inputs} if dynamic else None
    with _quiet():
        try:
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=names,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                external_data=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"PyTorch cannot export {type(graph).__name__}: {error}") from error
        program.save(path)
    model = onnx.load(path)
    del model.graph.output[len(graph.outputs) :]
    for output in model.graph.output:
        _name_dynamic(output, dynamic)
    strip_notes(model)
    save_checked(model, path)


def save_checked(model: onnx.ModelProto, path: Path) -> None:
    """Infer shapes, run ONNX's checker, write the file.

    Raises:
        ExportError: The checker refuses the model.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        del model.graph.value_info[:]
        model.graph.value_info.extend(inferred.graph.value_info)
        onnx.save(model, path)
        onnx.checker.check_model(str(path), full_check=False)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ExportError(f"{path.name} is not a valid ONNX model: {error}") from error


def strip_notes(model: onnx.ModelProto) -> None:
    """Remove the tracer's notes (stack traces with paths of the exporting machine) from a model."""
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.metadata_props[:]


def store_weights_in_half(path: Path) -> None:
    """Store a float32 model's large constants as float16, each behind a Cast that runtimes fold when they load it.

    The model still computes in float32. Its weights must be float16 values already (`round_weights`), so that nothing
    is lost here.
    """
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) <= _SMALL:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):  # what overflows is not equal below
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
    save_checked(model, path)


def with_taps(path: Path, taps: tuple[str, ...]) -> bytes:
    """The model in `path` with its taps as further outputs."""
    model = onnx.load(path)
    known = {value.name: value for value in model.graph.value_info}
    produced = {name for node in model.graph.node for name in node.output}
    for tap in taps:
        if tap not in produced:
            raise ExportError(f"{path.name} has no tensor {tap!r} inside; export it again.")
        model.graph.output.append(known[tap] if tap in known else helper.make_empty_tensor_value_info(tap))
    return model.SerializeToString()


def tensor_specs(path: Path) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """The inputs and outputs of an ONNX file."""
    model = onnx.load(path, load_external_data=False)
    return ({v.name: _spec(v) for v in model.graph.input}, {v.name: _spec(v) for v in model.graph.output})


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype: Dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return TensorSpec(dtype=dtype, shape=tuple(d.dim_param or d.dim_value for d in tensor.shape.dim))


def _name_dynamic(value: onnx.ValueInfoProto, dynamic: str | None) -> None:
    dims = value.type.tensor_type.shape.dim
    if dynamic and dims and not dims[0].HasField("dim_value"):
        dims[0].dim_param = dynamic


@contextlib.contextmanager
def _quiet():
    """Keep the tracer's progress chatter off the terminal; its errors are exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
