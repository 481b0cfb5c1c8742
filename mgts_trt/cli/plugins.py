"""`mgts-trt plugins`: TensorRT plugins for the operators of the networks."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.cli.console import out, split
from mgts_trt.cli.help import Command, Group

Major = Annotated[int | None, typer.Option("--tensorrt-major", help="Major version of TensorRT.", min=10)]
plugins_app = typer.Typer(cls=Group, no_args_is_help=True, help="TensorRT plugins for the networks' operators.")


@plugins_app.command(cls=Command, epilog="Example: mgts-trt plugins build --targets sm_87")
def build(
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; by default $MGTS_TRT_PLUGINS, or the cache.")
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(help="GPUs, as sm_87, with commas between them; by default those of this machine."),
    ] = None,
    headers: Annotated[
        Path | None,
        typer.Option(help="Folder of NvInferRuntime.h; by default $TENSORRT_ROOT/include, then the system's."),
    ] = None,
    tensorrt_major: Major = None,
) -> None:
    """Build the library, with the C++ compiler and TensorRT's headers that are here; no GPU is needed."""
    from mgts_trt.plugins.compiling import build_library

    library = build_library(out_folder, split(targets) if targets else None, headers, tensorrt_major)
    out.print(f"Built {library.path}: TensorRT {library.tensorrt}, {', '.join(library.targets)}")


@plugins_app.command(cls=Command, epilog="Example: mgts-trt plugins path --tensorrt-major 10")
def path(tensorrt_major: Major = None) -> None:
    """Print where the library lies, for other programs: trtexec, Triton, DeepStream."""
    from mgts_trt.plans.plugin_library import require_library
    from mgts_trt.plugins.toolchain import find_headers

    library = require_library(tensorrt_major or find_headers().version[0])
    typer.echo(library.path.resolve())
