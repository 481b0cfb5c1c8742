"""Bodies of the `mgts` operators for ONNX Runtime's CPU provider, which a session takes in place of a file's own.

A file's are written for TensorRT: points by GridSample, NMS in matrix products. On a CPU ai.onnx `RoiAlign` and
`NonMaxSuppression` give equal results sooner. Their text lies in `engines/operators/onnxruntime/`; what a session reads
is `functions.bin` beside it, a serialized ONNX model of functions alone, since the base install cannot parse text.

    python -m mgts_trt.bundle.cpu_forms

writes that file (it needs the package onnx); `make operators` calls it.
"""

import mmap
from functools import cache
from pathlib import Path

from mgts_trt.bundle.function_bytes import functions, with_functions
from mgts_trt.bundle.onnx_graph import import_onnx
from mgts_trt.bundle.operators import function
from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import OnnxError

ANYWHERE = "Anywhere"
"""What a form calls where it is not equal is the operator's own body, under the operator's name with this behind it."""


def folder() -> Path:
    """Where the forms lie, as text and in bytes."""
    return engines_folder() / "operators" / "onnxruntime"


def with_cpu_forms(path: Path) -> bytes | None:
    """A model with the CPU's bodies of its `mgts` operators.

    Args:
        path: An ONNX file.

    Returns:
        The serialized model; None if the file has no function that there is a form of, or cannot be read: whoever
        loads it says why.
    """
    forms = _forms()
    try:
        # Mapped, not read: a large model is then in memory once, as what is returned.
        with path.open("rb") as file:
            model = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        replaced = functions(model).keys() & forms.keys()
        return with_functions(model, list(forms.values()), replaced) if replaced else None
    except (OSError, ValueError, OnnxError):  # ValueError: an empty file cannot be mapped
        return None


def compiled_forms() -> bytes:
    """The content of `functions.bin`, from the forms' text and from the operators' own.

    Raises:
        OnnxError: The package onnx is missing.
    """
    onnx = import_onnx()
    from onnx import parser

    model = onnx.ModelProto()
    for path in sorted(folder().glob("*.txt")):
        form = parser.parse_function(path.read_text(encoding="utf-8"))
        model.functions.append(form)
        if form.name + ANYWHERE in path.read_text(encoding="utf-8"):
            own = model.functions.add()
            own.CopyFrom(function(form.name))
            own.name += ANYWHERE
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


@cache
def _forms() -> dict[tuple[str, str], bytes]:
    return functions(memoryview((folder() / "functions.bin").read_bytes()))


if __name__ == "__main__":
    (folder() / "functions.bin").write_bytes(compiled_forms())
