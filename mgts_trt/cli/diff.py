"""`mgts-trt diff`: where a lower precision begins to differ from FP32, layer by layer."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import notice_untrained, out, progress, table
from mgts_trt.cli.outputs import FigureOption, JsonOption, figure_file, write_json
from mgts_trt.cli.sensitivity import parse_models
from mgts_trt.cli.terminal import Records

if TYPE_CHECKING:
    from mgts_trt.precisions.layer_diff import ModelDiff


def diff(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with FP32 models and lower ones.")],
    precision: Annotated[str, typer.Option(help="fp16 or int8: what to compare with FP32.")] = "int8",
    model: Annotated[str, typer.Option(help="all, or some of the models with commas between them.")] = "all",
    image: Annotated[
        list[Path] | None, typer.Option(help="A photo to run on; may be given more than once. Else the goldens.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(metavar="DB", help="Least signal-to-noise ratio, dB; by default 40 for fp16, 15 for int8."),
    ] = None,
    top: Annotated[int, typer.Option(help="Layers to show of each model.", min=1)] = 10,
    json_file: JsonOption = None,
    plot: FigureOption = None,
) -> None:
    """Run FP32 and a lower precision side by side on ONNX Runtime, and name the first layers beyond tolerance.

    All tensors that both files have are compared, through Polygraphy. The table shows the first below the tolerance,
    with the ratio of what each reads: where the two are far apart, the layer itself is to blame. Where none is, it
    shows those that lose the most.
    """
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.precisions.layer_diff import diff_model, draw, read_samples

    opened = Bundle.open(bundle)
    names = parse_models(model, opened)
    diffs = []
    with progress() as bar:
        task = bar.add_task("looking for people", total=None)
        samples = read_samples(opened, image or [])
        for name in names:

            def on_step(done: int, total: int, name: str = name) -> None:
                bar.update(task, description=f"{name}, fp32 and {precision}", completed=done, total=total)

            diffs.append(diff_model(opened, name, precision, samples[name], tolerance=tolerance, on_step=on_step))
    for found in diffs:
        out.print(diff_table(found, top))
        for sentence in _sentences(found):
            out.print(sentence)
        out.print()
    if json_file:
        write_json(json_file, json.dumps([found.to_dict() for found in diffs], indent=2))
    if plot:
        with figure_file(plot) as file:
            draw(diffs, file)
    notice_untrained(opened.manifest)


def diff_table(found: "ModelDiff", top: int) -> Records:
    """The first layers beyond tolerance, in the order of the graph; where there are none, those that lose the most."""
    shown = found.beyond[:top] or sorted(found.layers, key=lambda layer: -layer.lost)[:top]
    what = f"{'first' if found.beyond else 'none'} below {found.tolerance:g} dB"
    title = f"{found.model}, {found.precision} against fp32: {what}{'' if found.beyond else '; losing the most'}"
    rows = table("layer", "operator", ">before, dB", ">behind, dB", ">lost", title=title)
    for layer in shown:
        rows.add_row(layer.layer, layer.operator, *map(_decibels, (layer.before, layer.ratio, layer.lost)))
    return rows


def _decibels(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "exact" if value > 0 else "none"


def _sentences(found: "ModelDiff") -> list[str]:
    sentences = [f"{len(found.beyond)} of {len(found.layers)} tensors are below {found.tolerance:g} dB."]
    if found.chooser:
        sentences.append(
            f"{found.chooser} chooses other rows in {found.precision}; here both were given those of fp32, so that all "
            "tensors are of the same boxes."
        )
    return sentences
