"""From presets and checkpoints to a bundle."""

import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from export.check import Check, CheckedGraph, require, require_runs
from export.goldens import Recording, record, start_recording, write_golden
from export.graphs.networks import GRAPHS, fold_batch_norm
from export.labelled import FOLDER, add_labelled
from export.onnx_file import ExportError, export_onnx, save_checked, store_weights_in_half, tensor_specs
from export.precision import half_nodes, to_half
from export.ranges import largest, measure_ranges, write_ranges
from mgts_trt import __version__
from mgts_trt._typing import Array
from mgts_trt.bundle import MANIFEST, Bundle, BundleFile, Manifest, Model, Training, file_sha256, write_manifest
from mgts_trt.errors import BundleError
from mgts_trt.labelled import LabelledSet
from mgts_trt.modes import mode_patches
from mgts_trt.recipe import MODELS, load_recipe
from training.checkpoint import load_checkpoint
from training.models import FCIS, MGTS, FasterRCNN, IDNet, create
from training.preset import Preset

PRECISIONS = ("fp32", "fp16")
"""In the order in which they are made, each from the one before."""

STEPS = ("create", "trace", "check", "record", "measure", "convert")
"""What is done with each model; `on_step` is called before each. The last two are for precisions below FP32."""

_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "opencv-python-headless")


@dataclass
class Export:
    """What to export.

    Attributes:
        preset: The system's sizes.
        out: Folder to write the bundle to.
        pictures: Golden pictures; they also check the graphs, and ranges are measured on them.
        checkpoints: Model → `.safetensors` file; a model without one gets seeded initial weights.
        seed: Of those.
        precisions: Of `PRECISIONS`.
        calibration: Further pictures to measure ranges on; they do not come into the bundle.
        labelled: A labelled set to put into the bundle, with what the networks give for it.
        force: Replace a bundle that is there.
        on_step: Called with (model, one of `STEPS`); with ("labelled", "record") before that set is run.
    """

    preset: Preset
    out: Path
    pictures: list[Path]
    checkpoints: dict[str, Path] = field(default_factory=dict)
    seed: int = 0
    precisions: tuple[str, ...] = ("fp32",)
    calibration: list[Path] = field(default_factory=list)
    labelled: Path | None = None
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
        ImageError: A picture cannot be read.
        LabelError: The labelled set is missing or malformed.
    """
    _refuse_to_overwrite(job)
    unknown = [precision for precision in job.precisions if precision not in PRECISIONS]
    if unknown or not job.precisions:
        raise ExportError(
            f"There is no precision {', '.join(unknown) or 'named'}; this version exports {', '.join(PRECISIONS)}."
        )
    recordings = [start_recording(path, job.preset) for path in job.pictures]
    if not recordings:
        raise ExportError("At least one golden picture is needed; name one with --golden PHOTO.")
    if len({recording.name for recording in recordings}) < len(recordings):
        raise ExportError("Two golden pictures bear the same name; rename one.")
    calibration = [start_recording(path, job.preset) for path in job.calibration]
    labelled = LabelledSet.open(job.labelled) if job.labelled else None
    job.out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{job.out.name}.exporting-", dir=job.out.parent))
    try:
        checks: list[Check] = []
        manifest = _bare_manifest(job)
        models, networks = {}, {}
        for name in MODELS:
            network = _create(job, name)
            models[name] = _export_model(job, name, network, staging, recordings, calibration, manifest, checks)
            if labelled:
                networks[name] = network
        goldens = tuple(write_golden(recording, staging) for recording in recordings)
        manifest = manifest.model_copy(update={"models": models, "golden": goldens})
        if labelled:
            job.on_step(FOLDER, "record")
            entry = add_labelled(staging, manifest, labelled, networks)
            manifest = manifest.model_copy(update={"labelled": entry})
        write_manifest(staging, Manifest.model_validate(manifest.model_dump()))
        _move(staging, job.out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Bundle.open(job.out), checks


def _create(job: Export, name: str) -> FasterRCNN | FCIS | MGTS | IDNet:
    """The network whose outputs the bundle's files must have."""
    job.on_step(name, "create")
    network = create(name, job.preset, seed=job.seed)
    if name in job.checkpoints:
        load_checkpoint(job.checkpoints[name], network, model=name, preset=job.preset.name)
    network.eval()
    if job.preset.weights == "float16":
        # Folded first: the products are what the file stores. From here on the rounded network *is* the network.
        network = fold_batch_norm(network)
        round_weights(network)
    return network


def _export_model(
    job: Export,
    name: str,
    network: FasterRCNN | FCIS | MGTS | IDNet,
    root: Path,
    recordings: list[Recording],
    calibration: list[Recording],
    manifest: Manifest,
    checks: list[Check],
) -> Model:
    job.on_step(name, "trace")
    files = {precision: f"{name}.{precision}.onnx" for precision in PRECISIONS}
    path = root / files["fp32"]
    graph = GRAPHS[name](network).eval()
    export_onnx(graph, _examples(name, job.preset), path, dynamic="N" if name in ("mgts", "idnet") else None)
    del graph
    if job.preset.weights == "float16":
        store_weights_in_half(path)

    job.on_step(name, "check")
    checks += _check(CheckedGraph(name, network, path), recordings, manifest)
    require(checks)

    job.on_step(name, "record")
    # Calibration pictures need boxes to cut patches from, and no other goldens.
    for recording in recordings + (calibration if name == "detector" else []):
        record(recording, name, network, manifest)
    inputs, outputs = tensor_specs(path)
    recipe = load_recipe(name)
    recipe.bind(inputs, outputs)
    model = Model(
        files={"fp32": BundleFile.of(root, files["fp32"])}, inputs=inputs, outputs=outputs, recipe_sha256=recipe.sha256
    )
    if "fp16" in job.precisions:
        job.on_step(name, "measure")
        pictures = recordings + calibration
        samples = [_inputs(name, item, manifest) for item in pictures]
        ranges = measure_ranges(onnx.load(path), samples)
        file = f"ranges/{name}.json"
        write_ranges(root / file, ranges, [item.name for item in pictures])

        job.on_step(name, "convert")
        kept = _write_half(path, root / files["fp16"], largest(ranges))
        recipe.bind(*tensor_specs(root / files["fp16"]))
        checks += _check(CheckedGraph(name, network, root / files["fp16"], "fp16"), recordings, manifest)
        require(checks)
        require_runs(root / files["fp16"], samples[0])
        model = model.model_copy(
            update={
                "files": {**model.files, "fp16": BundleFile.of(root, files["fp16"])},
                "ranges": BundleFile.of(root, file),
                "kept_float32": {"fp16": kept} if kept else {},
            }
        )
    for precision in model.files.keys() - set(job.precisions):
        (root / files[precision]).unlink()
    wanted = {precision: file for precision, file in model.files.items() if precision in job.precisions}
    return model.model_copy(update={"files": wanted})


def _write_half(source: Path, target: Path, peaks: dict[str, float]) -> tuple[str, ...]:
    """Write the FP16 form of an FP32 file; return the nodes kept in float32 because their values would overflow."""
    model = onnx.load(source)
    nodes, kept = half_nodes(model, peaks)
    save_checked(to_half(model, nodes, peaks), target)
    return kept


def _check(graph: CheckedGraph, recordings: list[Recording], manifest: Manifest) -> list[Check]:
    checks = []
    for item in recordings:
        inputs = _inputs(graph.name, item, manifest)
        if "image" in inputs:
            checks += graph.check_picture(item.name, inputs["image"])
        else:
            checks += graph.check_patches(item.name, inputs)
    return checks


def _inputs(name: str, recording: Recording, manifest: Manifest) -> dict[str, Array]:
    """What a model is given for a picture whose boxes, for a re-ID network, have been recorded."""
    if GRAPHS[name].inputs == ("image",):
        return {"image": recording.canvas}
    boxes = recording.outputs["persons.boxes"]
    patches = mode_patches(manifest, "box", recording.canvas, boxes, None, recording.letterbox)
    inputs = {"foreground": patches.foreground, "original": patches.original}
    return {key: inputs[key] for key in GRAPHS[name].inputs}


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
    for old in (*out.glob("*.onnx"), *out.glob("golden/*"), *out.glob("ranges/*")):
        old.unlink()
    for folder in (FOLDER, "parity"):  # what was measured of the old bundle is not true of the new one
        shutil.rmtree(out / folder, ignore_errors=True)
    files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: file.name == MANIFEST):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / file, out / file)
