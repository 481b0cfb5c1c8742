"""The operators of the domain `mgts` in ONNX files: model-local functions, whose bodies lie in `engines/operators/`.

This needs the package onnx, but for the names.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from mgts_trt.bundle.onnx_graph import import_onnx
from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import OnnxError

DOMAIN = "mgts"
VERSION = 1
"""Of the domain. What an operator computes never changes under one version."""

OPERATORS = ("Nms", "AlignRois", "PsAssemble", "SeHead")
"""See `engines/operators/README.md` for what each takes, computes and gives."""

MAPS = {"Nms": 0, "AlignRois": 1, "PsAssemble": 1, "SeHead": 2}
"""How many of an operator's inputs, the first ones, are maps, which may be in half; all else is float32."""


@cache
def function(name: str) -> Any:
    """An operator's ONNX function, as `engines/operators/NAME.txt` has it: an `onnx.FunctionProto`.

    Args:
        name: One of `OPERATORS`, or of the functions their bodies call.

    Raises:
        OnnxError: There is no such function, or the package onnx is missing.
    """
    import_onnx()
    from onnx import parser

    path: Path = engines_folder() / "operators" / f"{name}.txt"
    try:
        return parser.parse_function(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise OnnxError(f"There is no operator {DOMAIN}.{name}; there are {', '.join(OPERATORS)}.") from error


def used(nodes: Iterable[Any]) -> list[str]:
    """Names of the domain's operators that some nodes call, each once, in the order they are met."""
    return list(dict.fromkeys(node.op_type for node in nodes if node.domain == DOMAIN))


def add_functions(model: Any) -> None:
    """Give a model the functions of every `mgts` operator that it calls, and those that these call."""
    from onnx import helper

    wanted = used(model.graph.node)
    for name in wanted:  # grows while it is read
        wanted += [inner for inner in used(function(name).node) if inner not in wanted]
    drop_functions(model)
    model.functions.extend(function(name) for name in wanted)
    if wanted and not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))


def drop_functions(model: Any) -> None:
    """Take the bodies of the domain's operators out of a model; its nodes call them all the same."""
    others = [each for each in model.functions if each.domain != DOMAIN]
    del model.functions[:]
    model.functions.extend(others)


def inline(model: Any) -> Any:
    """The model in standard operators alone: every function's body in the place of the nodes that call it.

    Raises:
        OnnxError: The model calls operators of the domain and has no bodies for them, or those of another opset.
    """
    from onnx import inliner

    inlined = inliner.inline_local_functions(model)
    if left := used(inlined.graph.node):
        versions = {entry.domain: entry.version for entry in model.opset_import}
        raise OnnxError(
            f"The model calls {', '.join(f'{DOMAIN}.{name}' for name in left)}, and no body can be put in its place: "
            f"the file has none, or none of its opset, {versions.get('', 'none')}. Export it again."
        )
    return inlined
