"""What a gallery of ten million people would need: the same gallery measured as it grows, and a curve through that.

The gallery is that of `benchmarks.gallery_search`. At each size it is copied by hard links, and in processes of their
own the copy is optimised, searched for sightings and for people frame by frame, and one video of up to 20,000 people is
forgotten. Recall is the share of the ten that a comparison with everybody finds. Through each figure goes a line
`a + b · n`, and its residual is told beside what it predicts.

CPU seconds, of all cores together, do not depend on what else the machine does; the clock's do.

    python -m benchmarks.gallery_growth --folder /large/disk --json benchmarks/results/gallery_growth.json
"""

import json
import multiprocessing
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from benchmarks.gallery_search import (
    BLOCK,
    DIM,
    NOISE,
    TOP,
    Data,
    add_people,
    frame_at,
    make_embeddings,
    unit,
)
from mgts_trt._typing import Floats
from mgts_trt.cli.console import out, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.sightings import search_sightings, sightings_of

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

AIM = 10_000_000
_LINKED = ("data", "_indices")
"""Folders of a table whose files never change; all others are copied."""


class Size(BaseModel):
    """Measured at one number of people."""

    people: int
    figures: dict[str, float]
    recall_sightings: float
    recall_people: float


class Fit(BaseModel):
    """A line through one figure at all sizes."""

    figure: str
    a: float
    b_per_million: float
    residual: float
    """Root mean square of what the line misses, as a share of the mean."""
    at_ten_million: float


class Report(BaseModel):
    """What was measured, and where."""

    environment: Environment
    load_average: tuple[float, float, float]
    probes: int
    sizes: list[Size]
    fits: list[Fit]


@app.command()
def main(
    folder: Annotated[Path, typer.Option(help="Where to make the galleries; what is there from before is used.")],
    sizes: Annotated[str, typer.Option(help="Numbers of people, ascending.")] = "125000,250000,500000,1000000,2000000",
    probes: Annotated[int, typer.Option(min=1)] = 100,
    only_add: Annotated[bool, typer.Option(help="Make the galleries, and measure nothing else.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Grow a gallery, measure it at each size, and fit a line to each figure."""
    numbers = [int(size) // BLOCK * BLOCK for size in sizes.split(",")]
    folder.mkdir(parents=True, exist_ok=True)
    added = _grow(folder, numbers)
    if only_add:
        return
    targets = _further_looks(folder / str(numbers[0]), probes)
    load, measured = os.getloadavg(), list[Size]()
    for people in numbers:
        measured.append(_measure(folder, people, targets, added[str(people)]))
        out.print(f"{people:,} people: {measured[-1].figures}")
    fits = [_fit(name, measured) for name in measured[0].figures]
    report = Report(environment=environment(), load_average=load, probes=probes, sizes=measured, fits=fits)
    _print(report)
    if json_file:
        write_json(json_file, json.dumps(report.model_dump(mode="json"), indent=2))


def _grow(folder: Path, sizes: list[int]) -> dict[str, dict[str, float]]:
    """Add people, and leave a copy at each size; returns, by size, what adding took so far."""
    notes, growing = folder / "added.json", folder / "growing"
    added: dict[str, dict[str, float]] = json.loads(notes.read_text()) if notes.exists() else {}
    if all(str(people) in added for people in sizes):
        return added
    embeddings, _ = make_embeddings(sizes[-1], 1, Data.people)
    space = Space(
        model="mgts", weights="synthetic", mode="box", gamma=1.3, patch=(256, 128), embedding=DIM, preset="paper"
    )
    before, spent = 0, {"add_s": 0.0, "add_cpu_s": 0.0}
    for people in sizes:
        if str(people) not in added:
            wall, cpu = time.perf_counter(), time.process_time()
            with Gallery.create(growing, space) as gallery:
                add_people(gallery, embeddings, range(before // BLOCK, people // BLOCK))
            spent["add_s"] += time.perf_counter() - wall
            spent["add_cpu_s"] += time.process_time() - cpu
            copy(growing, folder / str(people))
            added[str(people)] = dict(spent)
            notes.write_text(json.dumps(added))
        before, spent = people, dict(added[str(people)])
    return added


def _further_looks(gallery: Path, count: int) -> Floats:
    """Of people that the smallest gallery has sightings of, float32 [N, 128]."""
    with Gallery.open(gallery) as opened:
        rows = sightings_of(opened, limit=count).sightings
    looks = np.stack([row.embedding for row in rows])
    noise = np.random.default_rng(0).standard_normal(looks.shape, np.float32) * np.float32(NOISE / DIM**0.5)
    return unit(looks + noise)


def copy(gallery: Path, to: Path) -> None:
    """Copy a gallery; of files that never change, a further link."""

    def one(source: str, target: str) -> None:
        linked = any(part in _LINKED for part in Path(source).relative_to(gallery).parts)
        (os.link if linked else shutil.copy2)(source, target)

    shutil.copytree(gallery, to, copy_function=one)


def _measure(folder: Path, people: int, probes: Floats, added: Mapping[str, float]) -> Size:
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    copy(folder / str(people), work)
    figures = dict(added)
    try:
        figures |= _named("optimise", _alone(partial(_optimise, work)))
        recalls = []
        for frames in (False, True):
            spent = _alone(partial(_search, work, probes, frames))
            recalls.append(round(spent.pop("recall"), 4))
            figures |= _named("search_people" if frames else "search_sightings", spent)
        figures |= _named("forget", _alone(partial(_forget, work)))
        figures["disk_gb"] = sum(path.stat().st_size for path in work.rglob("*") if path.is_file()) / 1e9
    finally:
        shutil.rmtree(work, ignore_errors=True)
    rounded = {name: round(value, 3) for name, value in figures.items()}
    return Size(people=people, figures=rounded, recall_sightings=recalls[0], recall_people=recalls[1])


def _alone(call: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What a call returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call).result()


def _named(name: str, spent: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}_{what}": value for what, value in spent.items()}


def _peak_mib() -> float:
    """The most memory this process had; unlike `getrusage` it does not count the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def _timed(call: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "mib": _peak_mib()}


def _optimise(folder: Path) -> dict[str, float]:
    with Gallery.open(folder) as gallery:
        return _timed(gallery.optimise)


def _forget(folder: Path) -> dict[str, float]:
    with Gallery.open(folder) as gallery:
        return _timed(lambda: gallery.forget(frame_at(0).source))


def _search(folder: Path, probes: Floats, frames: bool) -> dict[str, float]:
    with Gallery.open(folder) as gallery:
        search = gallery.search if frames else partial(search_sightings, gallery)
        for probe in probes[:20]:
            search(probe, top=TOP)
        times, found, cpu = [], [], time.process_time()
        for probe in probes:
            start = time.perf_counter()
            found.append({each.id for each in search(probe, top=TOP)})
            times.append((time.perf_counter() - start) * 1e3)
        cpu = (time.process_time() - cpu) * 1e3 / len(probes)
        memory = _peak_mib()
        truth = [{each.id for each in search(probe, top=TOP, exact=True)} for probe in probes]
    shares = [len(wanted & ids) / len(wanted) for wanted, ids in zip(truth, found, strict=True)]
    return {"p50_ms": float(np.median(times)), "cpu_ms": cpu, "mib": memory, "recall": float(np.mean(shares))}


def _fit(figure: str, sizes: list[Size]) -> Fit:
    people = np.array([size.people for size in sizes], np.float64) / 1e6
    values = np.array([size.figures[figure] for size in sizes])
    # Relative errors count: otherwise the largest size alone would settle the line.
    weights = 1 / np.maximum(np.abs(values), 1e-9)
    design = np.stack([np.ones_like(people), people], 1)
    a, b = np.linalg.lstsq(design * weights[:, None], values * weights, rcond=None)[0]
    missed = values - design @ (a, b)
    return Fit(
        figure=figure,
        a=round(float(a), 4),
        b_per_million=round(float(b), 4),
        residual=round(float(np.sqrt(np.mean((missed / values) ** 2))), 4),
        at_ten_million=round(float(a + b * AIM / 1e6), 2),
    )


def _print(report: Report) -> None:
    columns = [f">{size.people:,}" for size in report.sizes]
    rows = table("figure", *columns, ">10,000,000", ">residual", title="by number of people; a line through it")
    for fit in report.fits:
        values = [f"{size.figures[fit.figure]:,.1f}" for size in report.sizes]
        rows.add_row(fit.figure, *values, f"{fit.at_ten_million:,.1f}", f"{fit.residual:.1%}")
    for name in ("recall_sightings", "recall_people"):
        rows.add_row(name, *(f"{getattr(size, name):.4f}" for size in report.sizes), "", "")
    out.print(rows)


if __name__ == "__main__":
    run_app(app)
