"""A file as its author wrote it: read whole, and refused where no bundle could be made of it whatever it computes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgts_trt.bundle.onnx_graph import STANDARD, all_nodes, element_type, import_onnx, load_onnx, opset
from mgts_trt.errors import OnnxError
from mgts_trt.machine.files import file_sha256

OLDEST_OPSET = 11
"""Older files have Upsample, Slice and Pad in forms that TensorRT's parsers no longer promise to take."""


@dataclass(frozen=True)
class Original:
    """An ONNX file to be imported.

    Attributes:
        path: Where it is; ONNX Runtime runs it from here for the reference.
        model: An `onnx.ModelProto`: weights inside, functions of its own inlined.
        sha256: Of the file; weights in files beside it are not covered.
        opset: Version of the standard operators.
        producer: What wrote it, as it says itself: `pytorch 2.0.1`.
    """

    path: Path
    model: Any
    sha256: str
    opset: int
    producer: str


def read_original(path: Path) -> Original:
    """Read an ONNX file and everything that belongs to it.

    Raises:
        OnnxError: It cannot be read, is of an old opset, lacks weights that lie in other files, calls operators of
            its own, or takes something else than float32 or uint8.
    """
    if not path.is_file():
        raise OnnxError(f"There is no file {path}. Name an ONNX model.")
    model = load_onnx(path, weights=False)
    _bring_weights(model, path)
    version = opset(model)
    if version < OLDEST_OPSET:
        raise OnnxError(
            f"{path} is of opset {version}, and {OLDEST_OPSET} is the oldest taken. Export it again with a newer one, "
            f"or convert it with onnx.version_converter."
        )
    from onnx import inliner

    model = inliner.inline_local_functions(model)
    _refuse_foreign_operators(path, model)
    _refuse_input_types(path, model)
    producer = f"{model.producer_name} {model.producer_version}".strip()
    return Original(path, model, file_sha256(path), version, producer or "unknown")


def real_inputs(model: Any) -> list[Any]:
    """The inputs that a caller passes: older files list their weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def dims_of(value: Any) -> tuple[int | str, ...] | None:
    """Sizes of an input or output; a dynamic one is its name, or `"?"`; None where not even their number is told."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim)


def shape_text(value: Any) -> str:
    """Type and shape of an input or output, as people write it: `float32 [1, 3, H, W]`."""
    dims = dims_of(value)
    shape = "of unknown shape" if dims is None else f"[{', '.join(map(str, dims))}]"
    return f"{element_type(value.type.tensor_type.elem_type)} {shape}"


def _bring_weights(model: Any, path: Path) -> None:
    onnx = import_onnx()
    from onnx import external_data_helper

    outside = [each for each in model.graph.initializer if external_data_helper.uses_external_data(each)]
    names = {external_data_helper.ExternalDataInfo(tensor).location for tensor in outside}
    if missing := sorted(name for name in names if not (path.parent / name).is_file()):
        raise OnnxError(
            f"{path} keeps weights in {', '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not in "
            f"{path.parent}. Copy every file of the export there, or save the model as one file."
        )
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise OnnxError(f"Cannot read the weights of {path}: {error}. Save the model as one file.") from error


def _refuse_foreign_operators(path: Path, model: Any) -> None:
    foreign = sorted(
        {f"{each.domain}.{each.op_type}" for each in all_nodes(model.graph) if each.domain not in STANDARD}
    )
    if not foreign:
        return
    if all(name.startswith("com.microsoft") for name in foreign):
        advice = "they are ONNX Runtime's own: take the model as it was before it was optimised"
    else:
        advice = "export it in standard operators"
    raise OnnxError(
        f"{path} calls {', '.join(foreign[:4])}{' …' if len(foreign) > 4 else ''}, operators outside the ONNX "
        f"standard, which TensorRT does not know; {advice}."
    )


def _refuse_input_types(path: Path, model: Any) -> None:
    for value in real_inputs(model):
        dtype = element_type(value.type.tensor_type.elem_type)
        if dtype == "float16":
            raise OnnxError(
                f"{path} takes {value.name} in float16. Import the float32 model; `mgts-trt build --precision fp16` "
                "makes its half, and keeps in float32 what must be."
            )
        if dtype not in ("float32", "uint8", "int64", "int32"):
            raise OnnxError(f"{path} takes {value.name} in {dtype}, and float32 is expected. Export it again.")
