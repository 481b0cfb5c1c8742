"""The command line: its commands, in the order that `--help` shows them."""

import platform
from collections.abc import Callable
from typing import Annotated

import typer

from mgts_trt.cli import keep_times
from mgts_trt.cli.audit import audit_app
from mgts_trt.cli.bench import bench
from mgts_trt.cli.build import build
from mgts_trt.cli.bundles import bundle_app
from mgts_trt.cli.convert import convert
from mgts_trt.cli.days import days
from mgts_trt.cli.deepstream import deepstream
from mgts_trt.cli.detect import detect
from mgts_trt.cli.diff import diff
from mgts_trt.cli.doctor import doctor
from mgts_trt.cli.forget import forget
from mgts_trt.cli.galleries import gallery_app
from mgts_trt.cli.help import Command, Group
from mgts_trt.cli.import_models import import_models
from mgts_trt.cli.index import index
from mgts_trt.cli.inspection import inspect_command
from mgts_trt.cli.keys import keys_app
from mgts_trt.cli.parity import parity
from mgts_trt.cli.plugins import plugins_app
from mgts_trt.cli.run import DEBUG, QUIET, run_app
from mgts_trt.cli.search import search
from mgts_trt.cli.sensitivity import sensitivity
from mgts_trt.cli.serve import serve
from mgts_trt.cli.triton import triton
from mgts_trt.cli.tune import tune
from mgts_trt.cli.watch import watch
from mgts_trt.version import __version__

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Person search (MGTS, ECCV 2018) on ONNX Runtime and TensorRT.",
    epilog="Begin with: mgts-trt detect PHOTO, then mgts-trt COMMAND --help",
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
    debug: Annotated[bool, typer.Option(DEBUG, help="Show tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option(QUIET, help="Print results and errors alone: no progress, no notes.")] = False,
) -> None:
    """Options before any command; `--debug` and `--quiet` work after one, too."""


def _add(command: Callable[..., None], name: str, panel: str, example: str) -> None:
    epilog = f"Example: mgts-trt {name} {example}"
    app.command(name, cls=Command, rich_help_panel=panel, epilog=epilog)(command)


FIND, PROVE, BUILD = "Find people", "Measure and check", "Bundles and plans"

_add(detect, "detect", FIND, "photos/ --out out")
_add(search, "search", FIND, "--query photo.jpg@240,63,320,231 --gallery my-gallery --sheet sheet.jpg")
_add(index, "index", FIND, "photos/ clip.mp4 --gallery my-gallery --camera door")
for each in (forget, keep_times.policy, keep_times.expire, keep_times.sync, days):
    gallery_app.command(cls=Command)(each)
gallery_app.add_typer(audit_app, name="audit")
app.add_typer(gallery_app, name="gallery", rich_help_panel=FIND)
_add(watch, "watch", FIND, "rtsp://camera/live --for photo.jpg@240,63,320,231 --likeness 0.6")
_add(serve, "serve", FIND, "--gallery my-gallery")
_add(triton, "triton", FIND, "bundle --out models")
_add(deepstream, "deepstream", FIND, "bundle --out appliance")
app.add_typer(keys_app, name="keys", rich_help_panel=FIND)
_add(bench, "bench", PROVE, "--image photo.jpg --mode all --plot stages.png")
_add(parity, "parity", PROVE, "bundle --json parity.json")
_add(tune, "tune", PROVE, "bundle")
_add(doctor, "doctor", PROVE, "bundle")
_add(convert, "convert", BUILD, "bundle --out small --precision fp16,int8 --calibration photos/")
_add(import_models, "import", BUILD, "--reid osnet.onnx --detector yolox.onnx --out my-bundle")
_add(build, "build", BUILD, "bundle --precision fp16")
_add(sensitivity, "sensitivity", BUILD, "bundle --calibration photos/ --plot sensitivity.png")
_add(diff, "diff", BUILD, "small --precision int8 --plot diff.png")
_add(inspect_command, "inspect", BUILD, "bundle --layers 5")
app.add_typer(plugins_app, name="plugins", rich_help_panel=BUILD)
app.add_typer(bundle_app, name="bundle", rich_help_panel=BUILD)


def main() -> None:
    """The `mgts-trt` command."""
    run_app(app)
