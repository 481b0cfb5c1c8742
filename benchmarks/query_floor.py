"""What LanceDB takes for a query of hardly anything: the least that any search of a gallery takes.

A table of 1,000 embeddings has nothing to search. LanceDB's blocking query and the same query as one errand
(`mgts_trt.gallery.lance.queried`) take turns, and so do reading ten rows by their numbers and counting rows.

    python -m benchmarks.query_floor --json benchmarks/results/query_floor.json
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from benchmarks.gallery_search import DIM, TOP
from mgts_trt.cli.console import out, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.gallery.lance import queried

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_ROWS = 1000


class Way(BaseModel):
    """One way to ask; milliseconds."""

    name: str
    p50: float
    least: float
    cpu: float
    """Mean of all cores together."""


class Report(BaseModel):
    """What was measured, and where."""

    environment: Environment
    load_average: tuple[float, float, float]
    """Of a machine that others use, times of the clock are upper bounds."""
    rows: int
    rounds: int
    ways: list[Way]
    blocking_by_errand: float
    """CPU time of the blocking query by that of the errand."""


@app.command()
def main(rounds: Annotated[int, typer.Option(min=1)] = 200, json_file: JsonOption = None) -> None:
    """Measure the floor."""
    import lancedb
    import pyarrow as pa

    vectors = np.random.default_rng(0).standard_normal((_ROWS, DIM), np.float32)
    rows = pa.table(
        {
            "id": pa.array(map(str, range(_ROWS))),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM),
        }
    )
    columns = ["id", "_distance"]
    with tempfile.TemporaryDirectory() as folder:
        database = lancedb.connect(folder, read_consistency_interval=timedelta(0))
        people = database.create_table("people", rows)

        def blocking(probe: np.ndarray) -> object:
            query = people.search(probe, vector_column_name="embedding").distance_type("cosine")
            return query.limit(TOP).select(columns).to_arrow()

        def errand(probe: np.ndarray) -> object:
            return queried(
                people,
                lambda asked: asked.query().nearest_to(probe).distance_type("cosine").limit(TOP).select(columns),
            )

        ways: dict[str, Callable[[np.ndarray], object]] = {
            "blocking query": blocking,
            "one errand": errand,
            "ten rows by number": lambda _: queried(people, lambda asked: asked.take_row_ids(list(range(TOP)))),
            "count of rows": lambda _: people.count_rows(),
        }
        measured = _measure(ways, vectors[:rounds] if rounds <= _ROWS else vectors, rounds)
    cpu = {way.name: way.cpu for way in measured}
    report = Report(
        environment=environment(),
        load_average=os.getloadavg(),
        rows=_ROWS,
        rounds=rounds,
        ways=measured,
        blocking_by_errand=round(cpu["blocking query"] / cpu["one errand"], 2),
    )
    shown = table("way", ">p50, ms", ">least, ms", ">CPU, ms", title=f"a table of {_ROWS} embeddings")
    for way in report.ways:
        shown.add_row(way.name, f"{way.p50}", f"{way.least}", f"{way.cpu}")
    out.print(shown)
    if json_file:
        write_json(json_file, json.dumps(report.model_dump(mode="json"), indent=2))


def _measure(ways: dict[str, Callable[[np.ndarray], object]], probes: np.ndarray, rounds: int) -> list[Way]:
    """All ways in turn, so that a busy moment meets all of them."""
    clock: dict[str, list[float]] = {name: [] for name in ways}
    cpu = dict.fromkeys(ways, 0.0)
    for turn in range(-5, rounds):  # the first rounds warm up
        for name, call in ways.items():
            start, spent = time.perf_counter(), time.process_time()
            call(probes[turn % len(probes)])
            if turn >= 0:
                clock[name].append((time.perf_counter() - start) * 1e3)
                cpu[name] += (time.process_time() - spent) * 1e3
    return [
        Way(
            name=name,
            p50=round(float(np.median(times)), 2),
            least=round(min(times), 2),
            cpu=round(cpu[name] / rounds, 2),
        )
        for name, times in clock.items()
    ]


if __name__ == "__main__":
    run_app(app)
