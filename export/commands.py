"""`python -m export convert` and `sensitivity`: what starts from a bundle, without PyTorch."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from export.errors import ExportError
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import MODELS
from mgts_trt.cli.console import notice_untrained, out, progress, split, table, warn
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.pictures.folders import find_images

Calibration = Annotated[Path | None, typer.Option(help="Folder of pictures like those the system will see.")]


class StepBar:
    """A progress bar over the steps of each model, and one over pictures where a step takes long."""

    def __init__(self, bar: Progress, steps: Sequence[str]) -> None:
        self._bar, self._steps = bar, list(steps)
        self._task = bar.add_task("preparing", total=len(MODELS) * len(steps))
        self._pictures = bar.add_task("pictures", visible=False)

    def on_step(self, model: str, step: str) -> None:
        """Show a step; what is no model's comes at the end."""
        done = len(MODELS) * len(self._steps)
        if model in MODELS:
            done = MODELS.index(model) * len(self._steps) + self._steps.index(step)
        self._bar.update(self._task, completed=done, description=f"{step} {model}")
        self._bar.update(self._pictures, visible=False)

    def on_picture(self, model: str, done: int, total: int) -> None:
        """Show how many pictures a step has been through."""
        self._bar.update(self._pictures, completed=done, total=total, visible=True, description=f"pictures, {model}")


@contextmanager
def step_bar(steps: Sequence[str]) -> Iterator[StepBar]:
    """A `StepBar` while it is needed."""
    with progress() as bar:
        yield StepBar(bar, steps)


def say_what_was_kept(bundle: Bundle) -> None:
    """Print which layers a bundle computes in a higher precision than its files are called."""
    for name, model in bundle.manifest.models.items():
        for precision, nodes in model.kept_float32.items():
            out.print(f"{name} in {precision}: {', '.join(nodes)} stay in float32, where their values fit.")
        if model.quantisation and model.quantisation.kept:
            out.print(f"{name} in int8: {', '.join(model.quantisation.kept)} stay in half, as its recipe says.")


def convert(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with FP32 models.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the new bundle to; may be the same.")],
    precision: Annotated[str, typer.Option(help="Of fp32, fp16 and int8, with commas between them.")] = "fp32,fp16",
    calibration: Calibration = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write a bundle's models in other precisions."""
    from export.precisions.convert import Conversion, convert_bundle
    from export.precisions.lower import STEPS

    with step_bar(STEPS) as bar:
        made = convert_bundle(
            Conversion(
                bundle=Bundle.open(bundle),
                out=out_folder,
                precisions=split(precision),
                calibration=find_images(calibration) if calibration else [],
                force=force,
                on_step=bar.on_step,
                on_picture=bar.on_picture,
                on_note=warn,
            )
        )
    rows = table("model", "precision", ">MiB", title=f"{made.root}: preset {made.manifest.preset}")
    for name, model in made.manifest.models.items():
        for i, (kind, file) in enumerate(model.files.items()):
            rows.add_row(name if i == 0 else "", kind, f"{file.bytes / 2**20:.1f}")
    out.print(rows)
    say_what_was_kept(made)
    out.print(f"What it cost: mgts-trt parity {made.root}")
    notice_untrained(made.manifest)


def sensitivity(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with FP32 models.")],
    calibration: Annotated[Path, typer.Option(help="Folder of pictures like those the system will see.")],
    model: Annotated[str, typer.Option(help="all, or some of the models with commas between them.")] = "all",
    by: Annotated[str, typer.Option(help="block or layer: what is quantised at a time.")] = "block",
    json_file: JsonOption = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this PNG.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Quantise one block or layer at a time, measure what is lost, and name what to keep in half.

    Every other picture sets the scales; the others show what is lost.
    """
    from export.precisions.sensitivity import draw, study

    opened = Bundle.open(bundle)
    studies = []
    with progress() as bar:
        task = bar.add_task("preparing", total=None)

        def on_step(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        for name in parse_models(model, opened):
            studies.append(study(opened, name, find_images(calibration), by=by, on_step=on_step, on_note=warn))
    for found in studies:
        rows = table("quantised", ">int8 MACs", ">agreement", ">lost", title=f"{found.model}: agreement with FP32")
        for section in (found.whole, found.single, found.mixed):
            for row in section:
                lost = f"{found.half - row.agreement:.4f}"
                rows.add_row(row.what, f"{row.share:.1%}", f"{row.agreement:.4f}", lost)
            rows.add_section()
        out.print(rows)
        out.print(f"For engines/{found.model}.toml under precision.int8: {found.advice}")
        out.print()
    if json_file:
        write_json(json_file, json.dumps([found.to_dict() for found in studies], indent=2))
    if plot:
        draw(studies, plot)
    notice_untrained(opened.manifest)


def parse_models(text: str, bundle: Bundle) -> tuple[str, ...]:
    """`all`, or some of a bundle's models with commas between them.

    Raises:
        ExportError: A name is no model of it.
    """
    held = tuple(name for name in MODELS if name in bundle.manifest.models)
    chosen = held if text == "all" else split(text)
    if unknown := [name for name in chosen if name not in held]:
        raise ExportError(f"The bundle has no model {unknown[0]!r}; expected all, or some of {', '.join(held)}.")
    return chosen
