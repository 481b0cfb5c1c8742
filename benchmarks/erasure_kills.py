"""Erasing and indexing that are killed at each of their steps, or find the disk full: is anything left behind?

    python -m benchmarks.erasure_kills --runs 2000 --json benchmarks/results/erasure_kills.json

Each run takes a copy of a small gallery with indices, has a process do something to it, and stops that process: with
SIGKILL before its n-th step (`mgts_trt.gallery.disk.steps`), with SIGKILL at a moment drawn by chance, with a disk
that is full from the n-th step on, or that takes no file longer than so many bytes. In a part of the runs the clock is
a day ahead or behind, or a second process writes meanwhile. Then another process writes to the gallery, does again
what had not been begun, and all files are read: no embedding, picture, name, id or hash of the forgotten may be there,
`gallery verify` must find nothing, and everything else must be what it was. The tests try a sample.
"""

import ctypes
import errno
import hashlib
import importlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt.cli.console import out, progress
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import GalleryError
from mgts_trt.gallery import Entry, Frame, Gallery, Sighting, Space, vector_index
from mgts_trt.gallery.corrections import correct
from mgts_trt.gallery.disk import steps
from mgts_trt.gallery.erasure import erase, of_sources
from mgts_trt.gallery.sighting import sighting_id
from mgts_trt.gallery.tables import person_id
from mgts_trt.gallery.verifying import verify
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

KEPT, FORGOTTEN, OTHER, LATER = "/films/kept-one.mp4", "/films/forgotten.mp4", "/films/other-writer.mp4", "/later.jpg"
OLD, NEW, CONTENT = "1f" * 32, "2e" * 32, "3d" * 32  # of the forgotten before and after it was replaced; of all others
SPACE = Space(model="mgts", weights="a" * 64, mode="box", gamma=1.3, patch=(256, 128), embedding=64, preset="edge")
DAY = 86_400
_SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
long mgts_clock_shift = 0;
int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(which, now);
    if (!status && which == CLOCK_REALTIME) now->tv_sec += mgts_clock_shift;
    return status;
}
"""
"""Another clock for a process: nobody may set the machine's."""


class Run(NamedTuple):
    """One run: what is done, how it is stopped, and at which step, byte or thousandth of a second."""

    action: str
    fault: str
    at: int
    clock: int = 0
    beside: bool = False


class KillReport(BaseModel):
    """What became of the runs.

    Attributes:
        runs: How many.
        steps: Action → the names of its steps, in order.
        stopped: Fault → in how many runs it came to that.
        clocks: Whether there was a C compiler to make another clock with.
        beside: Runs with a second writer.
        seconds: All runs together.
        faults: Run → what was wrong after it.
    """

    environment: Environment
    runs: int = 0
    steps: dict[str, list[str]] = {}
    stopped: dict[str, int] = {}
    clocks: bool = False
    beside: int = 0
    seconds: float = 0.0
    faults: dict[str, str] = {}


@app.command()
def main(
    runs: Annotated[int, typer.Option(min=1, help="How many.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the order and of the moments.")] = 1,
    json_file: JsonOption = None,
) -> None:
    """Stop erasures and indexing; exit with 1 where anything is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        _with_clock(Path(folder))
        report = sweep(Path(folder), runs, seed)
    stopped = ", ".join(f"{fault}: {count}" for fault, count in report.stopped.items())
    out.print(f"{report.runs} runs, {len(report.faults)} faults; came to {stopped}")
    for run, fault in report.faults.items():
        out.print(f"  {run}: {fault}")
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))
    raise typer.Exit(1 if report.faults else 0)


def sweep(folder: Path, runs: int, seed: int) -> KillReport:
    """So many runs, of those there are, each a process of its own, evenly over actions and faults."""
    importlib.import_module("lancedb.index")  # once, not in every process
    importlib.import_module("lancedb.expr")
    vector_index.INDEX_FROM = 8
    report, start = KillReport(environment=environment(), clocks=_clock() is not None), time.monotonic()
    template, root = folder / "template", folder / "gallery"
    _check(_child(lambda: _fill(template)), "filling the gallery")
    for action in ACTIONS:
        shutil.copytree(template, root)
        told = folder / "steps"
        told.write_text("")
        _check(_child(partial(_tell_and_act, told, action, root)), action)
        report.steps[action] = told.read_text().split("\n")[:-1]
        shutil.rmtree(root)
    with progress() as bar:
        for run in bar.track(list(_plan(report, runs, random.Random(seed))), description="runs"):
            shutil.copytree(template, root)
            stopped, fault = _try(run, root)
            report.runs += 1
            report.beside += run.beside
            report.stopped[run.fault] = report.stopped.get(run.fault, 0) + stopped
            if fault:
                report.faults[str(run)] = fault
            shutil.rmtree(root)
    report.seconds = round(time.monotonic() - start, 1)
    return report


def _plan(report: KillReport, runs: int, chance: random.Random) -> Iterator[Run]:
    """Every step of every action, killed and with a full disk; and every third run a moment or a size by chance."""
    clocks = (0, DAY, -DAY) if report.clocks else (0,)
    every = [
        Run(action, fault, at, chance.choice(clocks), chance.random() < 0.2)
        for action, names in report.steps.items()
        for fault in ("killed", "full")
        for at in range(len(names))
    ]
    chance.shuffle(every)
    for number in range(runs):
        if number % 3 and every:
            yield every.pop()
        else:
            fault, action = chance.choice(("moment", "short")), chance.choice(list(ACTIONS))
            at = chance.randrange(350 if fault == "moment" else 40_000)
            yield Run(action, fault, at, chance.choice(clocks), chance.random() < 0.2)


def _try(run: Run, root: Path) -> tuple[bool, str]:
    """Whether it came to the fault, and what was wrong after it."""
    beside = os.fork() if run.beside else None
    if beside == 0:
        _run_here(lambda: _write_beside(root))
    status = _child(lambda: (_arm(run), ACTIONS[run.action](root)), None if run.fault != "moment" else run.at / 1000)
    if beside and os.waitpid(beside, 0)[1]:
        return True, "the writer beside failed"
    stopped = status != 0
    told = root.parent / "fault"
    told.write_text("")
    if _child(lambda: _look(run, root, told)):
        return stopped, told.read_text() or "the process that wrote next failed"
    return stopped, _found(root)


def _look(run: Run, root: Path, told: Path) -> None:
    """Write to the gallery, do again what was not begun, and compare it with what it is to be."""
    _shift(-run.clock)
    try:
        with Gallery.create(root, SPACE) as gallery:
            gallery.add([_entry(LATER, 0, CONTENT, 9)])
            if run.action == "index":
                assert verify(root).orphans == [], "a killed writer's files were left"
                gallery.forget(OTHER)  # of the second writer, who may be the one that is stopped
                ACTIONS["index"](root)
                assert gallery.forget(FORGOTTEN) > 0, "what was indexed is not there"
            elif any(person.sha256 == OLD for person, _ in gallery.rows() if person.source == FORGOTTEN):
                ACTIONS[run.action](root)
            gallery.forget(OTHER)
        found = verify(root)
        assert found.clean, f"gallery verify: {found}"
        with Gallery.open(root) as gallery:
            rows = [(person, row) for person, row in gallery.rows() if person.source == KEPT]
        kept = {(person.number, row.tobytes(), person.thumbnail) for person, row in rows}
        assert kept == {
            (entry.frame.number, row.tobytes(), picture)
            for entry in _film(KEPT, CONTENT)[0]
            for row, picture in zip(entry.people.embeddings, entry.thumbnails, strict=True)
        }, "what was to be kept is not as it was"
    except BaseException as error:
        told.write_text(f"{type(error).__name__}: {error} {traceback.format_exc()[-600:]}")
        raise


def _found(root: Path) -> str:
    """The file that holds something of the forgotten; empty if none does."""
    entries, sightings = _film(FORGOTTEN, OLD)
    secrets = [FORGOTTEN.encode(), OLD.encode(), *(entry.frame.key.encode() for entry in entries)]
    secrets += [picture for entry in entries for picture in entry.thumbnails]
    secrets += [row[:8].tobytes() for entry in entries for row in entry.people.embeddings]
    secrets += [sighting.embedding[:8].tobytes() for sighting in sightings]
    for file in filter(Path.is_file, root.rglob("*")):
        data = file.read_bytes()
        for secret in secrets:
            if secret in data:
                return f"{file.relative_to(root)} holds {secret[:40]!r}"
    return ""


def _forget(root: Path) -> None:
    with Gallery.open(root) as gallery:
        gallery.forget(FORGOTTEN)


def _index(root: Path) -> None:
    entries, sightings = _film(FORGOTTEN, OLD)
    with Gallery.open(root) as gallery:
        erase(gallery, of_sources(FORGOTTEN), "expired")  # which may come again
        gallery.add(entries[:2], sightings)
        gallery.add(entries[2:], sightings)
        gallery.end_video(FORGOTTEN, OLD, len(entries))
        gallery.optimise()


def _change(root: Path) -> None:
    with Gallery.open(root) as gallery:
        gallery.remove_changed({FORGOTTEN: NEW, KEPT: CONTENT})
        gallery.optimise()


def _correct(root: Path) -> None:
    with Gallery.open(root) as gallery:
        correct(gallery, [Frame(FORGOTTEN, sha256=OLD, camera="the back door")])
        gallery.forget(FORGOTTEN)


ACTIONS = {"forget": _forget, "index": _index, "change": _change, "correct": _correct}


def _fill(root: Path) -> None:
    with Gallery.create(root, SPACE) as gallery:
        for source, sha256 in ((KEPT, CONTENT), (FORGOTTEN, OLD)):
            gallery.add(*_film(source, sha256))
            gallery.end_video(source, sha256, 6)
        gallery.optimise()


def _write_beside(root: Path) -> None:
    with Gallery.create(root, SPACE) as gallery:
        for number in range(4):
            gallery.add([_entry(OTHER, number, CONTENT, number)])


def _film(source: str, sha256: str) -> tuple[list[Entry], list[Sighting]]:
    """Six frames of two people, and their sightings."""
    entries = [_entry(source, number, sha256, number) for number in range(6)]
    ids = [sighting_id(person_id(entries[0].frame.key, i)) for i in range(2)]
    entries = [Entry(entry.frame, entry.people, entry.thumbnails, ids) for entry in entries]
    sightings = [
        Sighting(
            id=ids[i], likeness=None, source=source, camera="the front door", sha256=sha256, start=0.0, end=5.0,
            first=0, last=5, frames=6, path=np.float32([[0, *entries[0].people.boxes[i]]]),
            best=(person_id(entries[0].frame.key, i),), closed=True, scores=(0.9, 0.9),
            embedding=_drawn(source, 99, i),
        )
        for i in range(2)
    ]  # fmt: skip
    return entries, sightings


def _entry(source: str, number: int, sha256: str, time: float) -> Entry:
    frame = Frame(source, number, sha256, float(time), "the front door")
    boxes = np.float32([[10, 5, 20, 25], [30, 5, 40, 25]])
    people = People(
        boxes=boxes, scores=np.full(2, 0.9, np.float32),
        embeddings=np.stack([_drawn(source, number, i) for i in range(2)]), instances=np.zeros(2, np.int32),
        crops=boxes.astype(np.int32), letterbox=Letterbox((60, 80), (60, 80)), timings={}, canvas_boxes=boxes,
        instance_map=None,
    )  # fmt: skip
    return Entry(frame, people, [np.random.default_rng([number, i, len(source)]).bytes(700) for i in range(2)])


def _drawn(source: str, number: int, row: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(f"{source} {number} {row}".encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=SPACE.embedding).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _arm(run: Run) -> None:
    """Have this process stopped as a run says."""
    _shift(run.clock)
    if run.fault == "short":
        resource.setrlimit(resource.RLIMIT_FSIZE, (run.at, resource.RLIM_INFINITY))
    left = run.at

    def on_step(name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0 and run.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if left < 0 and run.fault == "full" and not name.startswith(("remove", "end")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    steps.on_step = on_step


def _tell_and_act(told: Path, action: str, root: Path) -> None:
    def on_step(name: str) -> None:
        with told.open("a") as file:
            file.write(f"{name}\n")

    steps.on_step = on_step
    ACTIONS[action](root)


def _child(task: Callable[[], object], kill_after: float | None = None) -> int:
    """Run in a process of its own, which may be killed; returns its status, 0 if all went well."""
    child = os.fork()
    if not child:
        _run_here(task)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _run_here(task: Callable[[], object]) -> None:
    code = 1
    try:
        task()
        code = 0
    except (GalleryError, OSError) as error:
        print(error, file=sys.stderr)
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _check(status: int, what: str) -> None:
    if status:
        raise GalleryError(f"What is not to fail did: {what}, status {status}.")


def _with_clock(folder: Path) -> None:
    """Start this program again with a clock that can be shifted, if there is a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or "mgts_clock" in os.environ.get("LD_PRELOAD", ""):
        return
    source = folder / "mgts_clock.c"
    source.write_text(_SHIM)
    library = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    code = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.erasure_kills", *sys.argv[1:]],
        env={**os.environ, "LD_PRELOAD": str(library)},
    ).returncode
    raise typer.Exit(code)


def _clock() -> "ctypes.c_long | None":
    with suppress(ValueError):
        return ctypes.c_long.in_dll(ctypes.CDLL(None), "mgts_clock_shift")
    return None


def _shift(seconds: int) -> None:
    if (clock := _clock()) is not None:
        clock.value = seconds


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*fork")
    run_app(app)
