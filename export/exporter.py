"""From presets and checkpoints to a bundle."""

import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from export.check import Check, CheckedGraph, require
from export.goldens import Recording, record, start_recording, write_golden
from export.graphs.networks import GRAPHS, fold_batch_norm
from export.onnx_file import ExportError, export_onnx, store_weights_in_half, tensor_specs
from mgts_trt import __version__
from mgts_trt.bundle import MANIFEST, Bundle, BundleFile, Manifest, Model, Training, file_sha256, write_manifest
from mgts_trt.errors import BundleError
from mgts_trt.modes import mode_patches
from mgts_trt.recipe import MODELS, load_recipe
from training.checkpoint import load_checkpoint
from training.models import FCIS, MGTS, FasterRCNN, IDNet, create
from training.preset import Preset

PRECISIONS = ("fp32",)
STEPS = ("create", "trace", "check", "record")
"""What is done with each model; `on_step` is called before each."""

_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "opencv-python-headless")


@dataclass
class Export:
    """What to export.

    Attributes:
        preset: The system's sizes.
        out: Folder to write the bundle to.
        pictures: Golden pictures; the first ones also check the graphs.
        checkpoints: Model → `.safetensors` file; a model without one gets seeded initial weights.
        seed: Of those.
        precisions: Of `PRECISIONS`.
        force: Replace a bundle that is there.
        on_step: Called with (model, one of `STEPS`).
    """

    preset: Preset
    out: Path
    pictures: list[Path]
    checkpoints: dict[str, Path] = field(default_factory=dict)
    seed: int = 0
    precisions: tuple[str, ...] = PRECISIONS
    force: bool = False
    on_step: Callable[[str, str], None] = lambda model, step: None


def export_bundle(job: Export) -> tuple[Bundle, list[Check]]:
    """Write a bundle whose every graph has been checked against its network.

    All is made in a temporary folder beside `out` and moved there at the end, the manifest last: a failure, or a
    kill, leaves what was there before, or a folder without a manifest, which nothing takes for a bundle. Plans and
    other files already in `out` stay.

    Returns:
        The bundle, and the checks it passed.

    Raises:
        ExportError: A network cannot be exported, or its graph deviates from it.
        BundleError: There is a bundle in `out` already, and `force` is not set.
        CheckpointError: A checkpoint is missing, damaged, or of another network.
        ImageError: A golden picture cannot be read.
    """
    _refuse_to_overwrite(job)
    if unknown := [precision for precision in job.precisions if precision not in PRECISIONS]:
        raise ExportError(f"There is no precision {', '.join(unknown)}; this version exports {', '.join(PRECISIONS)}.")
    recordings = [start_recording(path, job.preset) for path in job.pictures]
    if not recordings:
        raise ExportError("At least one golden picture is needed; name one with --golden PHOTO.")
    if len({recording.name for recording in recordings}) < len(recordings):
        raise ExportError("Two golden pictures bear the same name; rename one.")
    job.out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{job.out.name}.exporting-", dir=job.out.parent))
    try:
        checks: list[Check] = []
        manifest = _bare_manifest(job)
        models = {}
        for name in MODELS:
            models[name] = _export_model(job, name, staging, recordings, manifest, checks)
        goldens = tuple(write_golden(recording, staging) for recording in recordings)
        manifest = manifest.model_copy(update={"models": models, "golden": goldens})
        write_manifest(staging, Manifest.model_validate(manifest.model_dump()))
        _move(staging, job.out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Bundle.open(job.out), checks


def _export_model(
    job: Export, name: str, root: Path, recordings: list[Recording], manifest: Manifest, checks: list[Check]
) -> Model:
    job.on_step(name, "create")
    network = create(name, job.preset, seed=job.seed)
    if name in job.checkpoints:
        load_checkpoint(job.checkpoints[name], network, model=name, preset=job.preset.name)
    network.eval()
    if job.preset.weights == "float16":
        # Folded first: the products are what the file stores. From here on the rounded network *is* the network.
        network = fold_batch_norm(network)
        round_weights(network)

    job.on_step(name, "trace")
    file = f"{name}.fp32.onnx"
    graph = GRAPHS[name](network).eval()
    export_onnx(graph, _examples(name, job.preset), root / file, dynamic="N" if name in ("mgts", "idnet") else None)
    del graph
    if job.preset.weights == "float16":
        store_weights_in_half(root / file)

    job.on_step(name, "check")
    checks += _check(name, network, root / file, recordings, manifest)
    require(checks)

    job.on_step(name, "record")
    for recording in recordings:
        record(recording, name, network, manifest)
    inputs, outputs = tensor_specs(root / file)
    recipe = load_recipe(name)
    recipe.bind(inputs, outputs)
    return Model(files={"fp32": BundleFile.of(root, file)}, inputs=inputs, outputs=outputs, recipe_sha256=recipe.sha256)


def _check(
    name: str,
    network: FasterRCNN | FCIS | MGTS | IDNet,
    path: Path,
    recordings: list[Recording],
    manifest: Manifest,
) -> list[Check]:
    graph = CheckedGraph(name, network, path)
    if isinstance(network, FasterRCNN | FCIS):
        return [check for item in recordings for check in graph.check_picture(item.name, item.canvas)]
    checks = []
    for item in recordings:
        boxes = item.outputs["persons.boxes"]
        patches = mode_patches(manifest, "box", item.canvas, boxes, None, item.letterbox)
        inputs = {"foreground": patches.foreground, "original": patches.original}
        checks += graph.check_patches(item.name, {key: inputs[key] for key in GRAPHS[name].inputs})
    return checks


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round all weights to float16 values, kept as float32: what a bundle that stores halves will hold."""
    for parameter in network.parameters():
        parameter.copy_(parameter.half().float())


def _examples(name: str, preset: Preset) -> dict[str, Tensor]:
    if name in ("detector", "masknet"):
        return {"image": torch.zeros(*preset.canvas, 3, dtype=torch.uint8)}
    # One tensor each, or tracing would take two inputs for one; and not one row, which it would take for a constant.
    return {key: torch.zeros(2, 3, *preset.patch) for key in GRAPHS[name].inputs}


def _bare_manifest(job: Export) -> Manifest:
    preset = job.preset
    untrained = [name for name in MODELS if name not in job.checkpoints]
    training = Training(
        trained=not untrained,
        seed=job.seed if untrained else None,
        checkpoints={name: file_sha256(path) for name, path in job.checkpoints.items() if path.is_file()},
        note=f"seeded initial weights in {', '.join(untrained)}" if untrained else "",
    )
    return Manifest(
        format=1,
        preset=preset.name,
        canvas=preset.canvas,
        pad=preset.pad,
        normalisation=preset.normalisation,
        patch=preset.patch,
        gamma=preset.gamma,
        embedding=preset.embedding,
        thresholds=preset.thresholds,
        models={},
        training=training,
        versions={
            "mgts-trt": __version__,
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
        },
    )


def _refuse_to_overwrite(job: Export) -> None:
    if job.out.exists() and not job.out.is_dir():
        raise BundleError(f"{job.out} is a file; name a folder with --out.")
    if (job.out / MANIFEST).exists() and not job.force:
        raise BundleError(f"There is a bundle in {job.out} already. Replace it with --force, or name another --out.")


def _move(staging: Path, out: Path) -> None:
    """Put the new files in place of the old ones: the old manifest goes first, the new one comes last."""
    out.mkdir(exist_ok=True)
    out.chmod(0o755)
    (out / MANIFEST).unlink(missing_ok=True)
    for old in (*out.glob("*.onnx"), *(out / "golden").glob("*")):
        old.unlink()
    files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: file.name == MANIFEST):
        (out / file).parent.mkdir(exist_ok=True)
        os.replace(staging / file, out / file)
