"""Indexing a folder against the bare pipeline on the same pictures, side by side.

Bare is decode and search, one picture after the other: what an application would write that keeps nothing. Indexing
adds hashing, looking up, thumbnails, commits and optimising, and hides what it can behind inference. Rounds alternate
(A B, B A), so that whatever else the machine does falls on both. Processor seconds are given as well, since on a busy
machine they tell more than the clock does.

    python -m benchmarks.indexing --images docs/pictures/samples --pictures 1000
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment, host_memory_used
from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, out, progress, table
from mgts_trt.cli.options import BackendOption, BundleOption, PrecisionOption, ThreadsOption
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import ImageError
from mgts_trt.gallery import Gallery, Space
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.pictures.folders import find_images
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.pipeline import PersonSearch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Side(BaseModel):
    """One way to search the pictures."""

    pictures: int = 0
    people: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.pictures / self.seconds


class IndexingReport(BaseModel):
    """What was measured."""

    environment: Environment
    preset: str
    mode: Mode
    backend: str
    precision: str
    threads: int | None
    bare: Side
    indexing: Side
    ratio: float
    """Of the rates, indexing to bare."""
    cpu_ratio: float
    """Of processor seconds, bare to indexing."""
    memory_mib: list[float]
    """Resident, after each round."""
    gallery_bytes: int | None


@app.command()
def main(
    images: Annotated[Path, typer.Option(help="A folder of photos; they are taken again and again.")],
    bundle: BundleOption = None,
    pictures: Annotated[int, typer.Option(min=2, help="How many to index, and to search bare.")] = 200,
    rounds: Annotated[int, typer.Option(min=1)] = 4,
    mode: Annotated[Mode, typer.Option(help="none, net, box or joint.")] = "box",
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    json_file: JsonOption = None,
) -> None:
    """Measure both sides."""
    photos = find_images(images)
    if not photos:
        raise ImageError(f"No pictures in {images}. Name a folder of photos.")
    sides, memory = {"bare": Side(), "indexing": Side()}, list[float]()
    with (
        tempfile.TemporaryDirectory() as scratch,
        PersonSearch.open(
            find_bundle(bundle), mode=mode, backend=backend, precision=precision, threads=threads
        ) as search,
        Gallery.create(Path(scratch) / "gallery", Space.of(search.bundle, mode)) as gallery,
        progress() as bar,
    ):
        task = bar.add_task("measuring", total=2 * pictures)
        search(read_image(photos[0]))  # warms up
        for number in range(rounds):
            folder = Path(scratch) / f"{number}"
            folder.mkdir()
            for i in range(number, pictures, rounds):
                photo = photos[i % len(photos)]
                shutil.copy(photo, folder / f"{i:06}{photo.suffix}")
            for name in sorted(sides, reverse=bool(number % 2)):
                side, wall, cpu = sides[name], time.perf_counter(), time.process_time()
                found = _bare(search, folder) if name == "bare" else _index(search, folder, gallery)
                side.seconds += time.perf_counter() - wall
                side.cpu_seconds += time.process_time() - cpu
                side.pictures += found[0]
                side.people += found[1]
                bar.advance(task, found[0])
            memory.append(round(host_memory_used() / 2**20, 1))
        report = IndexingReport(
            environment=environment(),
            preset=search.bundle.manifest.preset,
            mode=mode,
            backend=search.runtime.backend,
            precision=search.precision,
            threads=threads,
            **sides,
            ratio=sides["indexing"].rate / sides["bare"].rate,
            cpu_ratio=sides["bare"].cpu_seconds / sides["indexing"].cpu_seconds,
            memory_mib=memory,
            gallery_bytes=gallery.summary().bytes,
        )
    shown = table("", ">pictures", ">people", ">images/s", ">CPU s")
    for name, side in sides.items():
        row = (f"{side.pictures:,}", f"{side.people:,}", f"{side.rate:.2f}", f"{side.cpu_seconds:.1f}")
        shown.add_row(name, *row)
    out.print(shown)
    out.print(f"Indexing runs at {report.ratio:.1%} of the bare rate ({report.cpu_ratio:.1%} by processor seconds)")
    out.print(f"Resident memory after each round: {', '.join(f'{value:.0f}' for value in memory)} MiB")
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))


def _bare(search: PersonSearch, folder: Path) -> tuple[int, int]:
    found = [len(search(read_image(path))) for path in find_images(folder)]
    return len(found), sum(found)


def _index(search: PersonSearch, folder: Path, gallery: Gallery) -> tuple[int, int]:
    report = index(search, find_sources([str(folder)]), gallery)
    return report.frames, report.people


if __name__ == "__main__":
    run_app(app)
