"""`python -m export`: write a bundle."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from mgts_trt.cli.console import notice_untrained, out, split, table, warn
from mgts_trt.cli.convert import convert, say_what_was_kept
from mgts_trt.cli.diff import diff
from mgts_trt.cli.run import run_app
from mgts_trt.cli.sensitivity import sensitivity
from mgts_trt.cli.step_bar import step_bar


class _Commands(TyperGroup):
    """`python -m export --out DIR` is short for `python -m export bundle --out DIR`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Name the command where an option comes first."""
        if args and args[0].startswith("-") and args[0] != "--help":
            args = ["bundle", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Write bundles. `bundle` is meant where no command is named.",
)
app.command("convert")(convert)
app.command("sensitivity")(sensitivity)
app.command("diff")(diff)

SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "samples"

Checkpoint = Annotated[Path | None, typer.Option(help="Trained weights (.safetensors); seeded ones without it.")]


@app.command("bundle")
def export(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the bundle to.")],
    preset: Annotated[str, typer.Option(help="A preset of training/presets, or a TOML file of your own.")] = "edge",
    detector: Checkpoint = None,
    masknet: Checkpoint = None,
    mgts: Checkpoint = None,
    idnet: Checkpoint = None,
    joint: Checkpoint = None,
    seed: Annotated[int, typer.Option(help="Of the weights of models without a checkpoint.")] = 0,
    precision: Annotated[str, typer.Option(help="Of fp32, fp16 and int8, with commas between them.")] = "fp32",
    golden: Annotated[
        list[Path] | None, typer.Option(help="Picture to record outputs for; may be given more than once.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of further pictures to measure the layers' ranges on, for fp16.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(help="Labelled set that comes into the bundle, its pictures too, for `mgts-trt parity`."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Export the networks of a preset to a bundle, each checked against PyTorch on real pictures."""
    # Here, so that --help does not wait for PyTorch.
    from export.exporter import STEPS, Export, export_bundle
    from export.graphs.check import Check
    from mgts_trt.pictures.folders import find_images
    from training.preset import load_preset

    given = {"detector": detector, "masknet": masknet, "mgts": mgts, "idnet": idnet, "joint": joint}
    with step_bar(STEPS) as bar:
        bundle, checks = export_bundle(
            Export(
                preset=load_preset(preset),
                out=out_folder,
                pictures=golden or sorted(SAMPLES.glob("*.jpg"))[:2],
                checkpoints={name: path for name, path in given.items() if path is not None},
                seed=seed,
                calibration=find_images(calibration) if calibration else [],
                precisions=split(precision),
                labelled=labelled,
                force=force,
                on_step=bar.on_step,
                on_picture=bar.on_picture,
                on_note=warn,
            )
        )
    title = f"{bundle.root}: preset {bundle.manifest.preset}, checked against PyTorch"
    rows = table("model", "precision", ">MiB", "stage compared", ">worst", ">allowed", title=title)
    for name, model in bundle.manifest.models.items():
        for precision, file in model.files.items():
            first = (name, precision, f"{file.bytes / 2**20:.1f}")
            worst: dict[str, Check] = {}
            for check in checks:
                same = (check.model, check.precision) == (name, precision)
                if same and (check.what not in worst or check.worst > worst[check.what].worst):
                    worst[check.what] = check
            for i, check in enumerate(worst.values()):
                numbers = (_number(check.worst), _number(check.bound))
                rows.add_row(*(first if i == 0 else ("", "", "")), check.what, *numbers)
            rows.add_section()
    out.print(rows)
    say_what_was_kept(bundle)
    notice_untrained(bundle.manifest)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.0e}"


if __name__ == "__main__":
    run_app(app)
