"""A graph form, traced into an ONNX file."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor

from export.errors import ExportError
from export.graphs.networks import Graph
from export.onnx_file import strip_notes
from mgts_trt.bundle.operators import DOMAIN, add_functions
from mgts_trt.precisions.onnx_file import save_checked

OPSET = 20
"""The first with GridSample in the form TensorRT's and ONNX Runtime's versions of today read alike."""


def export_onnx(graph: Graph, inputs: dict[str, Tensor], path: Path, *, dynamic: str | None = None) -> None:
    """Trace `graph` into a self-contained ONNX file whose outputs are the contract's; taps keep their names inside.

    Args:
        graph: In evaluation mode.
        inputs: Example inputs by name, of the shapes that the graph's class says. Each must be a tensor of its own:
            tracing merges inputs that are one object.
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
    for number, node in enumerate(node for node in model.graph.node if node.domain == DOMAIN):
        node.name = f"{node.op_type}_{number}"
    add_functions(model)
    save_checked(model, path)


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
