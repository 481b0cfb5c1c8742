"""Everything there is to measure on a GPU, in one command: JSON, a Markdown table and a plot.

    python -m benchmarks.gpu BUNDLE --out benchmarks/results
    python -m benchmarks.gpu BUNDLE plans pipeline --quick         some parts, fewer runs
    python -m benchmarks.gpu BUNDLE --dry-run                      what would be measured; needs no GPU
    python -m benchmarks.gpu BUNDLE --backend onnxruntime --quick  what can run on the CPU, there

See benchmarks/README.md.
"""

import re
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from benchmarks.environment import ROOT, environment
from benchmarks.gpu import plots, tables
from benchmarks.gpu.job import BASELINES, Backend, Job
from benchmarks.gpu.parts import floors, kernels, networks, operators, parity, pipeline, plans, roofline, soak
from benchmarks.gpu.report import Report
from benchmarks.gpu.timing import QUICK, Counts
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.cli.console import notice_untrained, out, parse_modes, progress, split, warn
from mgts_trt.cli.run import run_app
from mgts_trt.cli.terminal import styled
from mgts_trt.errors import BackendError, MgtsError
from mgts_trt.machine.cpu import available_cores
from mgts_trt.machine.files import write_text
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.pictures.image import read_image
from mgts_trt.plans.batch import MOST
from mgts_trt.runtime.modes import held_modes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PARTS: dict[str, ModuleType] = {
    "floors": floors,
    "plans": plans,
    "pipeline": pipeline,
    "networks": networks,
    "roofline": roofline,
    "kernels": kernels,
    "operators": operators,
    "parity": parity,
    "soak": soak,
}
"""In the order they run: what answers the first question first, what takes longest last."""

SAMPLES = ROOT / "docs" / "pictures" / "samples"
PICTURE = SAMPLES / "17790319373_bd19b24cfc_k.jpg"
"""A street with a dozen people."""


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    parts: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}; all by default.", metavar="[PARTS]...")
    ] = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the three files.")] = ROOT / "benchmarks/results",
    quick: Annotated[bool, typer.Option("--quick", help="Few runs: to see that everything works.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be measured; measure nothing.")] = False,
    backend: Annotated[Backend, typer.Option(help="onnxruntime measures what can run on the CPU, there.")] = "tensorrt",
    mode: Annotated[str, typer.Option(help="all, or some of none, net, box, joint with commas between.")] = "all",
    precision: Annotated[str, typer.Option(help="all the bundle holds, or some with commas between.")] = "all",
    baseline: Annotated[
        str, typer.Option(help=f"all, no, or some of {', '.join(BASELINES)} with commas between.")
    ] = "all",
    preset: Annotated[str | None, typer.Option(help="PyTorch's networks; by default the bundle's preset.")] = None,
    image: Annotated[Path, typer.Option(help="The photo to measure on.")] = PICTURE,
    people: Annotated[int, typer.Option(min=1, max=64, help="Take the N best detections of it.")] = 8,
    pictures: Annotated[Path, typer.Option(help="Photos for parity: a file or a folder.")] = SAMPLES,
    batch: Annotated[str, typer.Option(help="Pictures at once, with commas between them.")] = "1,4,8",
    images: Annotated[int | None, typer.Option(min=1, help="Pictures of the soak.")] = None,
) -> None:
    """Measure a bundle on this machine's first GPU."""
    chosen = _parts(parts)
    gpus = find_gpus()
    if backend == "tensorrt" and not gpus and not dry_run:
        raise BackendError(
            "There is no NVIDIA GPU here with a working driver, and this measures one. Run it where there is one; "
            "--dry-run says what it would measure, --backend onnxruntime measures what can run on the CPU."
        )
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    pixels = read_image(image)
    counts = QUICK if quick else Counts()
    if images is not None:
        counts = Counts(**{**vars(counts), "soak": images})
    report = Report(
        environment=environment(),
        bundle=str(bundle),
        preset=manifest.preset,
        trained=manifest.training.trained,
        canvas=manifest.canvas,
        image=image.name,
        image_hw=(pixels.shape[0], pixels.shape[1]),
        people=people,
        backend=backend,
        device=str(gpus[0]) if backend == "tensorrt" and gpus else f"the CPU, {available_cores()} threads",
        quick=quick,
    )
    baselines = BASELINES if baseline == "all" else () if baseline == "no" else split(baseline)
    if unknown := [name for name in baselines if name not in BASELINES]:
        raise MgtsError(f"There is no baseline {unknown[0]!r}; there are {', '.join(BASELINES)}, or all, or no.")
    with progress() as bar:
        task = bar.add_task("", total=len(chosen))
        job = Job(
            bundle=opened,
            image=pixels,
            people=people,
            backend=backend,
            modes=parse_modes(mode, held_modes(manifest)),
            precisions=_precisions(opened, precision),
            baselines=baselines,
            preset=preset,
            pictures=(pictures,),
            batches=_batches(batch),
            counts=counts,
            report=report,
            say=lambda text: bar.update(task, description=text),
        )
        if dry_run:
            bar.stop()
            for part in chosen:
                out.print(styled((part, "bold")))
                for line in PARTS[part].plan(job):
                    out.print(f"  {line}")
            return
        files = _files(out_folder, report, chosen if parts else ())
        for part in chosen:
            start = time.perf_counter()
            with job.leave_out(part):
                PARTS[part].run(job)
            report.seconds[part] = round(time.perf_counter() - start, 1)
            # After each part: what a later one breaks cannot take back.
            _write(report, files)
            bar.advance(task)
    out.print(*tables.markdown(report).splitlines(), sep="\n")
    out.print(f"Written to {', '.join(str(file) for file in files if file.exists())}")
    notice_untrained(manifest)
    for failure in report.failures:
        warn(failure)
    if report.failures:
        raise typer.Exit(1)


def _parts(asked: list[str] | None) -> list[str]:
    if unknown := [part for part in asked or () if part not in PARTS]:
        raise MgtsError(f"There is no part {unknown[0]!r}; the parts are {', '.join(PARTS)}.")
    return [part for part in PARTS if not asked or part in asked]


def _precisions(bundle: Bundle, text: str) -> tuple[str, ...]:
    held = {precision for model in bundle.manifest.models.values() for precision in model.files}
    asked = held if text == "all" else set(split(text))
    if not asked or asked - held:
        raise MgtsError(
            f"The bundle holds {', '.join(sorted(held))}, not {text!r}. Name some of these with commas between, or "
            "export it in that precision, too."
        )
    return tuple(precision for precision in load_recipe("detector").precision if precision in asked)


def _batches(text: str) -> tuple[int, ...]:
    words = split(text)
    if not words or not all(word.isdecimal() and 1 <= int(word) <= MOST for word in words):
        raise MgtsError(f"--batch is {text!r}, but numbers from 1 to {MOST} with commas between them are expected.")
    return tuple(sorted({int(word) for word in words}))


def _files(folder: Path, report: Report, parts: tuple[str, ...] | list[str]) -> tuple[Path, Path, Path]:
    """JSON, Markdown and PNG, named after what was measured and on what."""
    device = report.environment.gpu if report.backend == "tensorrt" else "cpu"
    words = ("gpu", report.preset, device or "none", *parts)
    stem = re.sub(r"[^a-z0-9]+", "_", " ".join(words).lower()).strip("_")
    return folder / f"{stem}.json", folder / f"{stem}.md", folder / f"{stem}.png"


def _write(report: Report, files: tuple[Path, Path, Path]) -> None:
    try:
        files[0].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folder = files[0].parent
        raise MgtsError(f"Cannot make the folder {folder}: {error.strerror}. Name another with --out.") from error
    write_text(files[0], report.model_dump_json(indent=2) + "\n")
    write_text(files[1], tables.markdown(report))
    try:
        plots.plot(report, files[2])
    except MgtsError as error:
        report.left_out["plots"] = str(error)


if __name__ == "__main__":
    run_app(app)
