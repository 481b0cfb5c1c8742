"""What 1, 100 and 10,000 cameras need, counted from what other measurements here found: devices, disk, memory, queries.

Nothing is measured here. Pictures a second come from `benchmarks.indexing`, or from `benchmarks.gpu` for a GPU; people
and sightings a camera sends from `benchmarks.cameras`; memory, disk and times by number of people from the lines of
`benchmarks.gallery_growth`; how many people a second go into one gallery from `benchmarks.bucket`. What no file tells
is an option: pictures a second of each camera, days kept, how busy cameras are.

Cameras are divided into groups, and each day of a group is a gallery (`index --partition day`; in a bucket, a URL of
its own): so many that each stays small enough for a query to be in time, and that those who write to it keep up. A
query of a day asks its groups side by side.

    python -m benchmarks.capacity --rates benchmarks/results/gpu_paper_….json --keep 30
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from pydantic import BaseModel, ValidationError

from benchmarks.bucket import Report as BucketReport
from benchmarks.cameras import CamerasReport
from benchmarks.gallery_growth import Report as GrowthReport
from benchmarks.gpu.report import Report as GpuReport
from mgts_trt.cli.console import out, split, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

RESULTS = Path(__file__).parent / "results"
DAY = 86_400
BUSY = 0.7
"""Share of a device's pictures a second that is planned for: cameras come back together, files are merged."""


class Rate(NamedTuple):
    """How many pictures a second a device searches."""

    device: str
    mode: str
    precision: str
    pictures: float


class Store(BaseModel):
    """Lines through what a gallery needs, by millions of people: name → (a, b) of `a + b · n`, and where they end.

    Attributes:
        lines: Seconds, milliseconds, MiB and GB as `benchmarks.gallery_growth` names them.
        largest: People of the largest gallery that was measured.
    """

    lines: dict[str, tuple[float, float]]
    largest: int

    def at(self, figure: str, people: float) -> float:
        """A figure of a gallery of so many people; what lies beyond the largest is the line's word alone."""
        a, b = self.lines[figure]
        return max(a + b * people / 1e6, 0.0)


class Load(BaseModel):
    """What cameras send, and what is kept of it."""

    pictures_a_second: float
    """Of each camera, searched."""
    sightings_a_day: float
    """Of each camera."""
    people_a_sighting: float
    """Rows: of a sighting, one for each picture it was seen in."""
    days: int
    largest: int
    """People in one gallery, at most."""
    cores: int
    """That answer queries."""
    people_a_second: float
    """That writers get into one gallery, all together."""
    hours: float
    """Of a day, in which all of it comes."""


class Plan(BaseModel):
    """What so many cameras need."""

    cameras: int
    devices: int
    people_a_day: float
    groups: int
    """Of cameras; each day of each is a gallery."""
    bound: str
    """What asks for so many: `size` or `writing`."""
    galleries: int
    people_a_gallery: float
    writing_cores: float
    """Cores that store and index, beside those that search pictures."""
    disk_gb: float
    memory_gib: float
    """Of a process that has the galleries of one day open and has searched them."""
    camera_day_ms: float
    """A query of one camera and day: one gallery."""
    day_ms: float
    """A query of all cameras of a day."""
    all_days_ms: float
    erase_day_galleries: int
    """Galleries whose files are deleted when a day is over; nothing else is written."""


class Report(BaseModel):
    """The plans, and what they were counted from."""

    device: str
    mode: str
    precision: str
    pictures_a_second: float
    """Of one device, when it does nothing else."""
    load: Load
    store: Store
    plans: list[Plan]


@app.command()
def main(
    cameras: Annotated[str, typer.Option(help="Numbers of cameras.")] = "1,100,10000",
    rates: Annotated[
        Path, typer.Option(help="JSON of `benchmarks.indexing` or `benchmarks.gpu`: how fast a device is.")
    ] = RESULTS / "indexing_edge.json",
    mode: Annotated[str | None, typer.Option(help="Of a GPU's JSON, this mode; else its fastest.")] = None,
    growth: Annotated[Path, typer.Option(help="JSON of `benchmarks.gallery_growth`.")] = RESULTS
    / "gallery_growth.json",
    seen: Annotated[Path, typer.Option(help="JSON of `benchmarks.cameras`: how busy cameras are.")] = RESULTS
    / "cameras_edge_memory.json",
    writing: Annotated[Path, typer.Option(help="JSON of `benchmarks.bucket`: what writers get into one gallery.")] = (
        RESULTS / "bucket.json"
    ),
    place: Annotated[str, typer.Option(help="Where galleries are: bucket or folder.")] = "bucket",
    rate: Annotated[float, typer.Option(min=0.001, help="Pictures a second of each camera that are searched.")] = 1.0,
    hours: Annotated[float, typer.Option(min=0.1, max=24, help="Of a day, as busy as in that JSON.")] = 10.0,
    keep: Annotated[int, typer.Option(min=1, help="Days.")] = 30,
    largest: Annotated[int, typer.Option(min=1000, help="People in one gallery, at most.")] = 2_000_000,
    cores: Annotated[int, typer.Option(min=1, help="That answer queries.")] = 16,
    json_file: JsonOption = None,
) -> None:
    """Count what cameras need, and show it side by side."""
    numbers = sorted({int(number) for number in split(cameras)})
    device, store = device_rate(rates, mode), read_store(growth)
    sightings, people = _busyness(seen, rate)
    load = Load(
        pictures_a_second=rate,
        sightings_a_day=sightings * hours * 3600,
        people_a_sighting=people,
        days=keep,
        largest=largest,
        cores=cores,
        people_a_second=_writing(writing, place),
        hours=hours,
    )
    report = Report(
        device=device.device,
        mode=device.mode,
        precision=device.precision,
        pictures_a_second=round(device.pictures, 2),
        load=load,
        store=store,
        plans=[plan(number, device.pictures, store, load) for number in numbers],
    )
    _print(report)
    if json_file:
        write_json(json_file, json.dumps(report.model_dump(mode="json"), indent=2))


def plan(cameras: int, pictures_a_second: float, store: Store, load: Load) -> Plan:
    """What so many cameras need.

    Args:
        cameras: How many.
        pictures_a_second: Of one device.
        store: What a gallery needs.
        load: What cameras send.
    """
    devices = math.ceil(cameras * load.pictures_a_second / (pictures_a_second * BUSY))
    a_day = cameras * load.sightings_a_day * load.people_a_sighting
    by_size = math.ceil(a_day / load.largest)
    groups = max(by_size, math.ceil(a_day / (load.hours * 3600) / load.people_a_second))
    people = a_day / groups
    one = store.at("search_sightings_p50_ms", people)
    per_core = store.at("search_sightings_cpu_ms", people)
    writing = (store.lines["add_cpu_s"][1] + store.lines["optimise_cpu_s"][1]) / 1e6 * a_day / DAY

    def side_by_side(galleries: int) -> float:
        """The work of all, shared by the cores; never sooner than the slowest alone."""
        return max(one, per_core * galleries / load.cores)

    return Plan(
        cameras=cameras,
        devices=devices,
        people_a_day=round(a_day),
        groups=groups,
        bound="size" if by_size == groups else "writing",
        galleries=groups * load.days,
        people_a_gallery=round(people),
        writing_cores=round(writing, 2),
        disk_gb=round(load.days * store.lines["disk_gb"][1] * a_day / 1e6, 1),
        memory_gib=round(store.at("search_sightings_mib", a_day) / 1024, 2),
        camera_day_ms=round(one, 1),
        day_ms=round(side_by_side(groups), 1),
        all_days_ms=round(side_by_side(groups * load.days), 1),
        erase_day_galleries=groups,
    )


def device_rate(file: Path, mode: str | None) -> Rate:
    """The rate that a JSON tells; of a GPU's, the fastest of our forms, with as many pictures in flight as is best.

    Raises:
        MgtsError: It is of neither kind, or has nothing of the mode.
    """
    told = _read(file)
    if "bare" in told:
        where = told["environment"]
        cores = told["threads"] or where["cores"]
        device = where["gpu"] or f"{where['cpu']}, {cores} core{'s' * (cores != 1)}"
        return Rate(device, told["mode"], told["precision"], told["bare"]["pictures"] / told["bare"]["seconds"])
    try:
        report = GpuReport.model_validate(told)
    except ValidationError:
        raise MgtsError(f"{file} is neither of benchmarks.indexing nor of benchmarks.gpu.") from None
    found = [
        Rate(report.device, group.what, group.precision, max(side.images_per_second.values()))
        for group in report.pipeline
        for side in group.sides
        if side.images_per_second and mode in (None, group.what)
    ]
    if not found:
        raise MgtsError(f"{file} tells no pictures a second{f' of mode {mode}' if mode else ''}.")
    return max(found, key=lambda each: each.pictures)


def read_store(file: Path) -> Store:
    """The lines of `benchmarks.gallery_growth`.

    Raises:
        MgtsError: The file has none.
    """
    try:
        report = GrowthReport.model_validate(_read(file))
    except ValidationError:
        raise MgtsError(f"{file} is not of benchmarks.gallery_growth.") from None
    lines = {fit.figure: (fit.a, fit.b_per_million) for fit in report.fits}
    return Store(lines=lines, largest=max(size.people for size in report.sizes))


def _busyness(file: Path, rate: float) -> tuple[float, float]:
    """Sightings a second of a camera; and people a sighting, at so many pictures a second."""
    steady = CamerasReport.model_validate(_read(file)).steady
    taken = sum(camera.taken for camera in steady.cameras) if steady else 0
    if not steady or not steady.sightings or not taken:
        raise MgtsError(f"{file} has no sightings.")
    seconds = steady.seconds * len(steady.cameras)
    people_a_sighting = steady.people / steady.sightings * rate / (taken / seconds)
    return steady.sightings / seconds, max(people_a_sighting, 1.0)


def _writing(file: Path, place: str) -> float:
    """People a second that the most writers at once get into one gallery."""
    runs = [run for run in BucketReport.model_validate(_read(file)).runs if run.place == place]
    if not runs:
        raise MgtsError(f"{file} has nothing of galleries in a {place}; expected bucket or folder.")
    return max(runs, key=lambda run: run.writers).rows_per_second


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MgtsError(f"There is no {file}. Measure it first; the module's own words say how.") from None
    except ValueError as error:
        raise MgtsError(f"{file} is no JSON: {error}.") from None


def _print(report: Report) -> None:
    load = report.load
    title = (
        f"{report.device}, mode {report.mode}, {report.precision}: {report.pictures_a_second} pictures/s\n"
        f"a camera: {load.pictures_a_second:g} pictures/s, {load.sightings_a_day:,.0f} sightings a day of "
        f"{load.people_a_sighting:.1f} people each; {load.days} days kept; {load.cores} cores answer queries"
    )
    shown = table("", *(f">{each.cameras:,} camera{'s' * (each.cameras != 1)}" for each in report.plans), title=title)
    for name, show in (
        ("devices", lambda each: f"{each.devices:,}"),
        ("people a day", lambda each: f"{each.people_a_day:,.0f}"),
        ("groups of cameras", lambda each: f"{each.groups:,}"),
        ("because of", lambda each: each.bound),
        ("galleries", lambda each: f"{each.galleries:,}"),
        ("people in each", lambda each: f"{each.people_a_gallery:,.0f}"),
        ("cores that store", lambda each: f"{each.writing_cores:,}"),
        ("disk or bucket, GB", lambda each: f"{each.disk_gb:,}"),
        ("memory, a day open, GiB", lambda each: f"{each.memory_gib:,}"),
        ("query of a camera and day, ms", lambda each: f"{each.camera_day_ms:,}"),
        ("query of a day, ms", lambda each: f"{each.day_ms:,}"),
        (f"query of {load.days} days, ms", lambda each: f"{each.all_days_ms:,}"),
    ):
        shown.add_row(name, *map(show, report.plans))
    out.print(shown)
    if beyond := [each for each in report.plans if each.people_a_gallery > report.store.largest]:
        out.print(
            f"Galleries of {', '.join(f'{each.cameras:,}' for each in beyond)} cameras are larger than any measured "
            f"({report.store.largest:,} people): their figures are the line's alone."
        )


if __name__ == "__main__":
    run_app(app)
