"""Whether searching pictures together is faster than one by one, with ONNX Runtime on a CPU.

    python -m benchmarks.cpu_batches --images FOLDER

Each round searches the same pictures one by one and in batches, in alternating order, and gives a ratio; reported is
the median of the rounds'. Whatever else the machine does falls on both, so ratios tell, times do not.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.machine.cpu import available_cores
from mgts_trt.pictures.folders import find_images
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.pipeline import PersonSearch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SIZES = (2, 4, 8)
MODES: tuple[Mode, ...] = ("box", "net")


class Batch(BaseModel):
    """A size of batch in a mode; a ratio is how many times longer one by one takes."""

    mode: str
    size: int
    ratio: float
    ratio_quartiles: tuple[float, float]
    cpu_ratio: float
    """Of processor time, of all threads."""


class CpuBatchesReport(BaseModel):
    """What `--json` writes."""

    environment: Environment
    preset: str
    threads: int
    rounds: int
    people: int
    """Of each picture, that re-ID describes."""
    batches: list[Batch]


@app.command()
def main(
    images: Annotated[Path, typer.Option(help="Folder of pictures; the first eight are searched.")],
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of ONNX Runtime; by default all cores.")] = None,
    people: Annotated[int, typer.Option(min=1, max=64, help="Described in each picture.")] = 4,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    json_file: JsonOption = None,
) -> None:
    """Measure batches of 2, 4 and 8 pictures against one by one."""
    opened = Bundle.open(find_bundle(bundle))
    pictures = list(islice(cycle([read_image(path) for path in find_images(images)[:8]]), max(SIZES)))
    threads = threads or available_cores()
    batches = []
    with progress() as bar, ExitStack() as held:
        task = bar.add_task("measuring", total=len(MODES) * len(SIZES))
        for mode in MODES:
            searches = {
                size: held.enter_context(
                    PersonSearch(opened, mode=mode, backend="onnxruntime", threads=threads, batch_size=size)
                )
                for size in (1, *SIZES)
            }
            for size in SIZES:
                batches.append(_compare(mode, size, searches, pictures[:size], people, rounds))
                bar.update(task, advance=1, description=f"{mode}, {size}")
    report = CpuBatchesReport(
        environment=environment(),
        preset=opened.manifest.preset,
        threads=threads,
        rounds=rounds,
        people=people,
        batches=batches,
    )
    shown = table("mode", ">batch", ">times faster", ">quartiles", ">by CPU time")
    for each in batches:
        low, high = each.ratio_quartiles
        shown.add_row(each.mode, str(each.size), f"{each.ratio:.2f}", f"{low:.2f}–{high:.2f}", f"{each.cpu_ratio:.2f}")
    out.print(shown)
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))


def _compare(
    mode: Mode, size: int, searches: dict[int, PersonSearch], pictures: list[Any], people: int, rounds: int
) -> Batch:
    sides: tuple[Callable[[], Any], Callable[[], Any]] = (
        lambda: searches[1].batch(pictures, top=people),
        lambda: searches[size].batch(pictures, top=people),
    )
    for warm_up in sides:
        warm_up()
    seconds = np.zeros((rounds, 2, 2))  # round, side, clock and processor
    for number in range(rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter(), time.process_time()
            sides[side]()
            seconds[number, side] = time.perf_counter() - start[0], time.process_time() - start[1]
    clock, processor = (seconds[:, 0, kind] / seconds[:, 1, kind] for kind in (0, 1))
    low, middle, high = np.percentile(clock, [25, 50, 75])
    return Batch(
        mode=mode,
        size=size,
        ratio=float(middle),
        ratio_quartiles=(float(low), float(high)),
        cpu_ratio=float(np.median(processor)),
    )


if __name__ == "__main__":
    run_app(app)
