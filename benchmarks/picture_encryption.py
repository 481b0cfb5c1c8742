"""What encrypting a gallery's pictures costs: the same photos indexed, people stored and searched, with and without it.

Both galleries take turns, A B and then B A, so that whatever else the machine does falls on both. `indexing` is the
whole way of a photo. `storing` is a gallery's part of it alone: people with pictures of real size, written and
optimised. `searching` finds ten people and decodes their pictures. The processor's seconds tell more than the clock on
a machine that others use.

    python -m benchmarks.picture_encryption --images docs/pictures/samples --json encryption.json
"""

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt._typing import Floats, Image
from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, out, table
from mgts_trt.cli.options import BackendOption, BundleOption, PrecisionOption, ThreadsOption
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import ImageError
from mgts_trt.gallery import Entry, Frame, Gallery, Space
from mgts_trt.gallery.asking import matches_of
from mgts_trt.gallery.disk.manifests import latest
from mgts_trt.gallery.entry import thumbnail
from mgts_trt.gallery.indexing.index import index
from mgts_trt.gallery.indexing.sources import find_sources
from mgts_trt.gallery.sightings import search_sightings
from mgts_trt.pictures.folders import find_images
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.stages import Letterbox

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

CROWD, FRAMES = 16, 64
"""People a frame, and frames a commit, of what is stored."""
TOP = 10


class Side(BaseModel):
    """One gallery at one task, over all rounds."""

    count: int = 0
    """Photos indexed, people stored, or searches made."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Task(BaseModel):
    """Both galleries at one task."""

    plain: Side = Side()
    encrypted: Side = Side()
    slower: float = 0.0
    """Seconds of the encrypted gallery over the plain one's, less 1: the median of the rounds."""
    slower_cpu: float = 0.0
    """The same of the processor's seconds, over all rounds."""


class Report(BaseModel):
    """What was measured, and where."""

    environment: Environment
    load_average: tuple[float, float, float]
    mode: Mode
    backend: str
    threads: int | None
    rounds: int
    picture_bytes: float
    """Mean size of a person's picture before it is encrypted."""
    bytes_a_person: dict[str, float]
    """On disk in the newest version of each gallery, embedding and all else included; LanceDB compresses JPEGs."""
    indexing: Task
    storing: Task
    searching: Task


@app.command()
def main(
    images: Annotated[Path, typer.Option(help="A folder of photos; they are taken again and again.")],
    bundle: BundleOption = None,
    photos: Annotated[int, typer.Option(min=1, help="How many to index in each round.")] = 24,
    people: Annotated[int, typer.Option(min=CROWD * FRAMES, help="How many to store in each round.")] = 8192,
    searches: Annotated[int, typer.Option(min=1, help="In each round.")] = 50,
    rounds: Annotated[int, typer.Option(min=2)] = 6,
    mode: Annotated[Mode, typer.Option(help="none, net, box or joint.")] = "box",
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    json_file: JsonOption = None,
) -> None:
    """Measure both galleries side by side."""
    found, people = find_images(images), people - people % (CROWD * FRAMES)
    if not found:
        raise ImageError(f"No pictures in {images}. Name a folder of photos.")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        search = stack.enter_context(
            PersonSearch.open(find_bundle(bundle), mode=mode, backend=backend, precision=precision, threads=threads)
        )
        space, key = Space.of(search.bundle, mode), secrets.token_bytes(32)
        sides = {
            name: stack.enter_context(Gallery.create(scratch / name, space, of))
            for name, of in (("plain", None), ("encrypted", key))
        }
        search(read_image(found[0]))  # warms up

        def do_index(gallery: Gallery, number: int) -> int:
            return index(search, find_sources([str(_copies(found, photos, scratch / f"{number}"))]), gallery).frames

        indexing = _take_turns(sides, rounds, do_index)
        pictures = _pictures([read_image(path) for path in found], people * (rounds + 1))

        def do_store(gallery: Gallery, number: int) -> int:
            shown = pictures[number * people :][:people]
            for first in range(0, people // CROWD, FRAMES):
                gallery.add([_crowd(space, shown, number, first + i) for i in range(FRAMES)])
            gallery.optimise()
            return people

        storing = _take_turns(sides, rounds, do_store)

        def do_search(gallery: Gallery, number: int) -> int:
            for probe in _embeddings(space, number, searches):
                shown = matches_of(gallery, search_sightings(gallery, probe, top=TOP))
                if len(shown) != TOP or any(match.crop is None for match in shown):
                    raise RuntimeError("A match has no picture.")
            return searches

        searching = _take_turns(sides, rounds, do_search)
        report = Report(
            environment=environment(),
            load_average=os.getloadavg(),
            mode=mode,
            backend=search.runtime.backend,
            threads=threads,
            rounds=rounds,
            picture_bytes=round(float(np.mean([len(picture) for picture in pictures])), 1),
            bytes_a_person={name: _bytes_a_person(gallery) for name, gallery in sides.items()},
            indexing=indexing,
            storing=storing,
            searching=searching,
        )
    _print(report)
    if json_file:
        write_json(json_file, json.dumps(report.model_dump(mode="json"), indent=2))


def _take_turns(sides: dict[str, Gallery], rounds: int, task: Callable[[Gallery, int], int]) -> Task:
    """A task done by both in each round; in the first, which is not counted, they warm up."""
    done, ratios = {name: Side() for name in sides}, list[float]()
    for number in range(rounds + 1):
        took = dict[str, float]()
        for name in sorted(sides, reverse=bool(number % 2)):
            wall, cpu = time.perf_counter(), time.process_time()
            count = task(sides[name], number)
            took[name] = time.perf_counter() - wall
            if number:
                done[name].count += count
                done[name].seconds += took[name]
                done[name].cpu_seconds += time.process_time() - cpu
        if number:
            ratios.append(took["encrypted"] / took["plain"])
    cpu_ratio = done["encrypted"].cpu_seconds / done["plain"].cpu_seconds
    return Task(**done, slower=float(np.median(ratios)) - 1, slower_cpu=cpu_ratio - 1)


def _copies(found: list[Path], photos: int, folder: Path) -> Path:
    """A folder of photos no gallery has: with each round's number at their ends."""
    if not folder.exists():
        folder.mkdir()
        for i in range(photos):
            photo = found[i % len(found)]
            copy = folder / f"{i:06}{photo.suffix}"
            shutil.copy(photo, copy)
            with copy.open("ab") as file:
                file.write(f"{folder.name} {i}".encode())
    return folder


def _embeddings(space: Space, seed: int, rows: int) -> Floats:
    vectors = np.random.default_rng(seed).standard_normal((rows, space.embedding), np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _pictures(photos: list[Image], count: int) -> list[bytes]:
    """Pictures as of people, each of another part of a photo: LanceDB stores what is alike once."""
    rng = np.random.default_rng(0)
    pictures = []
    for i in range(count):
        photo = photos[i % len(photos)]
        size = rng.uniform((40, 100), (120, 300))
        corner = rng.uniform((0, 0), np.maximum(np.array(photo.shape[1::-1]) - size, 1))
        pictures.append(thumbnail(photo, np.array([*corner, *(corner + size)], np.float32)))
    return pictures


def _crowd(space: Space, pictures: list[bytes], number: int, frame: int) -> Entry:
    rng = np.random.default_rng((number, frame))
    corners = rng.uniform(0, 900, (CROWD, 2))
    boxes = np.concatenate([corners, corners + 100], 1).astype(np.float32)
    none, scores = np.zeros(CROWD, np.int32), rng.uniform(0.7, 1, CROWD).astype(np.float32)
    whole = Letterbox((1000, 1000), (1000, 1000))
    embeddings = _embeddings(space, number * 100_000 + frame, CROWD)
    seen = People(boxes, scores, embeddings, none, boxes.astype(np.int32), whole, {}, boxes, None)
    shown = pictures[frame * CROWD :][:CROWD]
    return Entry(Frame(f"/crowd/{number}/{frame}.jpg", 0, f"{number:032}{frame:032}"), seen, shown)


def _bytes_a_person(gallery: Gallery) -> float:
    folder = Path(gallery.url) / "people.lance"
    sizes = [path.stat().st_size for file in latest(folder).files if (path := folder / file).is_file()]
    return round(sum(sizes) / gallery.count(), 1)


def _print(report: Report) -> None:
    shown = table("", ">count", ">plain, s", ">encrypted, s", ">slower", ">by processor")
    for name in ("indexing", "storing", "searching"):
        task: Task = getattr(report, name)
        shown.add_row(
            name,
            f"{task.plain.count:,}",
            f"{task.plain.seconds:.2f}",
            f"{task.encrypted.seconds:.2f}",
            f"{task.slower:+.1%}",
            f"{task.slower_cpu:+.1%}",
        )
    out.print(shown)
    out.print(f"Bytes a person: {report.bytes_a_person['plain']:,.0f}; {report.bytes_a_person['encrypted']:,.0f}")


if __name__ == "__main__":
    run_app(app)
