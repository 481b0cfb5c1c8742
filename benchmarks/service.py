"""What each door of a server costs: pictures a second and latencies, beside the bare pipeline's, in turns.

`mgts-trt serve` is started here; its doors are its own HTTP and the Open Inference Protocol as JSON and as bytes. A
Triton that runs on the repository of `mgts-trt triton`, of the same bundle, mode and threads, is asked where it is
named. Also what a request costs that finds nobody: `GET /healthz` over one connection that is kept alive.

python -m benchmarks.service BUNDLE --image PHOTO --triton-http localhost:8000 --triton-grpc localhost:8001
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

from benchmarks.doors import DOORS, Door, open_door
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
    """Requests at a door with so many clients at once; without one it is the bare pipeline, which decodes, too."""

    door: Door | None
    clients: int
    pictures: int
    pictures_per_second: float
    of_bare: float
    """Pictures a second beside the bare pipeline's of the same round: the median of the rounds."""
    p50_ms: float
    p95_ms: float
    p99_ms: float


class ServiceReport(BaseModel):
    """What was measured, in turns: the pipeline alone, then each door with each number of clients, and again."""

    environment: Environment
    bundle: str
    image: str
    mode: Mode
    backend: str
    rounds: int
    people: int
    """In the photo: as many came back at each door."""
    levels: list[Level]
    kept_alive_p50_ms: float
    """Of `GET /healthz`, over one connection."""


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    image: Annotated[Path, typer.Option(help="The photo every request sends.")],
    mode: Annotated[Mode, typer.Option(help="none, net, box or joint.")] = "box",
    clients: Annotated[str, typer.Option(help="Clients at once, with commas between the numbers.")] = "1,4,16",
    doors: Annotated[str, typer.Option(help="Which, with commas between them; all by default.")] = ",".join(DOORS),
    pictures: Annotated[int, typer.Option(help="Pictures a turn.", min=1)] = 20,
    rounds: Annotated[int, typer.Option(help="Turns of each.", min=1)] = 3,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the pipeline.", min=1)] = None,
    triton_http: Annotated[str | None, typer.Option(help="HOST:PORT of Triton's HTTP.")] = None,
    triton_grpc: Annotated[str | None, typer.Option(help="HOST:PORT of Triton's gRPC.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Measure a picture's way to its people and their embeddings, through each door over loopback."""
    counts = [int(count) for count in split(clients) if count.isdecimal() and int(count)]
    if not counts:
        raise MgtsError(f"--clients {clients!r} names no number of clients; expected numbers above 0, as 1,4,16.")
    if unknown := set(split(doors)) - set(DOORS):
        raise MgtsError(f"--doors {doors!r}: there is no door {sorted(unknown)[0]!r}; there are {', '.join(DOORS)}.")
    data = image.read_bytes()
    with (
        PersonSearch.open(bundle, mode=mode, threads=threads) as search,
        _serving(bundle, mode, threads, max(counts)) as url,
        progress() as bar,
    ):
        servers = _servers(url.removeprefix("http://"), triton_http, triton_grpc)
        servers = {door: server for door, server in servers.items() if door in split(doors)}
        people = len(search(read_image(image)))
        cases: list[tuple[Door | None, int]] = [(None, 0), *((door, n) for door in servers for n in counts)]
        seconds: dict[tuple[Door | None, int], list[float]] = {case: [] for case in cases}
        latencies: dict[tuple[Door | None, int], list[float]] = {case: [] for case in cases}
        task = bar.add_task("measuring", total=len(cases) * (rounds + 1))
        for turn in range(rounds + 1):
            for case in cases if turn % 2 else reversed(cases):
                door, count = case
                if door is None:
                    took, found = _bare(search, image, pictures)
                else:
                    took, found = asyncio.run(_ask(door, servers[door], data, count, pictures, people))
                if turn:  # the first warms up
                    seconds[case].append(took)
                    latencies[case] += found
                bar.advance(task)
        kept_alive = _ask_health(url)
        report = ServiceReport(
            environment=environment(),
            bundle=search.bundle.manifest.preset,
            image=image.name,
            mode=mode,
            backend=search.runtime.backend,
            rounds=rounds,
            people=people,
            levels=[_level(*case, pictures, seconds[case], seconds[None, 0], latencies[case]) for case in cases],
            kept_alive_p50_ms=round(float(np.median(kept_alive)) * 1e3, 3),
        )
    shown = table("door", ">clients", ">pictures/s", ">of bare", ">p50 ms", ">p95 ms", ">p99 ms")
    for level in report.levels:
        name = (level.door, str(level.clients)) if level.door else ("bare pipeline", "")
        numbers = (level.p50_ms, level.p95_ms, level.p99_ms)
        shown.add_row(
            *name, f"{level.pictures_per_second:.2f}", f"{level.of_bare:.2f}", *(f"{number:.0f}" for number in numbers)
        )
    out.print(shown)
    out.print(f"GET /healthz over one connection: p50 {report.kept_alive_p50_ms:.2f} ms")
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))


def _bare(search: PersonSearch, image: Path, pictures: int) -> tuple[float, list[float]]:
    found = []
    for _ in range(pictures):
        start = time.perf_counter()
        search(read_image(image))
        found.append(time.perf_counter() - start)
    return sum(found), found


def _servers(own: str, triton_http: str | None, triton_grpc: str | None) -> dict[Door, str]:
    """HOST:PORT of each door there is."""
    asked: dict[Door, str | None] = {
        "own HTTP": own, "v2 JSON": own, "v2 binary": own, "Triton HTTP": triton_http, "Triton gRPC": triton_grpc
    }  # fmt: skip
    return {door: server for door, server in asked.items() if server}


async def _ask(
    door: Door, server: str, data: bytes, clients: int, pictures: int, people: int
) -> tuple[float, list[float]]:
    """Seconds from the first request to the last answer, and of each request; a client is made before."""
    found: list[float] = []
    left = iter(range(pictures))

    async with open_door(door, server) as ask:

        async def client() -> None:
            for _ in left:
                start = time.perf_counter()
                came = await ask(data)
                found.append(time.perf_counter() - start)
                if came != people:
                    raise MgtsError(
                        f"The door {door} gave {came} people, the pipeline {people}. Serve the same bundle in the same "
                        "mode there."
                    )

        begun = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        return time.perf_counter() - begun, found


def _ask_health(url: str, requests: int = 100) -> list[float]:
    """Seconds of each request over one connection, after the first."""
    found = []
    with httpx.Client(base_url=url, timeout=600) as session:
        for _ in range(requests + 1):
            start = time.perf_counter()
            session.get("/healthz").raise_for_status()
            found.append(time.perf_counter() - start)
    return found[1:]


def _level(
    door: Door | None, clients: int, pictures: int, seconds: list[float], bare: list[float], latencies: list[float]
) -> Level:
    """Of seconds of each round, its own and the bare pipeline's, and of each request."""
    p50, p95, p99 = (round(float(value) * 1e3, 1) for value in np.percentile(latencies, (50, 95, 99)))
    return Level(
        door=door,
        clients=clients,
        pictures=pictures * len(seconds),
        pictures_per_second=round(pictures * len(seconds) / sum(seconds), 3),
        of_bare=round(float(np.median([one / own for one, own in zip(bare, seconds, strict=True)])), 3),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


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
