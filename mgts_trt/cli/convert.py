"""`mgts-trt convert`: a bundle's FP32 models in other precisions, without PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mgts_trt.cli.console import notice_untrained, out, split, table, warn

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle

CalibrationOption = Annotated[
    Path | None, typer.Option("--calibration", help="Folder of pictures like those the system will see.")
]


def convert(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle with FP32 models.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the new bundle to; may be the same.")],
    precision: Annotated[str, typer.Option(help="Of fp32, fp16 and int8, with commas between them.")] = "fp32,fp16",
    calibration: CalibrationOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
) -> None:
    """Write a bundle's models in other precisions."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.cli.step_bar import step_bar
    from mgts_trt.pictures.folders import find_images
    from mgts_trt.precisions.convert import Conversion, convert_bundle
    from mgts_trt.precisions.lower_precision import STEPS

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


def say_what_was_kept(bundle: "Bundle") -> None:
    """Print which layers a bundle computes in a higher precision than its files are called."""
    for name, model in bundle.manifest.models.items():
        for precision, nodes in model.kept_float32.items():
            out.print(f"{name} in {precision}: {', '.join(nodes)} stay in float32, where their values fit.")
        if model.quantisation and model.quantisation.kept:
            out.print(f"{name} in int8: {', '.join(model.quantisation.kept)} stay in half, as its recipe says.")
