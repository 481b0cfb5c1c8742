"""Thirty days of sightings in galleries by day, beside one gallery of all: searches, erasing a day, indexing, disk.

Made up: some cameras, and of each as many sightings a day, of one frame, without pictures; embeddings lie as in
`benchmarks.gallery_search`. Both are asked the same in turns. One gallery picks days by `time>=…,time<…`, the other
opens the days alone. Recall is against exact search of the same days.

    python -m benchmarks.partitions --json benchmarks/results/partitions.json
"""

import datetime as dt
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from benchmarks.gallery_search import DIM, Data, make_embeddings
from mgts_trt._typing import Floats
from mgts_trt.cli.console import out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.gallery import Entry, Frame, Gallery, Sighting, Space, parse_filter
from mgts_trt.gallery.partitions import PartitionedGallery
from mgts_trt.gallery.question import Question
from mgts_trt.gallery.ranking import Ranking, rank_gallery
from mgts_trt.gallery.retention import Policy, expire
from mgts_trt.gallery.sighting import sighting_id
from mgts_trt.gallery.tables import person_id
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

FIRST = dt.date(2026, 10, 1)
SECONDS = 86400
CROWD = 25
"""People in a frame; each has a sighting of this one frame."""
TOP = 10
SPACE = Space(model="mgts", weights="synthetic", mode="box", gamma=1.3, patch=(256, 128), embedding=DIM, preset="paper")


class Side(BaseModel):
    """Milliseconds of a search, by the clock."""

    p50: float
    p95: float
    recall: float
    """Mean share of the true `TOP` that was found."""


class Search(BaseModel):
    """One question, asked of both."""

    name: str
    sightings: int
    """Among how many."""
    one: Side
    days: Side
    faster: float
    """How many times the one gallery's p50 is the days'."""


class Report(BaseModel):
    """What was measured, and where."""

    environment: Environment
    load_average: tuple[float, float, float]
    """When the searches began: of a machine that others use, timings are upper bounds."""
    days: int
    cameras: int
    sightings_a_camera_day: int
    sightings: int
    """In all; as many people."""
    probes: int
    seconds_to_index: dict[str, float]
    """Rows stored and indices made, of `one` and `days`."""
    bytes: dict[str, int]
    searches: list[Search]
    seconds_to_erase_a_day: dict[str, float]
    people_erased: dict[str, int]
    seconds_to_erase_a_day_of_few: float
    """The same of a folder with a tenth of the days left."""


@app.command()
def main(
    days: Annotated[int, typer.Option(min=10)] = 30,
    cameras: Annotated[int, typer.Option(min=2)] = 20,
    sightings: Annotated[int, typer.Option(min=CROWD, help=f"Of each camera a day; in steps of {CROWD}.")] = 1250,
    probes: Annotated[int, typer.Option(min=1)] = 30,
    json_file: JsonOption = None,
) -> None:
    """Fill both, ask both, and erase a day of both."""
    sightings -= sightings % CROWD
    a_day = cameras * sightings
    total = days * a_day
    # Embeddings come in blocks of 400 people of twenty sightings; here one of each is taken.
    looks, asked = make_embeddings(-(-total // 400) * 400, probes, Data.people)
    looks = looks[np.random.default_rng(1).permutation(len(looks))[:total]]
    with tempfile.TemporaryDirectory() as folder, PartitionedGallery.create(f"{folder}/days", SPACE) as by_day:
        with Gallery.create(f"{folder}/one", SPACE) as one, progress() as bar:
            task = bar.add_task("adding", total=days)
            took = {"one": 0.0, "days": 0.0}
            for day in range(days):
                frames, theirs = a_days(day, cameras, sightings, looks[day * a_day :][:a_day])
                for name, add in {"one": one.add, "days": by_day.add}.items():
                    took[name] += _seconds(partial(add, frames, theirs))
                bar.advance(task)
            took["one"] += _seconds(one.optimise)
            took["days"] += _seconds(by_day.optimise)
            load = os.getloadavg()
            searches = list(_search(one, by_day, asked, days))
            sizes = {name: _bytes(Path(folder) / name) for name in ("one", "days")}
            over = dt.datetime.combine(FIRST + dt.timedelta(days=1), dt.time(), dt.UTC).timestamp()
            erased, seconds = {"one": 0, "days": 0}, {"one": 0.0, "days": 0.0}
            start = time.perf_counter()
            erased["one"] = expire(one, Policy(keep=1.0), now=over + 1.0).people
            seconds["one"] = time.perf_counter() - start
            start = time.perf_counter()
            erased["days"] = by_day.erase_before(FIRST + dt.timedelta(days=1))[1]
            seconds["days"] = time.perf_counter() - start
            few = days - days // 10
            by_day.erase_before(FIRST + dt.timedelta(days=few - 1))
            last = _seconds(lambda: by_day.erase_before(FIRST + dt.timedelta(days=few)))
        report = Report(
            environment=environment(), load_average=load, days=days, cameras=cameras, sightings_a_camera_day=sightings,
            sightings=total, probes=probes, searches=searches, bytes=sizes, people_erased=erased,
            seconds_to_index={name: round(each, 2) for name, each in took.items()},
            seconds_to_erase_a_day={name: round(each, 3) for name, each in seconds.items()},
            seconds_to_erase_a_day_of_few=round(last, 3),
        )  # fmt: skip
    _print(report)
    if json_file:
        write_json(json_file, json.dumps(report.model_dump(mode="json"), indent=2))


def a_days(day: int, cameras: int, count: int, looks: Floats) -> tuple[list[Entry], list[Sighting]]:
    """A day's frames, and sightings [cameras × count]; each camera's lie evenly over the day, `CROWD` a frame."""
    begin = dt.datetime.combine(FIRST + dt.timedelta(days=day), dt.time(), dt.UTC).timestamp()
    entries, sightings = list[Entry](), list[Sighting]()
    frames = count // CROWD
    step = SECONDS / frames
    for number, some in enumerate(looks.reshape(-1, CROWD, DIM)):
        camera, turn = divmod(number, frames)
        time_ = begin + turn * step + camera * step / cameras / 2
        frame = Frame(f"rtsp://camera{camera}/live", day * frames + turn, time=time_, camera=str(camera))
        rows = [person_id(frame.key, i) for i in range(CROWD)]
        names = [sighting_id(row) for row in rows]
        entries.append(Entry(frame, _people(some), sightings=names))
        sightings += [
            Sighting(
                id=name, likeness=None, source=frame.source, camera=str(camera), sha256="", start=time_, end=time_,
                first=frame.number, last=frame.number, frames=1, path=np.float32([[0, 10, 10, 60, 160]]), best=(row,),
                closed=True, embedding=look, scores=(0.8, 0.8),
            )
            for name, row, look in zip(names, rows, some, strict=True)
        ]  # fmt: skip
    return entries, sightings


def _people(looks: Floats) -> People:
    boxes = np.tile(np.float32([10, 10, 60, 160]), (CROWD, 1))
    scores, none = np.full(CROWD, 0.8, np.float32), np.zeros(CROWD, np.int32)
    whole = Letterbox((900, 1500), (900, 1500))
    return People(boxes, scores, looks, none, boxes.astype(np.int32), whole, {}, boxes, None)


def _search(one: Gallery, by_day: PartitionedGallery, asked: Floats, days: int) -> Iterator[Search]:
    last = FIRST + dt.timedelta(days=days - 1)
    middle = FIRST + dt.timedelta(days=days // 2)
    week = middle - dt.timedelta(days=6)
    for name, since, until, camera in (
        ("one day", middle, middle, None),
        ("a week", max(week, FIRST), middle, None),
        ("all days", FIRST, last, None),
        ("one camera, one day", middle, middle, "1"),
        ("one camera, all days", FIRST, last, "1"),
    ):
        begin, end = (
            dt.datetime.combine(day, dt.time(), dt.UTC).timestamp() for day in (since, until + dt.timedelta(days=1))
        )
        where = f"time>={begin},time<{end}" + (f",camera={camera}" if camera else "")
        chosen = parse_filter(where)

        def ask_one(question: Question, exact: bool = False, chosen: object = chosen) -> Ranking:
            return rank_gallery(one, question, top=TOP, where=chosen, exact=exact, pictures=False)  # type: ignore[arg-type]

        def ask_days(
            question: Question, since: dt.date = since, until: dt.date = until, camera: str | None = camera
        ) -> Ranking:
            return by_day.rank(question, since=since, until=until, camera=camera, top=TOP, pictures=False)

        yield _measure(name, ask_one, ask_days, asked)


def _measure(
    name: str, ask_one: Callable[..., Ranking], ask_days: Callable[[Question], Ranking], asked: Floats
) -> Search:
    times: dict[str, list[float]] = {"one": [], "days": []}
    recalls: dict[str, list[float]] = {"one": [], "days": []}
    count = 0
    questions = [Question(probe[None], np.zeros((0, 0), np.float32)) for probe in asked]
    for question in questions[:3]:  # warm up: partitions are read from disk once
        ask_one(question)
        ask_days(question)
    for turn, question in enumerate(questions):
        wanted = _found(ask_one(question, exact=True))
        sides = [("one", ask_one), ("days", ask_days)]
        for side, ask in sides if turn % 2 else reversed(sides):
            start = time.perf_counter()
            ranking = ask(question)
            times[side].append((time.perf_counter() - start) * 1e3)
            recalls[side].append(len(wanted & _found(ranking)) / max(len(wanted), 1))
            count = ranking.sightings
    told = {
        side: Side(
            p50=round(float(np.percentile(times[side], 50)), 1),
            p95=round(float(np.percentile(times[side], 95)), 1),
            recall=round(float(np.mean(recalls[side])), 4),
        )
        for side in times
    }
    faster = round(told["one"].p50 / max(told["days"].p50, 0.1), 2)
    return Search(name=name, sightings=count, faster=faster, **told)


def _found(ranking: Ranking) -> set[str]:
    return {match.stay.id for match in ranking.matches if match.stay}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _print(report: Report) -> None:
    title = f"{report.sightings:,} sightings of {report.days} days; p50, ms (recall@{TOP})"
    rows = table("search", ">sightings", ">one gallery", ">by day", ">times faster", title=title)
    for each in report.searches:
        one, days = (f"{side.p50} ({side.recall:.3f})" for side in (each.one, each.days))
        rows.add_row(each.name, f"{each.sightings:,}", one, days, f"{each.faster}")
    out.print(rows)
    for what, told in (
        ("indexed in, s", report.seconds_to_index),
        ("bytes", report.bytes),
        ("a day erased in, s", report.seconds_to_erase_a_day),
    ):
        out.print(f"{what}: one gallery {told['one']:,}, by day {told['days']:,}")


if __name__ == "__main__":
    run_app(app)
