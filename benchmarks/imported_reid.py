"""What importing a re-ID network costs: Market-1501 through the bundle, beside the plain file as its author runs it.

Rank-1 and mAP, the first crop of each person and camera against all: `author` is the file itself on ONNX Runtime, its
crops prepared in plain NumPy by its author's rule; `bundle` the imported model on the pipeline's patches of the same
crops; then the file with other rules of resizing, which shows what a rule is worth.

    mgts-trt import --into bundle --reid FILE --out imported
    python -m benchmarks.imported_reid imported --reid FILE --root DATA
"""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import typer

from benchmarks.environment import commit
from mgts_trt._typing import Array, Floats, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.console import out, progress, table
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from mgts_trt.importing.original import read_original
from mgts_trt.importing.recognised_reid import Reid, recognise_reid
from mgts_trt.importing.reid_options import ReidOptions
from mgts_trt.importing.reid_reference import describe_crops
from mgts_trt.importing.resizing import RESIZE_RULES, ResizeRule
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.modes import mode_patches
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from mgts_trt.stages import Letterbox
from training.evaluation.measure import rank_people

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BATCH = 32


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle that the file was imported into.")],
    reid: Annotated[Path, typer.Option(help="The file.")],
    root: Annotated[Path, typer.Option(help="Folder that holds market1501/.")],
    every: Annotated[int, typer.Option(help="Take each so many-th identity.", min=1)] = 1,
    rules: Annotated[str, typer.Option(help="Further rules of resizing, with commas between them.")] = "",
    preset: Annotated[str, typer.Option(help="As for the import.")] = "torchreid",
    json_file: JsonOption = None,
) -> None:
    """Measure a re-ID network in a bundle beside itself."""
    opened = Bundle.open(bundle)
    original = read_original(reid)
    imported = opened.model("idnet").imported
    if imported is None or imported.sha256 != original.sha256:
        raise MgtsError(f"{bundle} does not hold {reid}. Import it first.")
    further = tuple(rule for rule in RESIZE_RULES if rule in rules.split(","))
    options = ReidOptions.of(preset)  # type: ignore[arg-type]
    found = recognise_reid(original, options)
    crops, identities, cameras = _market(root, every)
    ways: dict[str, Callable[[list[Image]], Array]] = {"author": _author(original.path, found, None)}
    ways["bundle"] = _bundle(opened, whole=False)
    ways["bundle, each crop a photo"] = _bundle(opened, whole=True)
    for rule in further:
        ways[f"author, {rule}"] = _author(original.path, found, rule)
    rows = table(
        "way", ">rank-1", ">mAP", ">mAP − author's", ">least cosine", ">mean cosine", title=f"{len(crops)} crops"
    )
    results: dict[str, dict[str, float]] = {}
    first: Floats | None = None
    for name, describe in ways.items():
        embeddings = _describe(name, describe, crops)
        first = embeddings if first is None else first
        ranked = rank_people(embeddings, identities, cameras).summary()
        cosines = (embeddings * first).sum(axis=1)
        results[name] = {
            "map": ranked["mAP"],
            "top1": ranked["top-1"],
            "least": float(cosines.min()),
            "mean": float(cosines.mean()),
        }
        delta = ranked["mAP"] - results["author"]["map"]
        rows.add_row(
            name,
            f"{ranked['top-1']:.4f}",
            f"{ranked['mAP']:.4f}",
            f"{delta:+.5f}",
            f"{cosines.min():.4f}",
            f"{cosines.mean():.5f}",
        )
    out.print(rows)
    if json_file:
        report: dict[str, Any] = {
            "date": dt.date.today().isoformat(),
            "commit": commit(),
            "crops": len(crops),
            "resize": options.resize,
            "ways": results,
        }
        write_json(json_file, json.dumps(report, indent=2))


def _market(root: Path, every: int) -> tuple[list[Path], Array, Array]:
    folders = sorted(path for path in (root / "market1501" / "images").iterdir() if path.is_dir())[::every]
    files = [file for folder in folders for file in sorted(folder.glob("*.jpg"))]
    if not files:
        raise MgtsError(f"No crops in {root / 'market1501' / 'images'}. Name the folder that holds market1501/.")
    identities = np.array([int(file.parent.name) for file in files], np.int64)
    cameras = np.array([int(file.name.split("_c")[1].split("s")[0]) for file in files], np.int64)
    return files, identities, cameras


def _author(path: Path, found: Reid, rule: ResizeRule | None) -> Callable[[list[Image]], Array]:
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda crops: describe_crops(session, found, crops, rule)


def _bundle(bundle: Bundle, *, whole: bool) -> Callable[[list[Image]], Array]:
    """The bundle on crops as they are; or, if `whole`, each brought to the canvas as a photo of its own would be."""
    session, manifest = OnnxRuntimeSession(bundle, "idnet", "fp32"), bundle.manifest

    def patch(crop: Image) -> Array:
        height, width = crop.shape[:2]
        letterbox = Letterbox((height, width), manifest.canvas if whole else (height, width))
        canvas = letterbox.apply(crop, manifest.pad)
        box = np.array([[0, 0, *letterbox.content_hw[::-1]]], np.float32)
        return mode_patches(manifest, "none", canvas, box, None, letterbox).original[0]

    return lambda crops: session.run({"original": np.stack([patch(crop) for crop in crops])})["embedding"]


def _describe(name: str, describe: Callable[[list[Image]], Array], files: list[Path]) -> Floats:
    rows = []
    with progress() as bar:
        line = bar.add_task(name, total=len(files))
        for start in range(0, len(files), BATCH):
            part = files[start : start + BATCH]
            rows.append(describe([read_image(file) for file in part]))
            bar.advance(line, len(part))
    return np.asarray(np.concatenate(rows), np.float32)


if __name__ == "__main__":
    run_app(app)
