"""ONNX files: written once they have been checked, their tensors, and whether they run."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime as ort
from onnx import helper

from mgts_trt._typing import Array
from mgts_trt.bundle.onnx_graph import opset
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import PrecisionError
from mgts_trt.runtime.session.onnxruntime import PLAIN_QDQ

QUANTISES_HALF = 19
"""The first opset whose QuantizeLinear takes half."""


def save_checked(model: onnx.ModelProto, path: Path) -> None:
    """Infer shapes, run ONNX's checker, write the file.

    Raises:
        PrecisionError: The checker refuses the model.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        del model.graph.value_info[:]
        model.graph.value_info.extend(inferred.graph.value_info)
        onnx.save(model, path)
        onnx.checker.check_model(str(path), full_check=False)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise PrecisionError(f"{path.name} is not a valid ONNX model: {error}") from error


def load_typed(path: Path) -> onnx.ModelProto:
    """Read a model, every tensor of which has a type; what a file of others does not say is inferred.

    One of an opset before `QUANTISES_HALF` comes in that one, where ONNX's converter can.

    Raises:
        PrecisionError: A type cannot be inferred.
    """
    model = onnx.load(path)
    if opset(model) < QUANTISES_HALF:
        with suppress(Exception):  # the converter's have no common base; FP16 needs no other opset
            model = onnx.version_converter.convert_version(model, QUANTISES_HALF)
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    if known.issuperset(output for node in model.graph.node for output in node.output if output):
        return model
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise PrecisionError(f"{path.name} cannot be converted: its types cannot be inferred: {error}") from error


def tensor_specs(path: Path) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """The inputs and outputs of an ONNX file."""
    model = onnx.load(path, load_external_data=False)
    return ({v.name: _spec(v) for v in model.graph.input}, {v.name: _spec(v) for v in model.graph.output})


def require_runs(path: Path, inputs: Mapping[str, Array]) -> None:
    """Check that ONNX Runtime runs a file as it is and gives finite numbers.

    Args:
        path: The ONNX file.
        inputs: By name, of the types and shapes that the file says.

    Raises:
        PrecisionError: It does not run, or an output is not finite.
    """
    try:
        session = open_session(path.read_bytes())
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, dict(inputs)), strict=True))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise PrecisionError(f"ONNX Runtime {ort.__version__} cannot run {path.name}: {error}") from error
    if wrong := [name for name, array in outputs.items() if not np.isfinite(array).all()]:
        raise PrecisionError(
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
    shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
    # What is no `Dtype` is refused here, by name.
    return TensorSpec.model_validate(
        {"dtype": np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name, "shape": shape}
    )
