"""How long a search of a gallery takes, and how many of the most similar people it finds, with and without a filter.

The gallery is made up: videos of eight cameras, in which 20 people at a time are seen for 20 frames, as one sighting
each, with thumbnails. `people` look like re-ID's: identities unequally spread over the sphere, four sightings each, two
looks of one of which have a mean cosine of 0.70; probes are further looks. `uniform` embeddings have no neighbourhoods,
which is the worst an index can meet. CPU time beside the clock's tells what a machine without other work would take: on
two cores no more than that, and no less than half.

    python -m benchmarks.gallery_search --people 1000000 --json benchmarks/results/gallery_search.json
"""

import hashlib
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt._typing import Floats, Ints
from mgts_trt.cli.console import out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.gallery import Entry, Filter, Frame, Gallery, Space, parse_filter
from mgts_trt.gallery.asking import matches_of
from mgts_trt.gallery.entry import thumbnail
from mgts_trt.gallery.sighting import Sighting, sighting_id
from mgts_trt.gallery.sightings import search_sightings
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

FRAMES = 20
"""Of each sighting, and sightings in each of its frames: people come and go together, in blocks."""
BLOCK = FRAMES * FRAMES
"""People in the frames of a block."""
STAYS = 4
"""Sightings of each identity."""
CAMERAS = 8
NOISE = 0.65
"""Length of what a look adds to its identity, which has length 1: the cosine of two is 1 / (1 + NOISE²).

Half of its variance is of the sighting, half of the frame.
"""
BLOCKS_AT_ONCE = 50
TOP = 10
DIM = 128


class Data(StrEnum):
    """Where embeddings lie."""

    people = "people"
    uniform = "uniform"


class Search(BaseModel):
    """One way to search, over all probes; milliseconds."""

    name: str
    frames: bool
    """Compared with everybody in every frame, instead of with sightings."""
    pictures: bool
    """With the pictures of those found, decoded."""
    where: str | None
    exact: bool
    share: float
    """Of the people that the filter leaves."""
    p50: float
    p95: float
    cpu: float
    """Mean time of all cores together."""
    recall: float
    """Mean share of the true `TOP` that was found."""


class Report(BaseModel):
    """What was measured, and where."""

    environment: Environment
    load_average: tuple[float, float, float]
    """When the searches began: of a machine that others use, timings are upper bounds."""
    people: int
    data: Data
    added_later: int
    """People added after the index was made, and searched all the same."""
    seconds_to_add: float
    seconds_to_optimise: float
    bytes: int | None
    peak_memory_mib: int
    searches: list[Search]


@app.command()
def main(
    people: Annotated[int, typer.Option(min=1000)] = 1_000_000,
    data: Annotated[Data, typer.Option()] = Data.people,
    later: Annotated[int, typer.Option(min=0, help="People added after the index was made.")] = 10_000,
    probes: Annotated[int, typer.Option(min=1)] = 100,
    folder: Annotated[Path | None, typer.Option(help="Where to make the gallery; kept.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Make a gallery, index it, add some more, and search it."""
    people, later = people - people % BLOCK, later - later % BLOCK
    embeddings, targets = make_embeddings(people + later, probes, data)
    with tempfile.TemporaryDirectory() as temporary:
        space = Space(
            model="mgts", weights="synthetic", mode="box", gamma=1.3, patch=(256, 128), embedding=DIM, preset="paper"
        )
        with Gallery.create(folder or temporary, space) as gallery:
            start = time.perf_counter()
            add_people(gallery, embeddings, range(people // BLOCK))
            added = time.perf_counter()
            gallery.optimise()
            optimised = time.perf_counter()
            add_people(gallery, embeddings, range(people // BLOCK, (people + later) // BLOCK))
            report = Report(
                environment=environment(),
                load_average=os.getloadavg(),
                people=people,
                data=data,
                added_later=later,
                seconds_to_add=round(added - start, 1),
                seconds_to_optimise=round(optimised - added, 1),
                bytes=gallery.summary().bytes,
                searches=list(_search(gallery, embeddings, targets)),
                peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            )
    _print(report)
    if json_file:
        write_json(json_file, json.dumps(report.model_dump(mode="json"), indent=2))


def make_embeddings(people: int, probes: int, data: Data) -> tuple[Floats, Floats]:
    """Embeddings of stored people [N, 128], block by block and frame by frame, and of probes; all of length 1."""
    rng = np.random.default_rng(0)
    if data is Data.uniform:
        return unit(_normal(rng, people)), unit(_normal(rng, probes))
    # Principal components of learned embeddings fall off; a root is mild.
    spread = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    blocks = people // BLOCK
    identities = unit(_normal(rng, max(people // FRAMES // STAYS, FRAMES)) * spread)
    here = np.concatenate([rng.choice(len(identities), FRAMES, replace=False) for _ in range(blocks)])
    half = NOISE / 2**0.5
    stays = identities[here] + _noise(rng, len(here), half)
    shown = np.repeat(stays.reshape(blocks, 1, FRAMES, DIM), FRAMES, axis=1).reshape(-1, DIM)
    wanted = rng.choice(here, probes)
    return unit(shown + _noise(rng, people, half)), unit(identities[wanted] + _noise(rng, probes, NOISE))


def _noise(rng: np.random.Generator, rows: int, length: float) -> Floats:
    return np.asarray(_normal(rng, rows) * np.float32(length / DIM**0.5))


def _normal(rng: np.random.Generator, rows: int) -> Floats:
    return rng.standard_normal((rows, DIM), np.float32)


def unit(vectors: Floats) -> Floats:
    """Vectors [N, d] at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def frame_at(number: int) -> Frame:
    """A frame of the whole gallery: blocks go round the cameras, and a video has fifty of its camera's."""
    block = number // FRAMES
    camera, turn = block % CAMERAS, block // CAMERAS
    source = f"/camera{camera}/{turn // 50}.mp4"
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    return Frame(source, turn % 50 * FRAMES + number % FRAMES, sha256, time=float(number), camera=str(camera))


def add_people(gallery: Gallery, embeddings: Floats, blocks: range) -> None:
    """Add the people of blocks; embeddings [N, 128] are those of all blocks."""
    pictures = _pictures()
    with progress() as bar:
        task = bar.add_task("adding", total=len(blocks))
        for first in range(blocks.start, blocks.stop, BLOCKS_AT_ONCE):
            some = range(first, min(first + BLOCKS_AT_ONCE, blocks.stop))
            entries, sightings = list[Entry](), list[Sighting]()
            for block in some:
                rows = embeddings[block * BLOCK :][:BLOCK].reshape(FRAMES, FRAMES, DIM)
                stays = [_sighting(block, person, rows[:, person]) for person in range(FRAMES)]
                names = [stay.id for stay in stays]
                entries += [_entry(block * FRAMES + i, rows[i], names, pictures) for i in range(FRAMES)]
                sightings += stays
            gallery.add(entries, sightings)
            bar.advance(task, len(some))


def _entry(number: int, embeddings: Floats, sightings: list[str], pictures: list[bytes]) -> Entry:
    rng = np.random.default_rng(number)
    corners = rng.uniform(0, 900, (FRAMES, 2))
    boxes = np.concatenate([corners, corners + rng.uniform((40, 100), (120, 300), (FRAMES, 2))], 1).astype(np.float32)
    none = np.zeros(FRAMES, np.int32)
    whole = Letterbox((900, 1500), (900, 1500))
    scores = rng.uniform(0.7, 1, FRAMES).astype(np.float32)
    people = People(boxes, scores, embeddings, none, boxes.astype(np.int32), whole, {}, boxes, None)
    # No two thumbnails are the same, or they would be stored once.
    thumbnails = [pictures[i] + rng.bytes(8) for i in rng.integers(len(pictures), size=FRAMES)]
    return Entry(frame_at(number), people, thumbnails, sightings)


def _sighting(block: int, person: int, looks: Floats) -> Sighting:
    first, last = frame_at(block * FRAMES), frame_at(block * FRAMES + FRAMES - 1)
    best = [0, FRAMES // 2, FRAMES - 1]
    keys = [f"{frame_at(block * FRAMES + i).key}-{person}" for i in best]
    path = np.tile(np.float32([0, 10, 10, 60, 160]), (FRAMES, 1))
    path[:, 0] = np.arange(FRAMES)
    return Sighting(
        id=sighting_id(keys[0]), likeness=None, source=first.source, camera=first.camera, sha256=first.sha256,
        start=first.time, end=last.time, first=first.number, last=last.number, frames=FRAMES, path=path,
        best=tuple(keys), closed=True, embedding=unit(looks[best].mean(0, keepdims=True))[0], scores=(0.7, 1.0),
    )  # fmt: skip


def _pictures() -> list[bytes]:
    """JPEGs of about 4 KB, as thumbnails of people are."""
    rng = np.random.default_rng(0)
    rough = [np.asarray(rng.integers(0, 256, (12, 6, 3)), np.uint8) for _ in range(64)]
    large = [np.asarray(cv2.resize(picture, (80, 192), interpolation=cv2.INTER_CUBIC), np.uint8) for picture in rough]
    return [thumbnail(picture, np.float32([0, 0, 80, 192])) for picture in large]


def _search(gallery: Gallery, embeddings: Floats, probes: Floats) -> Iterator[Search]:
    blocks = embeddings.reshape(-1, FRAMES, FRAMES, DIM)
    rows = np.arange(len(embeddings))
    stays = unit(blocks[:, [0, FRAMES // 2, FRAMES - 1]].mean(1).reshape(-1, DIM))
    # Of each sighting, or person, the id and the numbers of the first and the last frame.
    first = np.arange(len(stays)) // FRAMES * FRAMES
    for frames, vectors, begin, end in (
        (False, stays, first, first + FRAMES - 1),
        (True, embeddings, rows // FRAMES, rows // FRAMES),
    ):
        names = _row_names if frames else _stay_names
        for name, where, left in _cases(len(rows) // FRAMES, begin, end):
            truth = [names(best) for best in _most_similar(vectors, np.flatnonzero(left), probes)]
            for exact, pictures in ((False, False), (False, True), (True, False))[: 3 if where is None else 1]:
                yield _measure(gallery, name, frames, pictures, where, exact, float(left.mean()), probes, truth)


def _cases(total: int, begin: Ints, end: Ints) -> list[tuple[str, str | None, Any]]:
    """Filters, and whom they leave of those seen from one frame of the gallery to another."""
    hundredth = max(total // 100, 1)
    camera = begin // FRAMES % CAMERAS
    probe = frame_at(0)
    return [
        ("all", None, np.ones(len(begin), bool)),
        ("not the probe's picture", f"sha256!={probe.sha256}", (camera != 0) | (begin // FRAMES // CAMERAS >= 50)),
        ("one camera", "camera=3", camera == 3),
        ("half the time", f"time<{total // 2}", begin < total // 2),
        ("a hundredth of the time", f"time<{hundredth}", begin < hundredth),
        ("part of the source", "source~camera5", camera == 5),
    ]


def _row_names(rows: Ints) -> set[str]:
    return {f"{frame_at(int(row) // FRAMES).key}-{int(row) % FRAMES}" for row in rows}


def _stay_names(stays: Ints) -> set[str]:
    return {sighting_id(name) for name in _row_names(stays // FRAMES * BLOCK + stays % FRAMES)}


def _most_similar(vectors: Floats, left: Ints, probes: Floats) -> list[Ints]:
    """Rows of the true `TOP` of each probe, by NumPy."""
    found = []
    for probe in probes:
        cosines = vectors @ probe
        found.append(left[np.argsort(-cosines[left], kind="stable")[:TOP]])
    return found


def _measure(
    gallery: Gallery, name: str, frames: bool, pictures: bool, where: str | None, exact: bool, share: float,
    probes: Floats, truth: list[set[str]],
) -> Search:  # fmt: skip
    condition: Filter | None = parse_filter(where) if where else None
    search = gallery.search if frames else partial(search_sightings, gallery)
    show = partial(matches_of, gallery) if pictures else len
    for probe in probes[: 20 if not exact else 2]:  # warm up: partitions are read from disk once
        show(search(probe, top=TOP, where=condition, exact=exact))
    milliseconds, recalls, cpu = [], [], time.process_time()
    for probe, wanted in list(zip(probes, truth, strict=True))[: 20 if exact else None]:
        start = time.perf_counter()
        found = search(probe, top=TOP, where=condition, exact=exact)
        show(found)
        milliseconds.append((time.perf_counter() - start) * 1e3)
        recalls.append(len(wanted & {each.id for each in found}) / len(wanted))
    cpu = (time.process_time() - cpu) * 1e3 / len(recalls)
    p50, p95 = np.percentile(milliseconds, (50, 95))
    return Search(
        name=name, frames=frames, pictures=pictures, where=where, exact=exact, share=round(share, 4),
        p50=round(float(p50), 1), p95=round(float(p95), 1), cpu=round(cpu, 1), recall=round(float(np.mean(recalls)), 4),
    )  # fmt: skip


def _print(report: Report) -> None:
    title = (
        f"{report.people:,} people ({report.data.value}) and {report.added_later:,} added later; "
        f"added in {report.seconds_to_add} s, indexed in {report.seconds_to_optimise} s"
    )
    rows = table("search", ">share", ">p50, ms", ">p95, ms", ">CPU, ms", f">recall@{TOP}", title=title)
    for search in report.searches:
        how = f"{'frames' if search.frames else 'sightings'}: {search.name}"
        how += ", with pictures" * search.pictures + ", exact" * search.exact
        numbers = (f"{search.share:.3f}", f"{search.p50}", f"{search.p95}", f"{search.cpu}", f"{search.recall:.4f}")
        rows.add_row(how, *numbers)
    out.print(rows)


if __name__ == "__main__":
    run_app(app)
