"""`mgts-trt bench`: how fast the pipeline is on a photo, as a table and as bars."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, notice_untrained, out, parse_modes, progress, table
from mgts_trt.cli.options import (
    BackendOption,
    BundleArgument,
    FlavourOption,
    OpsOption,
    PrecisionOption,
    ThreadsOption,
    TopOption,
)
from mgts_trt.cli.outputs import FigureOption, JsonOption, PictureOption, figure_file, write_json, write_picture
from mgts_trt.cli.terminal import Records
from mgts_trt.counts import people_of
from mgts_trt.pictures.palette import STAGES

if TYPE_CHECKING:
    from mgts_trt.evaluation.bench import BenchReport


def bench(
    image: Annotated[Path, typer.Option(help="The photo to run on.")],
    bundle: BundleArgument = None,
    mode: Annotated[
        str, typer.Option(help="all the bundle has, or some of none, net, box, joint with commas between them.")
    ] = "all",
    runs: Annotated[int, typer.Option(help="Measured runs a mode.", min=1)] = 20,
    warmup: Annotated[int, typer.Option(help="Runs before them that are not measured.", min=0)] = 2,
    batch: Annotated[
        int, typer.Option(help="Pictures at once: as many times the photo. Times are a picture's share.", min=1)
    ] = 1,
    people: TopOption = None,
    backend: BackendOption = "auto",
    ops: OpsOption = "auto",
    flavour: FlavourOption = None,
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    json_file: JsonOption = None,
    plot: FigureOption = None,
    picture: PictureOption = None,
) -> None:
    """Measure the pipeline on a photo: percentiles by stage and mode, beside the paper's figures.

    --plot draws the stages, --picture the people found in the photo (in mode net, if it ran).
    """
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.bench import bench as run_bench
    from mgts_trt.pictures.image import read_image
    from mgts_trt.runtime.modes import held_modes

    parse_modes(mode)  # before anything is read
    pixels = read_image(image)
    opened = Bundle.open(find_bundle(bundle))
    modes = parse_modes(mode, held_modes(opened.manifest))
    with progress() as bar:
        task = bar.add_task("measuring", total=len(modes) * (runs + warmup))
        report, found = run_bench(
            opened,
            pixels,
            image_name=str(image),
            modes=modes,
            runs=runs,
            warmup=warmup,
            precision=precision,
            backend=backend,
            ops=ops,
            threads=threads,
            top=people,
            batch=batch,
            on_warm_up=lambda done, steps: bar.update(task, description=f"warming up, {done} of {steps}"),
            on_run=lambda running: bar.update(task, advance=1, description=f"mode {running}"),
        )
    shown: Mode = "net" if "net" in modes else modes[-1]
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))
    if plot:
        from mgts_trt.evaluation.bench_plot import bench_plot

        with figure_file(plot) as path:
            bench_plot(report, path)
    if picture:
        write_picture(picture, found[shown].draw(pixels))
    out.print(bench_table(report))
    notice_untrained(opened.manifest)
    if picture:
        out.print(f"Mode {shown} drawn to {picture}")


def bench_table(report: "BenchReport") -> Records:
    """The report as a person reads it, beside the paper's figures."""
    from mgts_trt.evaluation.bench import PAPER_DEVICE

    height, width = report.image_hw
    canvas_height, canvas_width = report.canvas
    counts = {result.people for result in report.modes}
    same = len(counts) == 1
    people = people_of(*counts) if same else f"{min(counts)} to {max(counts)} people, see mode"
    together = f" of {report.batch} pictures at once" if report.batch > 1 else ""
    title = (
        f"{Path(report.image).name}, {width}×{height}, {people}\n"
        f"{report.backend} on {report.device} ({report.cpu})\n"
        f"preset {report.preset}{'' if report.trained else ' (untrained)'}, {report.precision}, "
        f"canvas {canvas_width}×{canvas_height}; {report.runs} runs{together}, {report.warmup} to warm up"
    )
    rows = table("mode", "stage", ">p50 ms", ">p90 ms", ">p99 ms", ">images/s", f">paper, {PAPER_DEVICE}", title=title)
    rows.note = _note(report)
    for result in report.modes:
        for i, (stage, times) in enumerate(result.stages.items()):
            total = stage == "total"
            paper = _paper_total(result.mode) if total else _paper_stage(result.mode, stage)
            mode = result.mode if same else f"{result.mode}, {people_of(result.people)}"
            rows.add_row(
                mode if i == 0 else "",
                Text(stage, STAGES.get(stage, "")),
                *(f"{value:.1f}" for value in (times.p50, times.p90, times.p99)),
                f"{result.images_per_second:.2f}" if total else "",
                f"{paper:.0f} ms" if paper else "",
                style="bold" if total else None,
                end_section=total,
            )
    return rows


def _paper_total(mode: Mode) -> float | None:
    from mgts_trt.evaluation.bench import PAPER_SECONDS

    seconds = PAPER_SECONDS.get(mode)
    return None if seconds is None else seconds * 1e3


def _paper_stage(mode: Mode, stage: str) -> float | None:
    from mgts_trt.evaluation.bench import PAPER_STAGE_MS

    return PAPER_STAGE_MS.get(stage) if mode == "net" else None


def _note(report: "BenchReport") -> str:
    note = f"Decoding is not included. Why {report.backend}: {report.reason.rstrip('.')}.\n"
    note += "Paper: Table 6 and Sec. 4.7, full-size networks, 1500×900 pixels."
    if report.preset != "paper":
        note += f"\nThe preset {report.preset} is smaller than the paper's: the columns do not compare like with like."
    return note
