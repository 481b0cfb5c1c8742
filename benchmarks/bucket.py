"""The same gallery in a bucket and in a folder: writers at once, and searches, side by side; is anybody lost?

    python -m tests.helpers.bucket_server     # a server to try it with; it tells its address, and ends with Ctrl-D
    export AWS_ENDPOINT_URL=http://127.0.0.1:… AWS_ALLOW_HTTP=true AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret
    python -m benchmarks.bucket s3://shop/bench --json benchmarks/results/bucket.json

Each run fills a gallery of its own, from processes that each commit frames of their own; bucket and folder take turns.
Afterwards all people must be there, and once. A server that ignores `If-None-Match` is found by it: with two writers
people are lost. Galleries of earlier runs in the bucket are left there.
"""

import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt.cli.console import out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.gallery import Entry, Frame, Gallery, Space
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SPACE = Space(model="mgts", weights="a" * 64, mode="box", gamma=1.3, patch=(256, 128), embedding=128, preset="edge")
_PEOPLE, _FRAMES = 3, 16
"""In a frame, and in a commit."""
_SEARCHES = 30
_WRITERS = (1, 2, 4)


class Run(BaseModel):
    """One filled gallery."""

    place: str
    """`bucket` or `folder`."""
    writers: int
    rows: int
    """People, of all writers."""
    seconds: float
    """From the first writer's first commit to the last one's end."""
    rows_per_second: float
    lost: int
    doubled: int
    search_p50_ms: float
    search_p90_ms: float


class Report(BaseModel):
    """All runs."""

    environment: Environment
    load: float
    """Processes that wanted to run, in the minute before."""
    endpoint: str
    """Where the bucket's server is: on this machine it takes its share of the cores."""
    frames_a_commit: int
    people_a_frame: int
    commits_a_writer: int
    runs: list[Run]


def entries(writer: int, commit: int) -> list[Entry]:
    """Frames of one commit, with people that nobody else has."""
    told = []
    for i in range(_FRAMES):
        number = commit * _FRAMES + i
        vectors = np.random.default_rng([writer, number]).normal(size=(_PEOPLE, SPACE.embedding)).astype(np.float32)
        boxes = np.float32([[10 * i, 5, 10 * i + 8, 25] for i in range(_PEOPLE)])
        people = People(
            boxes=boxes, scores=np.ones(_PEOPLE, np.float32), instances=np.zeros(_PEOPLE, np.int32),
            embeddings=vectors / np.linalg.norm(vectors, axis=1, keepdims=True), crops=boxes.astype(np.int32),
            letterbox=Letterbox((60, 80), (60, 80)), timings={}, canvas_boxes=boxes, instance_map=None,
        )  # fmt: skip
        frame = Frame(f"/films/{writer}.mp4", number=number, sha256=f"{writer:064}", time=number / 25)
        told.append(Entry(frame, people, [os.urandom(2000) for _ in range(_PEOPLE)]))
    return told


def write(url: str, writer: int, commits: int) -> None:
    """What a writer's process does: it says when it began and ended, in Unix seconds."""
    with Gallery.open(url) as gallery:
        print("ready", flush=True)
        sys.stdin.readline()
        begun = time.time()
        for commit in range(commits):
            gallery.add(entries(writer, commit))
        print(begun, time.time(), flush=True)


def measure(url: str, place: str, writers: int, commits: int) -> Run:
    """Fill a gallery at a place where there is none, look whether all are there, and search."""
    with Gallery.create(url, SPACE) as gallery:
        started = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "benchmarks.bucket", "write", url, str(writer), str(commits)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for writer in range(writers)
        ]  # fmt: skip
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        spans = [tuple(map(float, process.communicate()[0].split())) for process in started]
        begun, ended = min(span[0] for span in spans), max(span[1] for span in spans)
        found = [person.id for person, _ in gallery.rows()]
        rows, times = writers * commits * _FRAMES * _PEOPLE, []
        for i in range(_SEARCHES + 3):
            probe = entries(i % writers, 0)[0].people.embeddings[0]
            at = time.perf_counter()
            gallery.search(probe, top=10)
            times.append(time.perf_counter() - at)
        p50, p90 = np.percentile(times[3:], (50, 90)) * 1000
    return Run(
        place=place, writers=writers, rows=rows, seconds=round(ended - begun, 3),
        rows_per_second=round(rows / (ended - begun), 1), lost=rows - len(set(found)),
        doubled=len(found) - len(set(found)), search_p50_ms=round(p50, 2), search_p90_ms=round(p90, 2),
    )  # fmt: skip


@app.command()
def main(
    url: Annotated[str, typer.Argument(help="A folder in a bucket.")],
    commits: Annotated[int, typer.Option(help="Of each writer.", min=1)] = 20,
    json_file: JsonOption = None,
) -> None:
    """Compare a gallery in a bucket with one in a folder; exit with 1 where anybody is lost or doubled."""
    runs, load, name = list[Run](), os.getloadavg()[0], uuid.uuid4().hex[:8]
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        task = bar.add_task("Writing", total=2 * len(_WRITERS))
        for writers in _WRITERS:
            for place, where in (("folder", str(Path(folder) / f"{writers}")), ("bucket", f"{url}/{name}-{writers}")):
                runs.append(measure(where, place, writers, commits))
                bar.advance(task)
    shown = table(*Run.model_fields)
    for run in runs:
        shown.add_row(*map(str, run.model_dump().values()))
    out.print(shown)
    if json_file:
        report = Report(
            environment=environment(), load=round(load, 2), endpoint=os.environ.get("AWS_ENDPOINT_URL", "the cloud's"),
            frames_a_commit=_FRAMES, people_a_frame=_PEOPLE, commits_a_writer=commits, runs=runs,
        )  # fmt: skip
        write_json(json_file, report.model_dump_json(indent=2))
    if any(run.lost or run.doubled for run in runs):
        raise typer.Exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        run_app(app)
