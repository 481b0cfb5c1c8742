"""Indexing by one Ray worker and by several, in turns, on this machine: pictures a second and their ratio.

    python -m benchmarks.ray_scaling docs/pictures/samples --json benchmarks/results/ray_scaling_edge.json

Each run starts a cluster of its own and fills a gallery of its own; the pictures are copied under new names until there
are enough. The rate counts from the first task that is done to the last, so that neither Ray's start nor the loading of
models is in it; the start is reported beside it.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, out, progress, split, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.indexing.index import IndexReport
from mgts_trt.gallery.indexing.ray_index import index_with_ray
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.pictures.folders import find_images

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Run(BaseModel):
    """One filled gallery."""

    workers: int
    people: int
    start_seconds: float
    """Until the first task was done: Ray, the workers' imports, their models, that task."""
    seconds: float
    """In all."""
    rate: float
    """Pictures a second after the first task was done."""


class Report(BaseModel):
    """All runs."""

    environment: Environment
    load: float
    """Processes that wanted to run, in the minute before: what else the machine was doing."""
    shared: bool
    """Whether that was more than a quarter of the cores: rates and ratio would then be higher on a quiet machine."""
    bundle: str
    mode: Mode
    threads: int
    """Of each worker."""
    pictures: int
    runs: list[Run]
    rates: dict[int, float]
    """Workers → median of their runs' rates."""
    ratio: float
    """Of the rates with most and with fewest workers."""


@app.command()
def main(
    pictures: Annotated[Path, typer.Argument(help="A folder of photos.")],
    bundle: Annotated[Path | None, typer.Option(help="A bundle.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Pictures a run.")] = 48,
    workers: Annotated[str, typer.Option(help="Numbers of workers, with a comma between them.")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each number; every other round in reverse.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Of each worker.")] = 1,
    mode: Annotated[Mode, typer.Option(help="none, net, box or joint.")] = "box",
    json_file: JsonOption = None,
) -> None:
    """Measure how indexing scales with workers."""
    opened, load = Bundle.open(find_bundle(bundle)), os.getloadavg()[0]
    numbers = sorted({int(number) for number in split(workers)})
    turns = [number for i in range(rounds) for number in (numbers[::-1] if i % 2 else numbers)]
    runs = []
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        _copies(find_images(pictures), Path(folder) / "in", count)
        task = bar.add_task("measuring", total=len(turns) * count)
        for i, number in enumerate(turns):
            bar.update(task, description=f"{number} workers", completed=i * count)
            with Gallery.create(Path(folder) / f"gallery{i}", Space.of(opened, mode)) as gallery:
                runs.append(_run(opened, Path(folder) / "in", gallery, number, threads))
    rates = {n: float(np.median([run.rate for run in runs if run.workers == n])) for n in numbers}
    here = environment()
    report = Report(
        environment=here,
        load=load,
        shared=load > here.cores / 4,
        bundle=opened.manifest.preset,
        mode=mode,
        threads=threads,
        pictures=count,
        runs=runs,
        rates=rates,
        ratio=rates[numbers[-1]] / rates[numbers[0]],
    )
    title = f"{report.bundle}, mode {mode}, {here.cpu}\nload before: {load:.1f}{' (shared)' if report.shared else ''}"
    shown = table(">workers", ">pictures/s", ">ratio", ">start, s", title=title)
    for n in numbers:
        start = float(np.median([run.start_seconds for run in runs if run.workers == n]))
        shown.add_row(str(n), f"{rates[n]:.2f}", f"{rates[n] / rates[numbers[0]]:.2f}×", f"{start:.1f}")
    out.print(shown)
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))


def _copies(photos: list[Path], folder: Path, count: int) -> None:
    folder.mkdir()
    for i in range(count):
        photo = photos[i % len(photos)]
        shutil.copy(photo, folder / f"{i:05}{photo.suffix}")


def _run(bundle: Bundle, folder: Path, gallery: Gallery, workers: int, threads: int) -> Run:
    start, done = time.perf_counter(), list[tuple[float, int]]()

    def on_progress(report: IndexReport) -> None:
        if report.frames:
            done.append((time.perf_counter() - start, report.frames))

    sources = find_sources([str(folder)])
    report = index_with_ray(bundle.root, sources, gallery, workers=workers, threads=threads, on_progress=on_progress)
    seconds = time.perf_counter() - start
    (first, before), (last, after) = done[0], done[-1]
    rate = (after - before) / (last - first) if last > first else 0.0
    return Run(workers=workers, people=report.people, start_seconds=first, seconds=seconds, rate=rate)


if __name__ == "__main__":
    run_app(app)
