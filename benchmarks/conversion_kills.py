"""A conversion that is killed at each of its steps, one after another: is the bundle whole, and does the next one work?

    python -m benchmarks.conversion_kills bundle/ --calibration PHOTOS

A step is a call that touches the bundle: a file opened, renamed, linked or removed, a folder made. After each kill the
bundle is opened, which checks every file of it, and then converted again, with the kill a step later; the last run
comes to its end. The tests try a sample; this tries all.
"""

import os
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.console import out, progress
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from mgts_trt.pictures.folders import find_images
from mgts_trt.precisions.add import Addition, add_precisions

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

TOUCHES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link")
"""Audit events of these calls; each comes before the call."""

PRECISIONS = ("fp16", "int8")


class KillReport(BaseModel):
    """What became of the kills.

    Attributes:
        kills: Of these, each was at a step of its own.
        held: The precisions the bundle held after them → how often.
        broken: Step → what was wrong with the bundle after it.
    """

    environment: Environment
    kills: int = 0
    held: dict[str, int] = {}
    broken: dict[int, str] = {}


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; it is copied.")] = Path("bundle"),
    calibration: Annotated[Path, typer.Option(help="Folder of pictures.")] = Path("docs/pictures/samples/store_aisle"),
    afresh: Annotated[bool, typer.Option("--afresh", help="Begin each run with the bundle as it was.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Kill conversions; exit with 1 where one leaves a bundle that is not whole."""
    report = sweep(bundle, find_images(calibration), afresh=afresh)
    held = ", ".join(f"{precisions}: {count}" for precisions, count in report.held.items())
    out.print(f"{report.kills} kills left {len(report.broken)} bundles broken; they held {held}")
    for step, fault in report.broken.items():
        out.print(f"  step {step}: {fault}")
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))
    if report.broken:
        raise typer.Exit(1)


def sweep(bundle: Path, pictures: list[Path], *, afresh: bool) -> KillReport:
    """Kill a conversion before each of its steps, until one comes to its end."""
    report = KillReport(environment=environment())
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        task = bar.add_task("kills", total=None)
        root = Path(folder, "bundle")
        shutil.copytree(bundle, root, ignore=shutil.ignore_patterns("plans"))
        while _killed(root, pictures, report.kills + 1):
            report.kills += 1
            bar.update(task, completed=report.kills)
            try:
                held = " ".join(Bundle.open(root).model("detector").files)
                report.held[held] = report.held.get(held, 0) + 1
            except MgtsError as error:
                report.broken[report.kills] = str(error)
            if afresh:
                shutil.rmtree(root)
                shutil.copytree(bundle, root, ignore=shutil.ignore_patterns("plans"))
        left = set(PRECISIONS) - set(Bundle.open(root).model("detector").files)
        if left or list(root.glob("plans/.building-*")):
            report.broken[report.kills + 1] = "the last run, which was not killed, did not do all"
    return report


def _killed(root: Path, pictures: list[Path], steps: int) -> bool:
    """Convert in a process of its own that ends before so many steps; whether it came to that."""
    if child := os.fork():
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise MgtsError(f"The conversion failed by itself before step {steps}; run it without kills.")
        return os.WIFSIGNALED(status)
    code, left, name = 1, steps, str(root)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in TOUCHES and name in " ".join(map(str, arguments[:2])):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        add_precisions(Addition(Bundle.open(root), PRECISIONS, pictures, despite_parity=True))
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    run_app(app)
