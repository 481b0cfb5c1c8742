"""From presets and checkpoints to a bundle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.graphs.check import Check, CheckedGraph, require
from export.graphs.networks import GRAPHS, fold_batch_norm
from export.graphs.trace import export_onnx
from export.onnx_file import store_weights_in_half
from export.references.goldens import record
from export.references.labelled import add_labelled
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import LABELLED, model_file
from mgts_trt.bundle.manifest import BundleFile, Manifest, Model, Training, write_manifest
from mgts_trt.bundle.publish import move_into_place, refuse_to_overwrite, staging_folder
from mgts_trt.bundle.recipe import MODELS, PICTURES, load_recipe
from mgts_trt.evaluation.golden import write_golden
from mgts_trt.evaluation.labelled import LabelledSet
from mgts_trt.machine.files import file_sha256
from mgts_trt.machine.installation import versions_of
from mgts_trt.precisions.calibration_set import check_people, read_calibration, require_calibration
from mgts_trt.precisions.lower_precision import STEPS as LOWERING
from mgts_trt.precisions.lower_precision import lower, require_precisions
from mgts_trt.precisions.onnx_file import tensor_specs
from mgts_trt.precisions.recording import Recording, model_inputs, start_recording
from training.checkpoint import load_checkpoint
from training.models import FCIS, MGTS, FasterRCNN, IDNet, OIMNet, create
from training.preset import Preset

STEPS = ("create", "trace", "check", "record", *LOWERING)
"""What is done with each model; `on_step` is called before each."""

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
        precisions: Of `mgts_trt.precisions.lower_precision.PRECISIONS`.
        calibration: Further pictures to measure ranges on, and those INT8 is calibrated on; they do not come into the
            bundle.
        labelled: A labelled set to put into the bundle, with what the networks give for it.
        force: Replace a bundle that is there.
        on_step: Called with (model, one of `STEPS`); with ("labelled", "record") before that set is run.
        on_picture: Called with (model, pictures done, pictures in all) while INT8 is calibrated.
        on_note: Called with a sentence for each thing the user should know.
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
    on_picture: Callable[[str, int, int], None] = lambda model, done, total: None
    on_note: Callable[[str], None] = lambda note: None


def exported_models(preset: Preset, checkpoints: Mapping[str, Path]) -> tuple[str, ...]:
    """The models of a bundle, in the order of `MODELS`.

    The joint network stands beside the others: where those have trained weights and it has none, it is left out.
    """
    joint = preset.joint is not None and ("joint" in checkpoints or not checkpoints)
    return tuple(name for name in MODELS if name != "joint" or joint)


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
    refuse_to_overwrite(job.out, force=job.force)
    require_precisions(job.precisions)
    recordings = [start_recording(path, job.preset) for path in job.pictures]
    if not recordings:
        raise ExportError("At least one golden picture is needed; name one with --golden PHOTO.")
    if len({recording.name for recording in recordings}) < len(recordings):
        raise ExportError("Two golden pictures bear the same name; rename one.")
    calibration, calibrated_on = read_calibration(job.calibration, job.preset, job.on_note)
    if "int8" in job.precisions:
        require_calibration(calibration, job.on_note)
    labelled = LabelledSet.open(job.labelled) if job.labelled else None
    with staging_folder(job.out) as staging:
        checks: list[Check] = []
        manifest = _bare_manifest(job)
        models, networks = {}, {}
        for name in exported_models(job.preset, job.checkpoints):
            network = _create(job, name)
            models[name] = _export_model(job, name, network, staging, recordings, calibration, manifest, checks)
            if labelled:
                networks[name] = network
        goldens = tuple(
            write_golden(staging, each.name, each.picture, each.outputs, each.source) for each in recordings
        )
        update = {
            "models": models,
            "golden": goldens,
            "calibration": calibrated_on if "int8" in job.precisions else None,
        }
        manifest = manifest.model_copy(update=update)
        if labelled:
            job.on_step(LABELLED, "record")
            entry = add_labelled(staging, manifest, labelled, networks)
            manifest = manifest.model_copy(update={"labelled": entry})
        write_manifest(staging, Manifest.model_validate(manifest.model_dump()))
        move_into_place(staging, job.out)
    return Bundle.open(job.out), checks


def _create(job: Export, name: str) -> FasterRCNN | FCIS | MGTS | IDNet | OIMNet:
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
    network: FasterRCNN | FCIS | MGTS | IDNet | OIMNet,
    root: Path,
    recordings: list[Recording],
    calibration: list[Recording],
    manifest: Manifest,
    checks: list[Check],
) -> Model:
    job.on_step(name, "trace")
    path = root / model_file(name, "fp32")
    graph = GRAPHS[name](network).eval()
    export_onnx(graph, example_inputs(name, job.preset), path, dynamic="N" if name in ("mgts", "idnet") else PICTURES)
    del graph
    if job.preset.weights == "float16":
        store_weights_in_half(path)

    job.on_step(name, "check")

    def check(precision: str) -> None:
        graph = CheckedGraph(name, network, root / model_file(name, precision), precision)
        checks.extend(_check(graph, recordings, manifest))
        require(checks)

    check("fp32")

    job.on_step(name, "record")
    # Calibration pictures need boxes to cut patches from, and no other goldens.
    for recording in recordings + (calibration if name == "detector" else []):
        record(recording, name, network, manifest)
    if name == "detector" and calibration and not _untrained(job):
        check_people(calibration, manifest.thresholds.detection, job.on_note)
    inputs, outputs = tensor_specs(path)
    recipe = load_recipe(name)
    recipe.bind(inputs, outputs)
    files = {"fp32": BundleFile.of(root, path.name)}
    model = Model(files=files, inputs=inputs, outputs=outputs, recipe_sha256=recipe.sha256)
    return lower(
        name,
        root,
        model,
        manifest,
        job.precisions,
        recordings,
        calibration,
        on_step=job.on_step,
        on_picture=job.on_picture,
        check=check,
    )


def _check(graph: CheckedGraph, recordings: list[Recording], manifest: Manifest) -> list[Check]:
    checks, specs = [], load_recipe(graph.name).inputs
    for item in recordings:
        if "image" in specs:
            checks += graph.check_picture(item.name, item.canvas)
        else:
            checks += graph.check_patches(item.name, model_inputs(item, manifest, specs))
    return checks


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round all weights to float16 values, kept as float32: what a bundle that stores halves will hold."""
    for parameter in network.parameters():
        parameter.copy_(parameter.half().float())


def example_inputs(name: str, preset: Preset) -> dict[str, Tensor]:
    """What a graph is traced on: its inputs by name, for two pictures or two people."""
    # Not one picture and not one row, which tracing would take for a constant.
    inputs = GRAPHS[name].inputs
    if "image" in inputs:
        examples = {"image": torch.zeros(2, *preset.canvas, 3, dtype=torch.uint8)}
        if "rois" in inputs and preset.joint:
            examples["rois"] = torch.zeros(2, preset.joint.probes, 4)
        return examples
    # One tensor each, or it would take two inputs for one.
    return {key: torch.zeros(2, 3, *preset.patch) for key in inputs}


def _untrained(job: Export) -> list[str]:
    return [name for name in exported_models(job.preset, job.checkpoints) if name not in job.checkpoints]


def _bare_manifest(job: Export) -> Manifest:
    preset = job.preset
    untrained = _untrained(job)
    training = Training(
        trained=not untrained,
        seed=job.seed if untrained else None,
        checkpoints={name: file_sha256(path) for name, path in job.checkpoints.items() if path.is_file()},
        note=f"seeded initial weights in {', '.join(untrained)}" if untrained else "",
    )
    return Manifest(
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
        versions=versions_of(_PACKAGES),
    )
