"""How long an iteration of training takes on this CPU, and the most memory it needs, for each network of a preset.

Every network trains in a process of its own, through the command line, on scenes made up here. Detector and mask net
are frozen as the paper freezes them; iterations, and with them the milestones, are too few to learn anything.

    python -m benchmarks.training_memory --preset edge
"""

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from mgts_trt.cli.console import out, progress, table, warn
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.machine.cpu import available_cores, cpu_name
from training.data.datasets.splits import MARKET_HELD_OUT
from training.preset import Preset, load_preset
from training.schedule import Schedule, load_schedule

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ("detector", "masknet", "mgts")
SCENES = 10
IDENTITIES = 8
"""That train; as many more as are held out are there, too."""
CROPS = 2
"""Of each identity."""
CROP_HW = (128, 64)


@dataclass(frozen=True)
class Result:
    """What one network's training took.

    Attributes:
        network: One of `NETWORKS`.
        batch_size: Scenes, or people.
        seconds: Of each iteration, waiting for its batch included; None if the training ended badly.
        peak_memory_mib: Greatest resident memory of its process, with Python, PyTorch and the batches made ahead.
    """

    network: str
    batch_size: int
    seconds: list[float] | None
    peak_memory_mib: int


@app.command()
def main(
    preset: Annotated[str, typer.Option(help="A preset of training/presets, or a TOML file of your own.")] = "edge",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Instead of the schedule's.")] = None,
    iterations: Annotated[int, typer.Option(min=2, help="The first warms up and is not in the time.")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, help="By default as many as there are cores.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Train each network for a few iterations."""
    sizes, threads = load_preset(preset), threads or available_cores()
    results = []
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        task = bar.add_task("drawing scenes", total=len(NETWORKS))
        data = Path(folder)
        _draw_penn_fudan(data / "penn_fudan", sizes.canvas)
        _draw_market1501(data / "market1501")
        for network in NETWORKS:
            bar.update(task, description=f"training {network}")
            results.append(_train(network, preset, sizes, data, iterations, batch_size, threads))
            bar.advance(task)
    title = f"{sizes.name}, canvas {sizes.canvas[0]} × {sizes.canvas[1]}, on {cpu_name()}, {threads} threads"
    rows = table("network", ">batch", ">s/iteration", ">peak memory, MiB", title=title)
    for result in results:
        seconds = "failed" if result.seconds is None else f"{np.mean(result.seconds[1:]):.2f}"
        rows.add_row(result.network, str(result.batch_size), seconds, str(result.peak_memory_mib))
    out.print(rows)
    if json_file:
        circumstances = {
            "date": dt.date.today().isoformat(),
            "cpu": cpu_name(),
            "threads": threads,
            "preset": sizes.name,
            "torch": version("torch"),
        }
        report = {**circumstances, "results": [asdict(result) for result in results]}
        write_json(json_file, json.dumps(report, indent=2))
    if any(result.seconds is None for result in results):
        raise typer.Exit(1)


def _train(
    network: str, preset: str, sizes: Preset, data: Path, iterations: int, batch_size: int | None, threads: int
) -> Result:
    """Train one network in a process of its own."""
    part = "reid" if network == "mgts" else network
    schedule = load_schedule("paper" if sizes.name == "paper" else "edge", part)
    batch_size = batch_size or schedule.batch_size
    course, run, log = data / f"{network}.toml", data / network, data / f"{network}.txt"
    course.write_text(_without_milestones(part, schedule))
    command = [sys.executable, "-m", "training", part, "--preset", preset, "--out", run, "--device", "cpu"]
    command += ["--schedule", course, "--iterations", iterations, "--batch-size", batch_size]
    if part == "reid":
        command += ["--model", "mgts", "--data", "market1501", "--root", data / "market1501"]
    else:
        command += ["--data", "penn_fudan", "--root", data / "penn_fudan", "--freeze", "paper"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(argument) for argument in command],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        # Of this child alone: RUSAGE_CHILDREN gives the greatest of all.
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    memory = usage.ru_maxrss // (1024 * 1024 if sys.platform == "darwin" else 1024)
    if process.returncode:
        reason = "killed, for want of memory most likely" if process.returncode < 0 else log.read_text().strip()
        warn(f"{network} could not be trained: {reason}")
        return Result(network, batch_size, None, memory)
    lines = (run / "log.csv").read_text().splitlines()
    column = lines[0].split(",").index("seconds")
    return Result(network, batch_size, [float(line.split(",")[column]) for line in lines[1:]], memory)


def _without_milestones(part: str, schedule: Schedule) -> str:
    """The schedule as TOML; in a few iterations its milestones would fall together."""
    values = schedule.model_dump(exclude_none=True, exclude={"milestones"})
    return f"[{part}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def _draw_penn_fudan(folder: Path, hw: tuple[int, int]) -> None:
    """Scenes of three people on cloudy ground, in Penn-Fudan's layout."""
    height, width = hw
    for number in range(SCENES):
        rng = np.random.default_rng(number)
        picture, mask = _clouds(rng, hw), np.zeros(hw, np.uint8)
        for k in range(3):
            h = int(height * rng.uniform(0.3, 0.7))
            x, y = int(width * (0.05 + 0.32 * k)), int(rng.integers(height - h))
            mask[y : y + h, x : x + int(0.4 * h)] = k + 1
        picture[mask > 0] //= 2
        _save(folder / "images" / f"{number}.jpg", picture)
        _save(folder / "masks" / f"{number}.png", mask)


def _draw_market1501(folder: Path) -> None:
    """Crops of people, in Market-1501's layout with masks."""
    mask = np.zeros(CROP_HW, np.uint8)
    mask[8:120, 12:52] = 255
    for number in range(1, IDENTITIES + MARKET_HELD_OUT + 1):
        for camera in range(1, CROPS + 1):
            name = f"{number:04d}/{number:04d}_c{camera}s1_000001_01"
            _save(folder / "images" / f"{name}.jpg", _clouds(np.random.default_rng([number, camera]), CROP_HW))
            _save(folder / "masks" / f"{name}.png", mask)


def _clouds(rng: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
    return cv2.resize(rng.integers(0, 256, (hw[0] // 16, hw[1] // 16, 3), np.uint8), hw[::-1])


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


if __name__ == "__main__":
    run_app(app)
