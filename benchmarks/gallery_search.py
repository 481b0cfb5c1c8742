"""How long a search of a gallery takes, and how many of the most similar people it finds, with and without a filter.

The gallery is made up. `sightings` look like re-ID's: identities unequally spread over the sphere, 20 sightings each,
two of which have a mean cosine of 0.70; probes are further sightings. `uniform` embeddings have no neighbourhoods,
which is the worst an index can meet. CPU time beside the clock's tells what a machine without other work would take: on
two cores no more than that, and no less than half.

    python -m benchmarks.gallery_search --people 1000000 --json benchmarks/results/gallery_search.json
"""

import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt._typing import Floats, Ints
from mgts_trt.cli.console import out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.gallery import Entry, Filter, Frame, Gallery, Space, parse_filter
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SIGHTINGS = 20
"""Of each identity, and people in each frame."""
CAMERAS = 8
NOISE = 0.65
"""Length of what a sighting adds to its identity, which has length 1: the cosine of two is 1 / (1 + NOISE²)."""
FRAMES_AT_ONCE = 1000
TOP = 10
DIM = 128


class Data(StrEnum):
    """Where embeddings lie."""

    sightings = "sightings"
    uniform = "uniform"


class Search(BaseModel):
    """One way to search, over all probes; milliseconds."""

    name: str
    where: str | None
    exact: bool
    share: float
    """Of the people that the filter leaves."""
    p50: float
    p95: float
    cpu: float
    """Mean time of all cores together."""
    recall: float
    """Mean share of the true `TOP` that was found."""


class Report(BaseModel):
    """What was measured, and where."""

    environment: Environment
    load_average: tuple[float, float, float]
    """When the searches began: of a machine that others use, timings are upper bounds."""
    people: int
    data: Data
    added_later: int
    """People added after the index was made, and searched all the same."""
    seconds_to_add: float
    seconds_to_optimise: float
    bytes: int | None
    peak_memory_mib: int
    searches: list[Search]


@app.command()
def main(
    people: Annotated[int, typer.Option(min=1000)] = 1_000_000,
    data: Annotated[Data, typer.Option()] = Data.sightings,
    later: Annotated[int, typer.Option(min=0, help="People added after the index was made.")] = 10_000,
    probes: Annotated[int, typer.Option(min=1)] = 100,
    folder: Annotated[Path | None, typer.Option(help="Where to make the gallery; kept.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Make a gallery, index it, add some more, and search it."""
    people, later = people - people % SIGHTINGS, later - later % SIGHTINGS
    embeddings, targets = make_embeddings(people + later, probes, data)
    with tempfile.TemporaryDirectory() as temporary:
        space = Space(
            model="mgts", weights="synthetic", mode="box", gamma=1.3, patch=(256, 128), embedding=DIM, preset="paper"
        )
        with Gallery.create(folder or temporary, space) as gallery:
            start = time.perf_counter()
            _add(gallery, embeddings, range(people // SIGHTINGS))
            added = time.perf_counter()
            gallery.optimise()
            optimised = time.perf_counter()
            _add(gallery, embeddings, range(people // SIGHTINGS, (people + later) // SIGHTINGS))
            report = Report(
                environment=environment(),
                load_average=os.getloadavg(),
                people=people,
                data=data,
                added_later=later,
                seconds_to_add=round(added - start, 1),
                seconds_to_optimise=round(optimised - added, 1),
                bytes=gallery.summary().bytes,
                searches=list(_search(gallery, embeddings, targets)),
                peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            )
    _print(report)
    if json_file:
        write_json(json_file, json.dumps(report.model_dump(mode="json"), indent=2))


def make_embeddings(people: int, probes: int, data: Data) -> tuple[Floats, Floats]:
    """Embeddings of stored people [N, 128], in random order, and of probes; all of length 1."""
    rng = np.random.default_rng(0)
    if data is Data.uniform:
        return _unit(_normal(rng, people)), _unit(_normal(rng, probes))
    # Principal components of learned embeddings fall off; a root is mild.
    spread = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    identities = _unit(_normal(rng, people // SIGHTINGS) * spread)
    shown = rng.permutation(np.repeat(np.arange(len(identities)), SIGHTINGS))
    wanted = rng.integers(len(identities), size=probes)
    return _seen(rng, identities[shown]), _seen(rng, identities[wanted])


def _seen(rng: np.random.Generator, looks: Floats) -> Floats:
    return _unit(looks + _normal(rng, len(looks)) * np.float32(NOISE / DIM**0.5))


def _normal(rng: np.random.Generator, rows: int) -> Floats:
    return rng.standard_normal((rows, DIM), np.float32)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _frame(number: int) -> Frame:
    camera = number % CAMERAS
    return Frame(f"/camera{camera}/{number}.jpg", sha256=f"{number:064x}", time=float(number), camera=str(camera))


def _add(gallery: Gallery, embeddings: Floats, frames: range) -> None:
    with progress() as bar:
        task = bar.add_task("adding", total=len(frames))
        for first in range(frames.start, frames.stop, FRAMES_AT_ONCE):
            some = range(first, min(first + FRAMES_AT_ONCE, frames.stop))
            gallery.add([_entry(number, embeddings[number * SIGHTINGS :][:SIGHTINGS]) for number in some])
            bar.advance(task, len(some))


def _entry(number: int, embeddings: Floats) -> Entry:
    count = len(embeddings)
    boxes = np.tile(np.float32([10, 10, 60, 160]), (count, 1))
    none = np.zeros(count, np.int32)
    whole = Letterbox((900, 1500), (900, 1500))
    scores = np.full(count, 0.9, np.float32)
    return Entry(
        _frame(number), People(boxes, scores, embeddings, none, boxes.astype(np.int32), whole, {}, boxes, None)
    )


def _search(gallery: Gallery, embeddings: Floats, probes: Floats) -> Iterator[Search]:
    frames = np.arange(len(embeddings)) // SIGHTINGS
    total = int(frames[-1]) + 1
    hundredth = max(total // 100, 1)
    cases: list[tuple[str, str | None, Any]] = [
        ("all", None, np.ones(len(frames), bool)),
        ("not the probe's picture", f"sha256!={0:064x}", frames != 0),
        ("one camera", "camera=3", frames % CAMERAS == 3),
        ("half the time", f"time<{total // 2}", frames < total // 2),
        ("a hundredth of the time", f"time<{hundredth}", frames < hundredth),
        ("part of the source", "source~camera5", frames % CAMERAS == 5),
    ]
    for name, where, left in cases:
        truth = _most_similar(embeddings, np.flatnonzero(left), probes)
        for exact in (False, True) if where is None else (False,):
            yield _measure(gallery, name, where, exact, float(left.mean()), probes, truth)


def _most_similar(embeddings: Floats, left: Ints, probes: Floats) -> list[set[str]]:
    """Ids of the true `TOP` of each probe, by NumPy."""
    found = []
    for probe in probes:
        cosines = embeddings @ probe
        best = left[np.argsort(-cosines[left], kind="stable")[:TOP]]
        found.append({f"{_frame(int(i) // SIGHTINGS).key}-{int(i) % SIGHTINGS}" for i in best})
    return found


def _measure(
    gallery: Gallery, name: str, where: str | None, exact: bool, share: float, probes: Floats, truth: list[set[str]]
) -> Search:
    condition: Filter | None = parse_filter(where) if where else None
    for probe in probes[: 20 if not exact else 2]:  # warm up: partitions are read from disk once
        gallery.search(probe, top=TOP, where=condition, exact=exact)
    milliseconds, recalls, cpu = [], [], time.process_time()
    for probe, wanted in list(zip(probes, truth, strict=True))[: 20 if exact else None]:
        start = time.perf_counter()
        found = gallery.search(probe, top=TOP, where=condition, exact=exact)
        milliseconds.append((time.perf_counter() - start) * 1e3)
        recalls.append(len(wanted & {person.id for person in found}) / len(wanted))
    cpu = (time.process_time() - cpu) * 1e3 / len(recalls)
    p50, p95 = np.percentile(milliseconds, (50, 95))
    return Search(
        name=name, where=where, exact=exact, share=round(share, 4), p50=round(float(p50), 1), p95=round(float(p95), 1),
        cpu=round(cpu, 1), recall=round(float(np.mean(recalls)), 4),
    )  # fmt: skip


def _print(report: Report) -> None:
    title = (
        f"{report.people:,} people ({report.data.value}) and {report.added_later:,} added later; "
        f"added in {report.seconds_to_add} s, indexed in {report.seconds_to_optimise} s"
    )
    rows = table("search", ">share", ">p50, ms", ">p95, ms", ">CPU, ms", f">recall@{TOP}", title=title)
    for search in report.searches:
        how = f"{search.name}, exact" if search.exact else search.name
        numbers = (f"{search.share:.3f}", f"{search.p50}", f"{search.p95}", f"{search.cpu}", f"{search.recall:.4f}")
        rows.add_row(how, *numbers)
    out.print(rows)


if __name__ == "__main__":
    run_app(app)
