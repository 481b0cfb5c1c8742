"""Live cameras indexed by one process: is memory flat, are cameras treated alike, and is anything lost or there twice?

Motion JPEG over HTTP on this machine, by `mgts-trt index` as a user runs it. `steady` watches cameras that stay up;
`storm` takes them down and puts them up again at random; `kills` ends the process with SIGKILL, time and again, and
starts it anew. After each, rows, frames and sightings of the gallery must tell the same.

    python -m benchmarks.cameras --minutes 10 --storm-minutes 5 --kills 20 --json benchmarks/results/cameras_edge.json
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import ROOT, Environment, environment
from benchmarks.loopback_cameras import LoopbackCamera, loopback_cameras
from mgts_trt._typing import Image
from mgts_trt.cli.console import find_bundle, out, table
from mgts_trt.cli.options import BundleOption
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import GalleryError, MgtsError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.tables import SIGHTING
from mgts_trt.pictures.image import read_image

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SILENCE = 2.0
"""Seconds without a person until their sighting ends; shorter than nobody is there."""


class CameraRun(BaseModel):
    """One camera in one run."""

    sent: int
    taken: int
    """Handed on to be searched, as the process told."""
    stored: int
    """Frames in the gallery."""
    dropped: int
    restarts: int


class Watch(BaseModel):
    """A run of some minutes."""

    seconds: float
    cameras: list[CameraRun]
    people: int
    sightings: int
    memory_mib: list[float]
    """Of the process, evenly spread over the run, without its first quarter."""
    growth: tuple[float, float, float]
    """MiB a minute over those: estimate, and its 95 % interval."""


class Kills(BaseModel):
    """Runs that were killed, and taken up."""

    kills: int
    frames: int
    people: int
    closed_sightings: int
    lost_seconds: list[float]
    """From the last frame that was stored to each kill."""


class CamerasReport(BaseModel):
    """What was measured, and where."""

    environment: Environment
    load_average: tuple[float, float, float]
    """At the end."""
    bundle: str
    rate: float
    """Frames a second of each camera."""
    steady: Watch | None
    storm: Watch | None
    kills: Kills | None


@app.command()
def main(
    bundle: BundleOption = None,
    pictures: Annotated[Path, typer.Option(help="Folder of pictures with people.")] = ROOT
    / "docs/pictures/samples/store_aisle",
    count: Annotated[int, typer.Option(min=1, help="Cameras.")] = 4,
    rate: Annotated[float, typer.Option(min=0.1, help="Frames a second of each.")] = 2.0,
    minutes: Annotated[float, typer.Option(min=0, help="Of the steady watch; 0 leaves it out.")] = 10.0,
    storm_minutes: Annotated[float, typer.Option(min=0, help="Of the storm; 0 leaves it out.")] = 5.0,
    kills: Annotated[int, typer.Option(min=0)] = 20,
    json_file: JsonOption = None,
) -> None:
    """Watch cameras of this machine."""
    folder = find_bundle(bundle)
    shown = [_fitting(read_image(path)) for path in sorted(pictures.iterdir()) if path.suffix in (".jpg", ".png")]
    if not shown:
        raise MgtsError(f"There is no .jpg or .png in {pictures}. Name a folder of pictures with people.")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with loopback_cameras(count, shown, rate) as cameras:
            steady = _watch(folder, cameras, place / "steady", 60 * minutes) if minutes else None
        with loopback_cameras(count, shown, rate) as cameras:
            storm = _watch(folder, cameras, place / "storm", 60 * storm_minutes, _storm) if storm_minutes else None
        with loopback_cameras(1, shown, rate) as cameras:
            killed = _killed(folder, cameras[0], place / "kills", kills) if kills else None
    report = CamerasReport(
        environment=environment(), load_average=os.getloadavg(), bundle=folder.name, rate=rate,
        steady=steady, storm=storm, kills=killed,
    )  # fmt: skip
    _print(report)
    if json_file:
        write_json(json_file, json.dumps(report.model_dump(mode="json"), indent=2))


def _fitting(image: Image) -> Image:
    """As large as a small camera's."""
    return np.asarray(cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA), np.uint8)


@contextmanager
def _indexing(
    bundle: Path, cameras: list[LoopbackCamera], gallery: Path, *more: str
) -> Iterator["subprocess.Popen[str]"]:
    urls = [camera.url for camera in cameras]
    command = [sys.executable, "-m", "mgts_trt", "index", "--bundle", bundle, *urls, "--gallery", gallery, *more]
    command += ["--mode", "none", "--threads", "1", "--silence", SILENCE]
    words = [str(word) for word in command]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "COLUMNS": "500", "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _watch(
    bundle: Path,
    cameras: list[LoopbackCamera],
    gallery: Path,
    seconds: float,
    meanwhile: Callable[[list[LoopbackCamera], float], None] = lambda cameras, left: time.sleep(min(1.0, left)),
) -> Watch:
    start, memory = time.monotonic(), list[tuple[float, float]]()
    with _indexing(bundle, cameras, gallery, "--duration", str(seconds)) as process:
        while process.poll() is None:
            left = seconds - (time.monotonic() - start)
            if left > 0:
                meanwhile(cameras, left)
            else:
                time.sleep(0.2)
            for camera in cameras if left <= 0 else []:
                camera.put_up()
            with open(f"/proc/{process.pid}/statm") as statm:
                pages = statm.read().split()
            if len(pages) > 1:  # else it has ended meanwhile
                memory.append((time.monotonic() - start, int(pages[1]) * os.sysconf("SC_PAGESIZE") / 2**20))
        told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise MgtsError(f"The indexing ended with {process.returncode}: {told[-2000:]}")
    with Gallery.open(gallery) as opened:
        require_whole(opened)
        stored = _frames_stored(opened)
        summary = opened.summary()
    seen = [moment for moment in memory if moment[0] >= seconds / 4 and moment[1]]
    runs = [_run(told, camera, stored[camera.url]) for camera in cameras]
    some = seen[:: max(1, len(seen) // 60)]
    return Watch(
        seconds=round(time.monotonic() - start, 1), cameras=runs, people=summary.people,
        sightings=summary.sightings or 0, memory_mib=[round(mib, 1) for _, mib in some], growth=growth(seen),
    )  # fmt: skip


def _storm(cameras: list[LoopbackCamera], left: float) -> None:
    """One camera goes down or comes up; now and then all at once. For the last quarter minute all are up."""
    if left < 15:
        for camera in cameras:
            camera.put_up()
    else:
        chosen = cameras if random.random() < 0.1 else [random.choice(cameras)]
        for camera in chosen:
            camera.take_down() if camera.is_up else camera.put_up()
    time.sleep(min(left, random.uniform(0.5, 4.0)))


def _killed(bundle: Path, camera: LoopbackCamera, gallery: Path, kills: int) -> Kills:
    closed, people, lost = dict[str, dict[str, Any]](), 0, list[float]()
    for _ in range(kills):
        with _indexing(bundle, [camera], gallery) as process:
            before, wanted = _frames_in(gallery), random.randint(8, 24)
            while process.poll() is None and _frames_in(gallery) < before + wanted:
                time.sleep(random.uniform(0.1, 0.5))
            if process.returncode is not None:
                raise MgtsError(f"The indexing ended with {process.returncode} before it was killed.")
            process.kill()
            end = time.time()
            process.wait()
        with Gallery.open(gallery) as opened:
            held, rows = _sightings(opened), opened.count()
            if rows < people or not closed.items() <= held.items():
                raise MgtsError("A kill cost people, or sightings that had been closed.")
            frames = opened.tables[1].search().select(["time"]).to_arrow()["time"].to_pylist()
            lost.append(round(end - max(frames), 2))
        closed, people = {name: row for name, row in held.items() if row["closed"]}, rows
    with _indexing(bundle, [camera], gallery, "--limit", "4") as process:
        process.communicate()
    with Gallery.open(gallery) as opened:
        require_whole(opened)
        held = _sightings(opened)
        if not closed.items() <= held.items():
            raise MgtsError("Going on changed sightings that had been closed.")
        summary = opened.summary()
    return Kills(
        kills=kills, frames=summary.frames, people=summary.people,
        closed_sightings=sum(row["closed"] for row in held.values()), lost_seconds=lost,
    )  # fmt: skip


def require_whole(gallery: Gallery) -> None:
    """Nothing is there twice, times go on, and each sighting is of the rows that name it.

    Raises:
        MgtsError: Something does not fit.
    """
    people, frames = gallery.tables
    times = frames.search().select(["source", "time"]).to_arrow().to_pylist()
    if any(count > 1 for count in Counter((row["source"], row["time"]) for row in times).values()):
        raise MgtsError("A frame is stored twice.")
    rows = people.search().select(["id", "time", SIGHTING]).to_arrow().to_pylist()
    if len({row["id"] for row in rows}) != len(rows):
        raise MgtsError("Somebody is stored twice.")
    of_sighting: dict[str, list[float]] = {}
    for row in rows:
        of_sighting.setdefault(row[SIGHTING], []).append(row["time"])
    held = _sightings(gallery)
    if held.keys() != of_sighting.keys():
        raise MgtsError(f"There are {len(held)} sightings, but rows of {len(of_sighting)}.")
    for name, seen in of_sighting.items():
        row = held[name]
        if (row["first_time"], row["last_time"], row["frames"]) != (min(seen), max(seen), len(seen)):
            raise MgtsError(f"The sighting {name} is not of its rows.")


def growth(memory: list[tuple[float, float]]) -> tuple[float, float, float]:
    """MiB a minute by least squares over (seconds, MiB), and its 95 % interval, by leaving out each tenth in turn."""
    if len(memory) < 20:
        return (0.0, 0.0, 0.0)
    data = np.array(memory)

    def slope(points: Any) -> float:
        return float(np.polyfit(points[:, 0] / 60, points[:, 1], 1)[0])

    blocks = np.array_split(np.arange(len(data)), 10)
    without = [slope(np.delete(data, block, axis=0)) for block in blocks]
    error = 1.96 * float(np.sqrt(9 / 10 * np.sum((np.array(without) - np.mean(without)) ** 2)))
    whole = slope(data)
    return (round(whole, 3), round(whole - error, 3), round(whole + error, 3))


def _sightings(gallery: Gallery) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in gallery.sightings.search().to_arrow().to_pylist()} if gallery.sightings else {}


def _frames_stored(gallery: Gallery) -> Counter[str]:
    return Counter(gallery.tables[1].search().select(["source"]).to_arrow()["source"].to_pylist())


def _frames_in(gallery: Path) -> int:
    try:
        with Gallery.open(gallery) as opened:
            return opened.summary().frames
    except GalleryError:  # not yet
        return 0


def _run(told: str, camera: LoopbackCamera, stored: int) -> CameraRun:
    """A camera's, from the last lines of the command.

    Raises:
        MgtsError: More or less is in the gallery than was searched.
    """
    found = re.search(rf"camera {camera.url}: .*; ([\d,]+) frames? taken, ([\d,]+) dropped, ([\d,]+) restart", told)
    if found is None:
        raise MgtsError(f"The indexing told nothing of {camera.url}: {told[-2000:]}")
    taken, dropped, restarts = (int(each.replace(",", "")) for each in found.groups())
    if taken != stored:
        raise MgtsError(f"Of {taken} frames of {camera.url} that were searched, {stored} are in the gallery.")
    return CameraRun(sent=camera.sent, taken=taken, stored=stored, dropped=dropped, restarts=restarts)


def _print(report: CamerasReport) -> None:
    rows = table("run", ">camera", ">sent", ">stored", ">dropped", ">restarts", title="Live cameras")
    for name, watch in (("steady", report.steady), ("storm", report.storm)):
        for i, run in enumerate(watch.cameras if watch else []):
            rows.add_row(name, str(i), *(f"{x:,}" for x in (run.sent, run.stored, run.dropped, run.restarts)))
    out.print(rows)
    for name, watch in (("steady", report.steady), ("storm", report.storm)):
        if watch:
            estimate, low, high = watch.growth
            out.print(
                f"{name}: {watch.seconds:,.0f} s, {watch.people:,} people in {watch.sightings:,} sightings; memory "
                f"{estimate:+.2f} MiB a minute ({low:+.2f} … {high:+.2f})"
            )
    if report.kills:
        worst = max(report.kills.lost_seconds)
        out.print(f"{report.kills.kills} kills: nothing lost or doubled; a kill cost the last {worst:.1f} s at most")


if __name__ == "__main__":
    run_app(app)
