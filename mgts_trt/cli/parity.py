"""`mgts-trt parity`: a bundle compared with what PyTorch gave at export."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from mgts_trt.cli.console import err, find_bundle, notice_untrained, out, parse_modes, progress, split, table, warn
from mgts_trt.cli.options import BackendOption, BundleArgument, FlavourOption, OpsOption, ThreadsOption
from mgts_trt.cli.outputs import JsonOption, PictureOption, make_folder, write_json, write_picture
from mgts_trt.cli.terminal import Records, styled
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.parity import Comparison
    from mgts_trt.evaluation.task import TaskReport


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
    mode: Annotated[
        str, typer.Option(help="Of the task: all, or some of none, net, box, joint with commas between.")
    ] = "all",
    backend: BackendOption = "auto",
    ops: OpsOption = "auto",
    flavour: FlavourOption = None,
    threads: ThreadsOption = None,
    json_file: JsonOption = None,
    picture: PictureOption = None,
    record: Annotated[bool, typer.Option("--record", help="Keep the numbers in the bundle, under parity/.")] = False,
    polygraphy: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the goldens to this folder, as `polygraphy run` loads them."),
    ] = None,
) -> None:
    """Compare a bundle with what PyTorch gave at export: tensors, and results on labelled pictures.

    --picture draws the labelled picture that differs most. --polygraphy writes what PyTorch gave, so that any other
    backend can be held against it, and says how. Exits with 1 if a number is out of tolerance.
    """
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.labelled import LabelledSet
    from mgts_trt.evaluation.parity import compare_bundle, failures, parity_report, record_parity, step_count
    from mgts_trt.evaluation.task import compare_task
    from mgts_trt.evaluation.task_picture import worst_picture
    from mgts_trt.runtime.modes import held_modes
    from mgts_trt.runtime.session.backends import select_runtime

    opened = Bundle.open(find_bundle(bundle))
    modes = parse_modes(mode, held_modes(opened.manifest))
    own_set = LabelledSet.open(labelled) if labelled and task is not False else None
    with_task = task if task is not None else own_set is not None or opened.manifest.labelled is not None
    if picture and not with_task:
        raise MgtsError("--picture draws a labelled picture, but none are compared. Name a set with --labelled DIR.")
    precisions = split(precision) if precision else None
    first = precisions[0] if precisions else "fp32"
    said = [] if polygraphy is None else _write_polygraphy(opened, polygraphy, first)
    models = tuple(opened.manifest.models)
    runtime = select_runtime(opened, models, precision=first, backend=backend, threads=threads, ops=ops)
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
    if json_file:
        everything = parity_report(opened, runtime, comparisons, report)
        write_json(json_file, everything.model_dump_json(indent=2))
    if picture and report:
        drawn, summary = worst_picture(report)
        write_picture(picture, drawn)
        said.append(f"{summary}; drawn to {picture}")
    if record:
        said.append(f"Recorded in {', '.join(record_parity(opened, runtime, comparisons, report))}")
    out.print(parity_table(comparisons, f"{opened.root} on {runtime.backend}, {runtime.device}", report))
    notice_untrained(opened.manifest)
    if report and not report.labelled.searchable:
        warn("nobody is seen in two labelled pictures, so retrieval was not measured.")
    for sentence in said:
        out.print(sentence)
    count = len(comparisons) + (len(report.comparisons) if report else 0)
    if failed := failures(comparisons, report):
        err.print(styled((f"{failed} of {count} comparisons are out of tolerance.", "bold red")))
        raise typer.Exit(1)
    out.print(styled((f"All {count} comparisons are within tolerance.", "green")))


def _write_polygraphy(bundle: "Bundle", folder: Path, precision: str) -> list[str]:
    """The goldens in Polygraphy's JSON; what to say of them."""
    from mgts_trt.evaluation.polygraphy_files import write_polygraphy

    make_folder(folder)
    written = write_polygraphy(bundle, folder, precision=precision)
    commands = [files.command(bundle.model_path(files.model, precision)) for files in written]
    return [f"Goldens for Polygraphy are in {folder}; on ONNX Runtime it compares them with:", *commands]


_TASK_WORDS = {
    "box_ap": "box AP at IoU 0.5",
    "label_mask_iou": "mask IoU with labels",
    "mask_iou": "mask IoU with ref.",
    "cosine": "least cosine, ref.",
    "mean_cosine": "mean cosine, ref.",
    "reid_map": "re-ID mAP",
    "reid_top1": "re-ID top-1",
    "search_map": "search mAP",
    "search_top1": "search top-1",
}


def parity_table(comparisons: "list[Comparison]", title: str, task: "TaskReport | None" = None) -> Records:
    """One row a model, precision and metric, with the worst of all pictures; then those of the task."""
    from mgts_trt.bundle.recipe import MODELS
    from mgts_trt.evaluation.parity import AT_MOST, WORDS

    rows = table("part", "prec.", "compared", ">ref.", ">here", ">bound", "", title=title)
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((comparison.model, comparison.precision, comparison.metric), []).append(comparison)
    for (model, precision, metric), group in groups.items():
        at_most = metric in AT_MOST
        worst = (max if at_most else min)(group, key=lambda comparison: comparison.value)
        bound = f"{'≤' if at_most else '≥'} {worst.bound:g}"
        verdict = _verdict(all(comparison.ok for comparison in group))
        rows.add_row(model, precision, WORDS[metric], "", f"{worst.value:.4g}", bound, verdict)
    if task is None:
        return rows
    rows.add_section()
    for row in task.comparisons:
        known = row.reference is not None
        bound = "" if row.bound is None else f"{'≥ ref. −' if known else '≥'} {row.bound:g}"
        part = row.part if row.part in MODELS else f"mode {row.part}"
        numbers = (_number(row.reference) if row.reference is not None else "", _number(row.value))
        verdict = Text() if row.bound is None else _verdict(row.ok)
        rows.add_row(part, row.precision, _TASK_WORDS[row.metric], *numbers, bound, verdict)
    people = sum(len(picture.boxes) for picture in task.labelled.pictures)
    rows.note = (
        f"Below the line: {people} people in {len(task.labelled.pictures)} labelled pictures; the reference is "
        f"{task.reference_name}."
    )
    return rows


def _verdict(ok: bool) -> Text:
    return Text("ok", "green") if ok else Text("FAILED", "bold red")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.5f}"
