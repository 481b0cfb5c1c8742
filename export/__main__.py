"""`python -m export`: write a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.console import notice_untrained, out, progress, run_app, table
from mgts_trt.recipe import MODELS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "samples"

Checkpoint = Annotated[Path | None, typer.Option(help="Trained weights (.safetensors); seeded ones without it.")]


@app.command()
def export(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write the bundle to.")],
    preset: Annotated[str, typer.Option(help="A preset of training/presets, or a TOML file of your own.")] = "edge",
    detector: Checkpoint = None,
    masknet: Checkpoint = None,
    mgts: Checkpoint = None,
    idnet: Checkpoint = None,
    seed: Annotated[int, typer.Option(help="Of the weights of models without a checkpoint.")] = 0,
    precision: Annotated[str, typer.Option(help="Of fp32 and fp16, with commas between them.")] = "fp32",
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
    """Export the four networks of a preset to a bundle, each checked against PyTorch on real pictures."""
    # Here, so that --help does not wait for PyTorch.
    from export.check import Check
    from export.exporter import STEPS, Export, export_bundle
    from mgts_trt.image import find_images
    from training.preset import load_preset

    given = {"detector": detector, "masknet": masknet, "mgts": mgts, "idnet": idnet}
    with progress() as bar:
        task = bar.add_task("preparing", total=len(MODELS) * len(STEPS))

        def on_step(model: str, step: str) -> None:
            if model not in MODELS:
                bar.update(task, completed=len(MODELS) * len(STEPS), description=f"{step} {model}")
                return
            done = list(MODELS).index(model) * len(STEPS) + STEPS.index(step)
            bar.update(task, completed=done, description=f"{step} {model}")

        bundle, checks = export_bundle(
            Export(
                preset=load_preset(preset),
                out=out_folder,
                pictures=golden or sorted(SAMPLES.glob("*.jpg"))[:2],
                checkpoints={name: path for name, path in given.items() if path is not None},
                seed=seed,
                calibration=find_images(calibration) if calibration else [],
                precisions=tuple(part.strip() for part in precision.split(",") if part.strip()),
                labelled=labelled,
                force=force,
                on_step=on_step,
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
    for name, model in bundle.manifest.models.items():
        for precision, nodes in model.kept_float32.items():
            out.print(f"{name} in {precision}: {', '.join(nodes)} stay in float32, where their values fit.")
    notice_untrained(bundle.manifest)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.0e}"


if __name__ == "__main__":
    run_app(app)
