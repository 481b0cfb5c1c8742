"""The command line: parse, call, print."""

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.console import err, find_bundle, notice_untrained, out, parse_modes, progress, run_app, split, warn
from mgts_trt.cli.options import BackendOption, BundleArgument, BundleOption, PrecisionOption, ThreadsOption, TopOption
from mgts_trt.cli.search import gallery_app, index, search
from mgts_trt.cli.serve import serve
from mgts_trt.errors import MgtsError
from mgts_trt.machine.files import write_text
from mgts_trt.plans.head_form import HeadChoice
from mgts_trt.runtime.modes import Mode
from mgts_trt.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Person search (MGTS, ECCV 2018) on ONNX Runtime and TensorRT.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mgts-trt {__version__} (Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options before any command; `--debug` works after one, too."""


@app.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    precision: Annotated[
        str | None, typer.Option(help="Precisions to build, with commas between them; by default all in the bundle.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="portable, current, or compute capabilities like sm_86, with commas between them."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Build this model alone; may be given more than once.")
    ] = None,
    head: Annotated[
        HeadChoice,
        typer.Option(help="MGTS's head: in the plan's graph, or fused into a kernel behind it; auto is graph as yet."),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Build plans that are up to date again.")] = False,
) -> None:
    """Build TensorRT plans from a bundle; TensorRT-RTX needs no GPU for it."""
    from mgts_trt.plans.builder.build import BuildEvent, build_bundle, plan_report

    opened = Bundle.open(bundle)
    with progress() as bar:
        task = bar.add_task("preparing", total=None)

        def on_event(event: BuildEvent) -> None:
            what = f"{event.model} {event.precision} {event.target}: {event.phase}".removesuffix(": ")
            bar.update(task, total=event.total, completed=event.index + event.fraction, description=what)

        results = build_bundle(
            opened,
            split(precision) if precision else None,
            split(target) if target else None,
            models=model,
            head=head,
            force=force,
            on_event=on_event,
        )
    out.print(plan_report(results))
    fresh = sum(result.fresh for result in results)
    if not fresh:
        out.print(f"Nothing to do: all {len(results)} plans are up to date. Build them again with --force.")
    else:
        out.print(f"{fresh} of {len(results)} plans built in {opened.plans}/")
    notice_untrained(opened.manifest)


@app.command("inspect")
def inspect_command(
    path: Annotated[Path, typer.Argument(help="A bundle, a plan, or an ONNX file.")],
    layers: Annotated[
        int, typer.Option(help="Show the N layers of each ONNX file with the most work.", min=0, metavar="N")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Show what is inside a bundle, a plan, or an ONNX file: tensors, weights, work, precisions."""
    from mgts_trt.cli.facts import inspect
    from mgts_trt.cli.facts_text import facts_report

    facts = inspect(path, layers)
    if as_json:
        typer.echo(facts.model_dump_json(indent=2))
    else:
        out.print(facts_report(facts))


@app.command()
def detect(
    sources: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    bundle: BundleOption = None,
    out_folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for JSON and annotated pictures.")] = Path(
        "out"
    ),
    mode: Annotated[Mode, typer.Option(help="none, net or box: the rows of the paper's Table 6.")] = "net",
    people: TopOption = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    draw: Annotated[bool, typer.Option(help="Write annotated pictures.")] = True,
    embeddings: Annotated[bool, typer.Option(help="Put embeddings into the JSON.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a picture could not be read.")] = False,
) -> None:
    """Find and describe the people in photos: NAME.json and NAME.people.jpg for each."""
    from mgts_trt.cli.detect import detect as detect_pictures
    from mgts_trt.pictures.image import list_pictures
    from mgts_trt.runtime.pipeline import PersonSearch

    pictures = list_pictures(sources)
    with PersonSearch.open(
        find_bundle(bundle), mode=mode, backend=backend, precision=precision, threads=threads
    ) as search:
        found, failures, milliseconds = 0, [], 0.0
        with progress() as bar:
            task = bar.add_task("searching", total=len(pictures))
            for result in detect_pictures(search, pictures, out_folder, top=people, draw=draw, embeddings=embeddings):
                bar.advance(task)
                if result.people is None:
                    failures.append(result)
                    continue
                found += len(result.people)
                milliseconds += result.people.timings["total"]
        done = len(pictures) - len(failures)
        if not done and len(sources) == 1 and sources[0].is_file() and failures[0].error:
            raise failures[0].error
        for failure in failures:
            warn(f"skipped: {failure.error}")
        out.print(
            f"{found} people in {done} of {len(pictures)} pictures, mode {mode}, {search.runtime.backend} on "
            f"{search.runtime.device}, {milliseconds / max(done, 1):.0f} ms a picture; written to {out_folder}/"
        )
        notice_untrained(search.bundle.manifest)
    if failures and strict:
        raise typer.Exit(1)


app.command()(index)
app.command()(search)
app.add_typer(gallery_app, name="gallery")


@app.command()
def bench(
    image: Annotated[Path, typer.Option(help="The photo to run on.")],
    bundle: BundleArgument = None,
    mode: Annotated[str, typer.Option(help="all, or some of none, net, box with commas between them.")] = "all",
    runs: Annotated[int, typer.Option(help="Measured runs a mode.", min=1)] = 20,
    warmup: Annotated[int, typer.Option(help="Runs before them that are not measured.", min=0)] = 2,
    people: TopOption = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the stages to this .png, .svg or .pdf.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write the annotated photo (of mode net, if it ran) to this .jpg or .png.")
    ] = None,
) -> None:
    """Measure the pipeline on a photo: percentiles by stage and mode, beside the paper's figures."""
    from mgts_trt.evaluation.bench import bench as run_bench
    from mgts_trt.evaluation.bench import bench_plot, bench_table
    from mgts_trt.pictures.image import read_image, write_image

    modes = parse_modes(mode)
    pixels = read_image(image)
    opened = Bundle.open(find_bundle(bundle))
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
            threads=threads,
            top=people,
            on_run=lambda running: bar.update(task, advance=1, description=f"mode {running}"),
        )
    out.print(bench_table(report))
    notice_untrained(opened.manifest)
    if json_file:
        write_text(json_file, report.model_dump_json(indent=2) + "\n")
    if plot:
        bench_plot(report, plot)
    if picture:
        shown: Mode = "net" if "net" in modes else modes[-1]
        write_image(picture, found[shown].draw(pixels))
        out.print(f"Mode {shown} drawn to {picture}")


@app.command()
def parity(
    bundle: BundleArgument = None,
    precision: Annotated[str | None, typer.Option(help="Precisions to compare; by default all in the bundle.")] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="A labelled set of your own, instead of the one in the bundle.")
    ] = None,
    task: Annotated[
        bool | None,
        typer.Option("--task/--no-task", help="Measure on labelled pictures, too; by default where there are any."),
    ] = None,
    mode: Annotated[str, typer.Option(help="Of the task: all, or some of none, net, box with commas between.")] = "all",
    backend: BackendOption = "auto",
    threads: ThreadsOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the labelled picture that differs most to this .jpg or .png.")
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Keep the numbers in the bundle, under parity/.")] = False,
) -> None:
    """Compare a bundle with what PyTorch gave at export: tensors, and results on labelled pictures.

    Exits with 1 if a number is out of tolerance.
    """
    from mgts_trt.evaluation.labelled import LabelledSet
    from mgts_trt.evaluation.parity import (
        compare_bundle,
        failures,
        parity_report,
        parity_table,
        record_parity,
        step_count,
    )
    from mgts_trt.evaluation.task import compare_task
    from mgts_trt.evaluation.task_picture import worst_picture
    from mgts_trt.pictures.image import write_image
    from mgts_trt.runtime.session.backends import select_runtime

    modes = parse_modes(mode)
    opened = Bundle.open(find_bundle(bundle))
    own_set = LabelledSet.open(labelled) if labelled and task is not False else None
    with_task = task if task is not None else own_set is not None or opened.manifest.labelled is not None
    if picture and not with_task:
        raise MgtsError("--picture draws a labelled picture, but none are compared. Name a set with --labelled DIR.")
    precisions = split(precision) if precision else None
    first = precisions[0] if precisions else "fp32"
    runtime = select_runtime(opened, tuple(opened.manifest.models), precision=first, backend=backend, threads=threads)
    with progress() as bar:
        line = bar.add_task("comparing", total=step_count(opened, precisions))
        comparisons = compare_bundle(
            opened,
            runtime,
            precisions=precisions,
            threads=threads,
            on_step=lambda step: bar.update(line, advance=1, description=step),
        )

        def on_start(what: str, pictures: int) -> Callable[[], None]:
            bar.reset(line, total=pictures, description=what)
            return lambda: bar.advance(line)

        report = None
        if with_task:
            report = compare_task(
                opened,
                runtime,
                own_set,
                precisions=precisions,
                modes=None if mode == "all" else modes,
                threads=threads,
                on_start=on_start,
            )
    out.print(parity_table(comparisons, f"{opened.root} on {runtime.backend}, {runtime.device}", report))
    notice_untrained(opened.manifest)
    if report and not report.labelled.searchable:
        warn("nobody is seen in two labelled pictures, so retrieval was not measured.")
    if json_file:
        everything = parity_report(opened, runtime, comparisons, report)
        write_text(json_file, json.dumps(everything, indent=2) + "\n")
    if picture and report:
        drawn, summary = worst_picture(report)
        write_image(picture, drawn)
        out.print(f"{summary}; drawn to {picture}")
    if record:
        out.print(f"Recorded in {', '.join(record_parity(opened, runtime, comparisons, report))}")
    count = len(comparisons) + (len(report.comparisons) if report else 0)
    if failed := failures(comparisons, report):
        err.print(f"[bold red]{failed} of {count} comparisons are out of tolerance.[/]")
        raise typer.Exit(1)
    out.print(f"[green]All {count} comparisons are within tolerance.[/]")


@app.command()
def doctor(bundle: BundleArgument = None) -> None:
    """Say what this machine has, what is missing, and the command that mends it; exit with 1 on a problem."""
    from mgts_trt.cli.doctor import examine
    from mgts_trt.cli.doctor import report as doctor_report

    try:
        path: Path | None = find_bundle(bundle)
    except MgtsError:
        path = None
    findings = examine(path)
    out.print(doctor_report(findings), soft_wrap=True)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


app.command()(serve)


def main() -> None:
    """The `mgts-trt` command."""
    run_app(app)
