"""ONNX files and the surgery on them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from mgts_trt._typing import Array
from mgts_trt.bundle.tensors import Dtype, TensorSpec
from mgts_trt.runtime.session.onnxruntime import PLAIN_QDQ

_SMALL = 1024
"""Elements up to which a constant stays in float32: shapes, anchors' bounds and biases save nothing."""


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


def require_runs(path: Path, inputs: dict[str, Array]) -> None:
    """Check that ONNX Runtime runs a file as it is and gives finite numbers.

    Args:
        path: The ONNX file.
        inputs: By name, of the types and shapes that the file says.

    Raises:
        ExportError: It does not run, or an output is not finite.
    """
    try:
        session = open_session(path.read_bytes())
        outputs = {o.name: array for o, array in zip(session.get_outputs(), session.run(None, inputs), strict=True)}
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ExportError(f"ONNX Runtime {ort.__version__} cannot run {path.name}: {error}") from error
    if wrong := [name for name, array in outputs.items() if not np.isfinite(array).all()]:
        raise ExportError(
            f"{path.name} gives {wrong[0]} that is not finite. Measure more pictures with --calibration, so that "
            "layers that overflow are found and kept in float32; if that does not help, the weights are not sound."
        )


def open_session(model: bytes) -> ort.InferenceSession:
    """A model in ONNX Runtime on the CPU, quiet."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(*PLAIN_QDQ)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype: Dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return TensorSpec(dtype=dtype, shape=tuple(d.dim_param or d.dim_value for d in tensor.shape.dim))
