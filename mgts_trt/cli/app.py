"""The command line: its commands, in the order that `--help` shows them."""

import platform
from typing import Annotated

import typer

from mgts_trt.cli.bench import bench
from mgts_trt.cli.build import build
from mgts_trt.cli.bundles import bundle_app
from mgts_trt.cli.detect import detect
from mgts_trt.cli.doctor import doctor
from mgts_trt.cli.galleries import gallery_app
from mgts_trt.cli.index import index
from mgts_trt.cli.inspection import inspect_command
from mgts_trt.cli.parity import parity
from mgts_trt.cli.run import run_app
from mgts_trt.cli.search import search
from mgts_trt.cli.serve import serve
from mgts_trt.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Person search (MGTS, ECCV 2018) on ONNX Runtime and TensorRT.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mgts-trt {__version__} (Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options before any command; `--debug` works after one, too."""


app.command()(build)
app.command("inspect")(inspect_command)
app.command()(detect)
app.command()(index)
app.command()(search)
app.add_typer(gallery_app, name="gallery")
app.add_typer(bundle_app, name="bundle")
app.command()(bench)
app.command()(parity)
app.command()(doctor)
app.command()(serve)


def main() -> None:
    """The `mgts-trt` command."""
    run_app(app)
