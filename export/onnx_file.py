"""ONNX files and the surgery on them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from mgts_trt.precisions.onnx_file import save_checked

_SMALL = 1024
"""Elements up to which a constant stays in float32: shapes, anchors' bounds and biases save nothing."""


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
