"""`mgts-trt inspect`: what is inside a bundle, a plan or an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import out


def inspect_command(
    path: Annotated[Path, typer.Argument(help="A bundle, a plan, or an ONNX file.")],
    layers: Annotated[
        int, typer.Option(help="Show the N layers of each ONNX file with the most work.", min=0, metavar="N")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Show what is inside a bundle, a plan, or an ONNX file: tensors, weights, work, precisions."""
    from mgts_trt.cli.facts import inspect
    from mgts_trt.cli.facts_text import facts_report

    facts = inspect(path, layers)
    if as_json:
        typer.echo(facts.model_dump_json(indent=2))
    else:
        out.print(facts_report(facts))
