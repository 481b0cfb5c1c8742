"""What HTTP costs: pictures a second and latencies of `mgts-trt serve`, beside the bare pipeline's.

Also what a request costs that finds nobody: `GET /healthz` over one connection that is kept alive.

python -m benchmarks.service BUNDLE --image PHOTO
"""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt.choices import Mode
from mgts_trt.cli.console import out, progress, split, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.pipeline import PersonSearch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Level(BaseModel):
    """Requests with so many clients at once; none is the bare pipeline, which decodes the picture, too."""

    clients: int
    pictures: int
    pictures_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class ServiceReport(BaseModel):
    """What was measured, in turns: the pipeline alone, then each number of clients, and again."""

    environment: Environment
    bundle: str
    image: str
    mode: Mode
    backend: str
    rounds: int
    levels: list[Level]
    kept_alive_p50_ms: float
    """Of `GET /healthz`, over one connection."""


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    image: Annotated[Path, typer.Option(help="The photo every request sends.")],
    mode: Annotated[Mode, typer.Option(help="none, net, box or joint.")] = "box",
    clients: Annotated[str, typer.Option(help="Clients at once, with commas between the numbers.")] = "1,4,16",
    pictures: Annotated[int, typer.Option(help="Pictures a turn.", min=1)] = 20,
    rounds: Annotated[int, typer.Option(help="Turns of each.", min=1)] = 3,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the pipeline.", min=1)] = None,
    json_file: JsonOption = None,
) -> None:
    """Measure `POST /detect` over loopback."""
    counts = [0, *(int(count) for count in split(clients) if count.isdecimal() and int(count))]
    if len(counts) == 1:
        raise MgtsError(f"--clients {clients!r} names no number of clients; expected numbers above 0, as 1,4,16.")
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    latencies: dict[int, list[float]] = {count: [] for count in counts}
    data = image.read_bytes()
    with (
        PersonSearch.open(bundle, mode=mode, threads=threads) as search,
        _serving(bundle, mode, threads, max(counts)) as url,
        progress() as bar,
    ):
        task = bar.add_task("measuring", total=len(counts) * (rounds + 1))
        for turn in range(rounds + 1):
            for count in counts if turn % 2 else reversed(counts):
                start = time.perf_counter()
                found = _bare(search, image, pictures) if not count else asyncio.run(_ask(url, data, count, pictures))
                if turn:  # the first warms up
                    seconds[count].append(time.perf_counter() - start)
                    latencies[count] += found
                bar.advance(task)
        kept_alive = _ask_health(url)
        report = ServiceReport(
            environment=environment(),
            bundle=search.bundle.manifest.preset,
            image=image.name,
            mode=mode,
            backend=search.runtime.backend,
            rounds=rounds,
            levels=[_level(count, pictures * rounds, sum(seconds[count]), latencies[count]) for count in counts],
            kept_alive_p50_ms=round(float(np.median(kept_alive)) * 1e3, 3),
        )
    shown = table("clients", ">pictures/s", ">p50 ms", ">p95 ms", ">p99 ms")
    for level in report.levels:
        name = str(level.clients) if level.clients else "bare pipeline"
        numbers = (level.p50_ms, level.p95_ms, level.p99_ms)
        shown.add_row(name, f"{level.pictures_per_second:.2f}", *(f"{number:.0f}" for number in numbers))
    out.print(shown)
    out.print(f"GET /healthz over one connection: p50 {report.kept_alive_p50_ms:.2f} ms")
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))


def _bare(search: PersonSearch, image: Path, pictures: int) -> list[float]:
    found = []
    for _ in range(pictures):
        start = time.perf_counter()
        search(read_image(image))
        found.append(time.perf_counter() - start)
    return found


async def _ask(url: str, data: bytes, clients: int, pictures: int) -> list[float]:
    """Seconds of each request."""
    found: list[float] = []
    left = iter(range(pictures))

    async def client(session: httpx.AsyncClient) -> None:
        for _ in left:
            start = time.perf_counter()
            response = await session.post("/detect", files={"image": ("photo", data)})
            response.raise_for_status()
            found.append(time.perf_counter() - start)

    async with httpx.AsyncClient(base_url=url, timeout=600) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return found


def _ask_health(url: str, requests: int = 100) -> list[float]:
    """Seconds of each request over one connection, after the first."""
    found = []
    with httpx.Client(base_url=url, timeout=600) as session:
        for _ in range(requests + 1):
            start = time.perf_counter()
            session.get("/healthz").raise_for_status()
            found.append(time.perf_counter() - start)
    return found[1:]


def _level(clients: int, pictures: int, seconds: float, latencies: list[float]) -> Level:
    p50, p95, p99 = (round(float(value) * 1e3, 1) for value in np.percentile(latencies, (50, 95, 99)))
    rate = round(pictures / seconds, 3)
    return Level(clients=clients, pictures=pictures, pictures_per_second=rate, p50_ms=p50, p95_ms=p95, p99_ms=p99)


@contextmanager
def _serving(bundle: Path, mode: Mode, threads: int | None, clients: int) -> Iterator[str]:
    """The service in a process of its own, and its URL."""
    command = [sys.executable, "-m", "mgts_trt", "serve", "--bundle", str(bundle), "--port", "0", "--mode", mode]
    command += ["--queue", str(clients), "--timeout", "600", *(["--threads", str(threads)] if threads else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        url = re.search(r"http://\S+:\d+", line)
        if url is None:
            raise MgtsError("The service did not start; what it says stands above.")
        yield url[0]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    run_app(app)
