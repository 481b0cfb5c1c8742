"""Erasing and indexing that are killed at each of their steps, or find the disk full: is anything left behind?

    python -m benchmarks.erasure_kills --runs 2000 --json benchmarks/results/erasure_kills.json

Each run takes a copy of a small gallery with indices, has a process do something to it, and stops that process: with
SIGKILL before its n-th step (`mgts_trt.gallery.disk.steps`), with SIGKILL at a moment drawn by chance, with steps that
find the disk full from the n-th on, on a real disk that has so many bytes left, or on one that takes no file longer
than so many. In a part of the runs the clock is a day ahead or behind, or a second process writes or erases meanwhile.
Then another process, whose clock is wrong the other way, writes to the gallery; the action is repeated; and all files
are read: no embedding, picture, name, id or hash of what was to go may be there, `gallery verify` must find nothing,
and everything else must be there once, as it was. What had been indexed is forgotten in every third run: then nothing
of it may be there, either. The tests try some of it.
"""

import gc
import importlib
import logging
import random
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from benchmarks.erasure import faults
from benchmarks.erasure.actions import ACTIONS, DAY, Films, all_secrets, fill
from benchmarks.erasure.faults import BY_CHANCE, BY_STEP, NEEDS_NO_ROOM, Fault, child
from benchmarks.erasure.made_up import Film, holding, stored
from mgts_trt.cli.console import out, progress
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Gallery, vector_index
from mgts_trt.gallery.disk import steps
from mgts_trt.gallery.verifying import verify

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BESIDE = {"": "", "writes": "a second writer", "erases": "a second eraser"}
_WRITE_EVERY = 50
_PATIENCE = 10
_CLOCKS = {0: "", DAY: "a day ahead", -DAY: "a day behind"}


class Run(NamedTuple):
    """One run: what is done, what befalls it, and what a second process does meanwhile."""

    action: str
    fault: Fault
    beside: str = ""

    @property
    def circumstance(self) -> str:
        """In words."""
        return ", ".join(filter(None, (self.fault.kind, _CLOCKS[self.fault.clock], BESIDE[self.beside])))


class KillReport(BaseModel):
    """What became of the runs.

    Attributes:
        runs: How many.
        failures: Run → what was wrong after it.
        stopped: Fault → in how many runs it came to that.
        clock: Whether there was a C compiler to make another clock with.
        disk: Whether a disk of its own could be mounted, to be filled.
        seconds: All runs together.
        steps: Action → the names of its steps, in order, each as often as it is reached.
        counts: Action → step, or what stopped it by chance → circumstance → runs.
    """

    environment: Environment
    runs: int = 0
    failures: dict[str, str] = {}
    stopped: dict[str, int] = {}
    clock: bool = False
    disk: bool = False
    seconds: float = 0.0
    steps: dict[str, list[str]] = {}
    counts: dict[str, dict[str, dict[str, int]]] = {}


class Measured(NamedTuple):
    """Of an action that is not stopped: seconds, bytes that it needs on the disk, and sizes of the files it writes."""

    seconds: float
    bytes: int
    sizes: list[int]


@app.command()
def main(
    runs: Annotated[int, typer.Option(min=1, help="How many.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the order and of the moments.")] = 1,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no run after so long.")] = 600,
    json_file: JsonOption = None,
) -> None:
    """Stop erasures and indexing; exit with 1 where anything is left behind."""
    with tempfile.TemporaryDirectory() as name:
        code = faults.again_with_clock_and_disk(Path(name), "benchmarks.erasure_kills")
        if code is not None:
            raise typer.Exit(code)
        try:
            report = sweep(Path(name), runs, seed, minutes, json_file)
        finally:
            faults.give_back(Path(name))
    stopped = ", ".join(f"{fault}: {count}" for fault, count in report.stopped.items())
    out.print(f"{report.runs} runs, {len(report.failures)} failures, {report.seconds} s; came to {stopped}")
    for run, failure in report.failures.items():
        out.print(f"  {run}: {failure}", markup=False)
    raise typer.Exit(1 if report.failures else 0)


def sweep(folder: Path, runs: int, seed: int, minutes: float, json_file: Path | None) -> KillReport:
    """So many runs, of those there are, evenly over actions and faults; the report is written again and again."""
    importlib.import_module("lancedb.index")  # once, not in every process
    importlib.import_module("lancedb.expr")
    importlib.import_module("pyarrow.compute")
    vector_index.INDEX_FROM = 8
    start, films = time.monotonic(), Films.below(folder, time.time())
    report = KillReport(environment=environment(), clock=faults.clock() is not None, disk=folder.is_mount())
    Path(films.kept.source).parent.mkdir()
    for film in (films.kept, films.gate):
        Path(film.source).touch()
    gc.freeze()  # what was loaded is shared with every process
    measured = {name: _enumerate(folder, films, name, report) for name in ACTIONS}
    with progress() as bar:
        for run in bar.track(list(_plan(report, measured, runs, random.Random(seed))), description="runs"):
            if time.monotonic() - start > minutes * 60:
                break
            _count(report, run, *_try(run, folder, films))
            report.seconds = round(time.monotonic() - start, 1)
            if json_file and report.runs % _WRITE_EVERY == 0:
                write_json(json_file, report.model_dump_json(indent=2))
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))
    return report


def _enumerate(folder: Path, films: Films, name: str, report: KillReport) -> Measured:
    """Do an action once, undisturbed, and write down its steps."""
    action, root, told = ACTIONS[name], folder / "gallery", folder / "told"
    _check(child(lambda: fill(folder / name, films, action)), f"filling the gallery of {name}")
    shutil.copytree(folder / name, root)
    told.write_text("")
    start, free = time.monotonic(), shutil.disk_usage(folder).free

    def tell() -> None:
        def on_step(step: str) -> None:
            with told.open("a") as file:
                file.write(f"{step}\t{free - shutil.disk_usage(folder).free}\n")

        steps.on_step = on_step
        action.do(root, films)

    _check(child(tell), name)
    lines = [line.split("\t") for line in told.read_text().splitlines()]
    report.steps[name] = [step for step, _ in lines]
    old = {file.relative_to(folder / name) for file in (folder / name).rglob("*")}
    new = [file for file in root.rglob("*") if file.is_file() and file.relative_to(root) not in old]
    sizes = sorted({file.stat().st_size for file in new} - {0})
    shutil.rmtree(root)
    return Measured(time.monotonic() - start, max(int(used) for _, used in lines), sizes)


def _plan(report: KillReport, measured: dict[str, Measured], runs: int, chance: random.Random) -> Iterator[Run]:
    """First a kill at each step by its name, then at each time it is reached, and each that writes with a full disk.

    Among them are moments and sizes by chance: in one of nine runs at first, then in one of three.
    """
    every = [
        (name, kind, at)
        for name, names in report.steps.items()
        for at, step in enumerate(names)
        for kind in BY_STEP
        if kind == "killed" or not step.startswith(NEEDS_NO_ROOM)
    ]
    chance.shuffle(every)
    first = {(name, report.steps[name][at]): (name, kind, at) for name, kind, at in every if kind == "killed"}
    queue = [each for each in every if each not in first.values()] + list(first.values())
    by_chance = [kind for kind in BY_CHANCE if kind != "filled" or report.disk]
    for number in range(runs):
        by_name = len(queue) > len(every) - len(first)
        if queue and number % (9 if by_name else 3):
            name, kind, at = queue.pop()
        elif not queue and number % 2:
            name, kind, at = chance.choice(every)
        else:
            name, kind = chance.choice(list(ACTIONS)), chance.choice(by_chance)
            of = measured[name]
            # Cut at its very end, a file may be taken for whole.
            end = {"moment": 1200 * of.seconds, "short": chance.choice(of.sizes), "filled": 1.1 * of.bytes}[kind]
            at = chance.randrange(int(end)) if kind != "short" or chance.random() < 0.5 else int(end) - 1
        clock = chance.choice((0, 0, DAY, -DAY)) if report.clock else 0
        beside = "" if kind == "filled" else chance.choice(("", "", "", "writes", "erases"))  # it would fill up as well
        yield Run(name, Fault(kind, at, clock), beside)


def _count(report: KillReport, run: Run, stopped: bool, failure: str) -> None:
    fault = run.fault
    report.runs += 1
    report.stopped[fault.kind] = report.stopped.get(fault.kind, 0) + stopped
    step = report.steps[run.action][fault.at] if fault.kind in BY_STEP else f"by chance: {fault.kind}"
    counts = report.counts.setdefault(run.action, {}).setdefault(step, {})
    counts[run.circumstance] = counts.get(run.circumstance, 0) + 1
    if failure:
        report.failures[f"{run} at {step}"] = failure


def _try(run: Run, folder: Path, films: Films) -> tuple[bool, str]:
    """Whether it came to the fault, and what was wrong after it."""
    root, told, fault = folder / "gallery", folder / "told", run.fault
    shutil.copytree(folder / run.action, root)
    try:
        second = faults.beside(partial(_beside, run, root, films)) if run.beside else 0
        after = fault.at / 1000 if fault.kind == "moment" else None
        status = child(lambda: (faults.arm(fault, folder), ACTIONS[run.action].do(root, films)), after)
        faults.make_room(folder)
        if second and faults.wait(second):
            return True, "the second process failed"
        told.write_text("")
        if child(partial(look, run, root, films, told)):
            return status != 0, told.read_text() or "the process that wrote next failed"
        return status != 0, holding(root, _secrets(run, films))
    finally:
        shutil.rmtree(root)


def _beside(run: Run, root: Path, films: Films) -> None:
    for left in reversed(range(_PATIENCE if run.fault.kind == "short" else 1)):
        try:
            with Gallery.open(root) as gallery:
                if run.beside == "erases":
                    gallery.forget(films.gate.source)
                else:
                    films.beside.index_into(gallery)
            return
        except GalleryError:  # it may meet what the other's full disk cut short; the message says to repeat
            if not left:
                raise
            time.sleep(0.2)


def _forgets_at_last(run: Run) -> bool:
    """Whether what the action brought is forgotten at the end."""
    return ACTIONS[run.action].brings and run.fault.at % 3 == 1


def _secrets(run: Run, films: Films) -> set[bytes]:
    """What no file may hold at the end."""
    secrets = ACTIONS[run.action].secrets(films)
    if _forgets_at_last(run):
        secrets |= all_secrets(films.forgotten) | all_secrets(films.replaced)
    return secrets | ({*films.gate.secrets(), films.gate.source.encode()} if run.beside == "erases" else set())


def look(run: Run, root: Path, films: Films, told: Path) -> None:
    """Write to the gallery, repeat the action, and compare with what is to be there."""
    faults.turn_clock(-run.fault.clock)
    action, film = ACTIONS[run.action], films.forgotten
    try:
        with Gallery.open(root) as gallery:
            films.later.index_into(gallery)
            found = verify(root)
            left = [found.under_way, found.orphans, found.damaged, found.missing, found.unread]
            assert not any(left), f"the next writer left {left}"
            if not action.brings:  # it was finished, or not begun
                rows = [row for row in stored(gallery) if row[0] == film.source]
                whole = sorted(film.rows(), key=repr)
                done = [row for each in action.leaves(films) for row in each.rows() if row[0] == film.source]
                assert rows in (whole, sorted(done, key=repr)), "half of it is left"
                assert rows == whole or not (where := holding(root, action.secrets(films))), f"not repeated, {where}"
        action.do(root, films)
        leaves = action.leaves(films)
        with Gallery.open(root) as gallery:
            if _forgets_at_last(run):
                assert gallery.forget(film.source) > 0, "what was indexed is not there"
                leaves = tuple(each for each in leaves if each.source != film.source)
            _compare(gallery, run, films, [each for each in leaves if each != films.gate or run.beside != "erases"])
        found = verify(root)
        assert found.clean, f"gallery verify: {found}"
    except BaseException as error:
        told.write_text(f"{type(error).__name__}: {error} {traceback.format_exc()[-600:]}")
        raise


def _compare(gallery: Gallery, run: Run, films: Films, leaves: list[Film]) -> None:
    expected = [*leaves, films.later, *([films.beside] if run.beside == "writes" else [])]
    assert stored(gallery) == sorted((row for film in expected for row in film.rows()), key=repr), "other people"
    frames = sum(film.frames + film.ends for film in expected)
    assert gallery.tables[1].count_rows() == frames, "other frames"
    for film in expected:
        ends = (set(range(film.frames)), film.frames if film.ends else None)
        assert gallery.frames_done(film.source, film.sha256) == ends, f"frames of {film.source}"
    assert gallery.sightings is not None
    ids = gallery.sightings.search().select(["id"]).to_arrow()["id"].to_pylist()
    assert sorted(ids) == sorted(each.id for film in expected for each in film.sightings()), "other sightings"
    out_now = gallery.place.tombstones.cover(films.forgotten.source, films.forgotten.sha256)
    stays = any(each.source == films.forgotten.source for each in leaves)
    assert out_now == ((run.action.startswith("forget") and not stays) or _forgets_at_last(run)), "its tombstone"


def _check(status: int, what: str) -> None:
    if status:
        raise GalleryError(f"What is not to fail did: {what}, status {status}.")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*fork")
    logging.getLogger("mgts_trt.gallery").setLevel(logging.ERROR)  # it tells of each erasure that was cut off
    run_app(app)
