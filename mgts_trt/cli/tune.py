"""`mgts-trt tune`: measures on this machine which way to run a bundle is the fastest, and keeps it for `auto`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, notice_untrained, out, progress, split, table, warn
from mgts_trt.cli.options import BundleArgument
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.terminal import Records
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:
    from mgts_trt._typing import Image
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.tune import TuneReport


def tune(
    bundle: BundleArgument = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="A photo to run on; may be given more than once. Else the goldens.")
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(help="none, net, box or joint, each tuned on its own; by default net, if the bundle has it."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precisions to try, with commas between them; by default all in the bundle.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each setting.", min=1)] = 5,
    json_file: JsonOption = None,
) -> None:
    """Measure which way to run a bundle is the fastest here, and keep it: --backend auto then runs so.

    `mgts-trt build --ops auto` then builds the fastest lowering.

    Threads and spinning on the CPU; on a GPU also TensorRT's plans, built first where they are missing, in each
    lowering of the operators, with one to three pictures in flight, and ONNX Runtime's CUDA provider. All take turns in
    one run, and only what finds the same people as FP32 on the CPU can win.
    """
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.tune import tune as run_tune
    from mgts_trt.pictures.image import read_image
    from mgts_trt.runtime.modes import MODELS_OF_MODE, default_mode

    opened = Bundle.open(find_bundle(bundle))
    mode = mode or default_mode(opened)
    held = [set(opened.model(model).files) for model in MODELS_OF_MODE[mode]]
    precisions = split(precision) if precision else sorted(set.intersection(*held))
    pictures = [read_image(path) for path in image] if image else _goldens(opened)
    with progress() as bar:
        task = bar.add_task("building plans", total=None)
        _build(opened, MODELS_OF_MODE[mode], precisions)
        report = run_tune(
            opened,
            pictures,
            mode=mode,
            precisions=precisions,
            rounds=rounds,
            on_step=lambda done, total, doing: bar.update(task, completed=done, total=total, description=doing),
        )
    if json_file:
        write_json(json_file, report.model_dump_json(indent=2))
    out.print(tune_table(report))
    for result in report.settings:
        if result.problem:
            warn(f"{result.setting} does not run here: {result.problem}")
    if not report.winners:
        raise MgtsError("No setting is at parity, so nothing was kept. Look at `mgts-trt parity`.")
    for name, setting in report.winners.items():
        out.print(f"Kept for --backend auto --precision {name}: {setting}")
    notice_untrained(opened.manifest)


def tune_table(report: "TuneReport") -> Records:
    """The settings that ran, as they were tried."""
    title = f"mode {report.mode}, {report.pictures} pictures, {report.rounds} rounds in turns"
    rows = table("setting", ">images/s", ">least", ">most", "against FP32 on the CPU", "", title=title)
    for result in report.settings:
        if result.images_per_second:
            speeds = (result.speed, min(result.images_per_second), max(result.images_per_second))
            verdict = (
                "kept" if result.setting in report.winners.values() else "" if result.at_parity else "not at parity"
            )
            rows.add_row(str(result.setting), *(f"{speed:.2f}" for speed in speeds), result.parity, verdict)
    return rows


def _goldens(bundle: "Bundle") -> "list[Image]":
    from mgts_trt.evaluation.golden import load_goldens

    return [case.canvas for case in load_goldens(bundle)]


def _build(bundle: "Bundle", models: tuple[str, ...], precisions: "list[str] | tuple[str, ...]") -> None:
    """The plans of this GPU, in each lowering; why they cannot be built is a note."""
    from mgts_trt.machine.gpus import find_gpus
    from mgts_trt.plans.builder.build import build_bundle
    from mgts_trt.plans.installed import find_flavour
    from mgts_trt.plans.lowering import measurable

    gpus = find_gpus()
    flavour = find_flavour(gpu=gpus[0]) if gpus else None
    if flavour is None:
        return
    try:
        for ops in measurable(flavour):
            build_bundle(bundle, precisions, ("current",), models=list(models), ops=ops)
    except MgtsError as error:
        warn(f"plans were not all built, and what is missing is left out: {error}")
