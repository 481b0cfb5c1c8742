"""`mgts-trt inspect`: what is inside a bundle, a plan or an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import out
from mgts_trt.cli.outputs import JsonOption, write_json


def inspect_command(
    path: Annotated[Path, typer.Argument(help="A bundle, a plan, or an ONNX file.")],
    layers: Annotated[
        int, typer.Option(help="Show the N layers of each ONNX file with the most work.", min=0, metavar="N")
    ] = 0,
    json_file: JsonOption = None,
) -> None:
    """Show what is inside a bundle, a plan, or an ONNX file: tensors, weights, work, precisions."""
    from mgts_trt.cli.facts import inspect
    from mgts_trt.cli.facts_text import facts_report

    facts = inspect(path, layers)
    if json_file:
        write_json(json_file, facts.model_dump_json(indent=2))
    out.print(facts_report(facts))
