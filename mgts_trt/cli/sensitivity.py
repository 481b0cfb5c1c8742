"""`mgts-trt sensitivity`: which layers suffer in INT8, and what to keep in half."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import notice_untrained, out, progress, split, table, warn
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.errors import BundleError

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle


def sensitivity(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with FP32 models.")],
    calibration: Annotated[Path, typer.Option(help="Folder of pictures like those the system will see.")],
    model: Annotated[str, typer.Option(help="all, or some of the models with commas between them.")] = "all",
    by: Annotated[str, typer.Option(help="block or layer: what is quantised at a time.")] = "block",
    json_file: JsonOption = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this PNG.")] = None,
) -> None:
    """Quantise one block or layer at a time, measure what is lost, and name what to keep in half.

    Every other picture sets the scales; the others show what is lost.
    """
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.pictures.folders import find_images
    from mgts_trt.precisions.sensitivity import draw, study

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


def parse_models(text: str, bundle: "Bundle") -> tuple[str, ...]:
    """`all`, or some of a bundle's models with commas between them.

    Raises:
        BundleError: A name is no model of it.
    """
    from mgts_trt.bundle.recipe import MODELS

    held = tuple(name for name in MODELS if name in bundle.manifest.models)
    chosen = held if text == "all" else split(text)
    if unknown := [name for name in chosen if name not in held]:
        raise BundleError(f"The bundle has no model {unknown[0]!r}; expected all, or some of {', '.join(held)}.")
    return chosen
