"""What starting costs: this checkout against another one, in turns.

    python -m benchmarks.start_up ../other-checkout

Every start is a process of its own, of this Python and the packages installed here; only the code differs. Turns
alternate (A B, B A), so that whatever else the machine does falls on both. A ratio is the median over the turns of this
checkout's time by the other's in the same turn. Processor seconds are given as well, since on a busy machine they tell
more than the clock does.
"""

import os
import resource
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import ROOT, Environment, environment
from mgts_trt.cli.console import out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

STARTS = {
    "python": "pass",
    "import mgts_trt": "import mgts_trt",
    "import PersonSearch": "from mgts_trt import PersonSearch",
    "mgts-trt --version": "--version",
    "mgts-trt --help": "--help",
}
"""What is started, and its code; of the command what follows its name. The first is what Python costs by itself."""


class Start(BaseModel):
    """One start in both checkouts: medians, and the medians of the turns' ratios, this to the other."""

    name: str
    here_ms: float
    there_ms: float
    ratio: float
    here_cpu_ms: float
    there_cpu_ms: float
    cpu_ratio: float


class StartUpReport(BaseModel):
    """What was measured."""

    environment: Environment
    other_commit: str
    """Of the other checkout; empty if it is none of git's."""
    turns: int
    starts: list[Start]


@app.command()
def main(
    other: Annotated[Path, typer.Argument(help="The root of the other checkout.")],
    turns: Annotated[int, typer.Option(help="Starts of each in each checkout.", min=1)] = 20,
    json_file: JsonOption = None,
) -> None:
    """Measure both checkouts."""
    checkouts = (ROOT, other.resolve())
    starts = {name: [_code(checkout, code) for checkout in checkouts] for name, code in STARTS.items()}
    seconds = {name: np.zeros((turns, 2, 2)) for name in starts}  # turn, checkout, wall and processor
    with progress() as bar:
        task = bar.add_task("measuring", total=(turns + 1) * len(starts))
        for turn in range(-1, turns):  # the first one writes bytecode and warms the disk's cache
            for name, codes in starts.items():
                for side in (0, 1) if turn % 2 else (1, 0):
                    measured = _start(checkouts[side], codes[side])
                    if turn >= 0:
                        seconds[name][turn, side] = measured
                bar.advance(task)
    report = StartUpReport(
        environment=environment(),
        other_commit=_commit(checkouts[1]),
        turns=turns,
        starts=[_summary(name, measured) for name, measured in seconds.items()],
    )
    shown = table("start", ">here ms", ">there ms", ">ratio", ">CPU ms", ">there", ">ratio")
    for start in report.starts:
        wall = (f"{start.here_ms:.0f}", f"{start.there_ms:.0f}", f"{start.ratio:.3f}")
        cpu = (f"{start.here_cpu_ms:.0f}", f"{start.there_cpu_ms:.0f}", f"{start.cpu_ratio:.3f}")
        shown.add_row(start.name, *wall, *cpu)
    out.print(shown)
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))


def _code(checkout: Path, code: str) -> list[str]:
    """What Python is to run; a command as its entry point in the checkout's own `pyproject.toml` starts it."""
    try:
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        module, function = project["scripts"]["mgts-trt"].split(":")
    except (OSError, KeyError, ValueError) as error:
        raise MgtsError(
            f"{checkout} is no checkout of mgts-trt: its pyproject.toml names no command mgts-trt ({error!r}). Name "
            "the root of one."
        ) from error
    if not code.startswith("--"):
        return [code]
    return [f"import sys; sys.argv[0] = 'mgts-trt'; from {module} import {function}; {function}()", code]


def _start(checkout: Path, code: list[str]) -> tuple[float, float]:
    """Seconds by the clock and of processor that a process takes from start to end."""
    path = {**os.environ, "PYTHONPATH": str(checkout)}
    before, start = _processor_seconds(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", *code], cwd=checkout, env=path, capture_output=True, check=False)
    wall, processor = time.perf_counter() - start, _processor_seconds() - before
    if done.returncode:
        raise MgtsError(f"{' '.join(code)} fails in {checkout}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return wall, processor


def _processor_seconds() -> float:
    """Of all processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _summary(name: str, seconds: np.ndarray) -> Start:
    """Of one start's seconds [turns, 2, 2]."""
    (here, here_cpu), (there, there_cpu) = (np.median(seconds, axis=0) * 1e3).round(2).tolist()
    ratio, cpu_ratio = np.median(seconds[:, 0] / seconds[:, 1], axis=0).round(4).tolist()
    return Start(
        name=name,
        here_ms=here,
        there_ms=there,
        ratio=ratio,
        here_cpu_ms=here_cpu,
        there_cpu_ms=there_cpu,
        cpu_ratio=cpu_ratio,
    )


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    run_app(app)
