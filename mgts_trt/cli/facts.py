"""What is inside a bundle, a plan, or an ONNX file: facts gathered here, shown by `mgts_trt.cli.facts_text`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import PARITY
from mgts_trt.bundle.macs import Work
from mgts_trt.bundle.manifest import MANIFEST, Calibration, Converted, Manifest, Quantisation, Thresholds, Training
from mgts_trt.bundle.onnx_graph import import_onnx, read_graph
from mgts_trt.bundle.recipe import MODELS, load_recipe
from mgts_trt.bundle.records import ParityRecord, RangesRecord
from mgts_trt.errors import BackendError, BundleError, MgtsError, OnnxError, PlanError
from mgts_trt.evaluation.likeness import Likeness
from mgts_trt.machine.files import file_sha256, place_kind
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.plan import RECORD, PlanIdentity, PlanRecord, plan_folders, verify_plan
from mgts_trt.plans.support import runs_on, target_text, title
from mgts_trt.runtime.modes import held_modes


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class OnnxFacts(_Facts):
    """What `mgts_trt.bundle.onnx_graph.OnnxGraph` says of a file; `layers` are only those asked for."""

    kind: Literal["onnx"] = "onnx"
    file: str
    bytes: int
    opset: dict[str, int]
    inputs: dict[str, str]
    outputs: dict[str, str]
    sizes: dict[str, int]
    parameters: int
    weights: dict[str, int]
    operators: dict[str, int]
    macs: dict[str, int]
    layers: list[Work]
    uncounted: list[str]


class PlanFacts(_Facts):
    """A plan's sidecar, and the layers TensorRT made of each of its engines, by file, where it can be loaded."""

    kind: Literal["plan"] = "plan"
    folder: str
    record: PlanRecord
    layers: dict[str, list[str]] | None = None
    no_layers: str = ""


class FileFacts(_Facts):
    """One model of a bundle in one precision.

    Attributes:
        file: Its name in the bundle.
        bytes: Its size.
        sha256: Its digest.
        graph: What it computes; None where the package onnx is missing.
        kept_float32: Nodes left in float32 because their values would overflow.
        converted: How it was made from the FP32 file, where it was.
    """

    file: str
    bytes: int
    sha256: str
    graph: OnnxFacts | None
    kept_float32: list[str] = []
    converted: Converted | None = None


class RangeFacts(_Facts):
    """How great the values of a model's layers get on real pictures.

    Attributes:
        pictures: Their names.
        tensors: Number of tensors measured.
        largest: Greatest magnitude.
        node: Where it is.
        overflow: Greatest share of a tensor's values that half cannot hold, 0…1.
        problem: Why there are no numbers.
    """

    pictures: list[str] = []
    tensors: int = 0
    largest: float = 0.0
    node: str = ""
    overflow: float = 0.0
    problem: str = ""


class PlanEntry(_Facts):
    """A plan found in a bundle: its identity, or why it cannot be used."""

    folder: str
    identity: PlanIdentity | None
    bytes: int = 0
    macs: dict[str, int] = {}
    problem: str = ""


class ParityFacts(_Facts):
    """What `mgts-trt parity --record` has left in a bundle.

    Attributes:
        file: Its name.
        device: What it was measured on.
        ok: Whether everything was within tolerance.
        compared: Numbers compared.
        labelled: People of the labelled set the task was measured on, 0 without one.
        current: Whether it is of the bundle as it is now.
        problem: Why there are no numbers.
    """

    file: str
    device: str = ""
    ok: bool = False
    compared: int = 0
    labelled: int = 0
    current: bool = False
    problem: str = ""


class BundleFacts(_Facts):
    """What a bundle holds."""

    kind: Literal["bundle"] = "bundle"
    root: str
    preset: str
    canvas: tuple[int, int]
    patch: tuple[int, int]
    embedding: int
    gamma: float
    thresholds: Thresholds
    training: Training
    versions: dict[str, str]
    models: dict[str, dict[str, FileFacts]]
    no_graphs: str
    goldens: dict[str, str]
    ranges: dict[str, RangeFacts]
    quantisation: dict[str, Quantisation]
    calibration: Calibration | None
    likeness: dict[str, float]
    """Mode → the least false-match rate its calibration tells."""
    parity: list[ParityFacts]
    plans: list[PlanEntry]


Facts = OnnxFacts | PlanFacts | BundleFacts


def inspect(path: Path, layers: int = 0) -> Facts:
    """Find out what `path` is and gather what is inside.

    Args:
        path: A bundle's folder or manifest; a plan, its folder or its sidecar; or an ONNX file.
        layers: List so many of the layers with the most work.

    Raises:
        MgtsError: It is none of these, or it is altered.
    """
    place = place_kind(path)
    if path.suffix == ".onnx" and place == "file":
        return inspect_onnx(path, layers)
    folder = path if place == "folder" else path.parent
    if path.name == MANIFEST or (place == "folder" and place_kind(path / MANIFEST)):
        return inspect_bundle(folder, layers)
    if path.name == RECORD or path.suffix == ".plan" or (place == "folder" and place_kind(path / RECORD)):
        return inspect_plan(folder)
    what = "is not there" if place is None else "is none of these"
    raise MgtsError(
        f"Cannot inspect {path}: it {what}. Name a bundle (a folder with {MANIFEST}), a plan (a folder with {RECORD}, "
        "in the bundle's plans/), or an .onnx file."
    )


def inspect_onnx(path: Path, layers: int = 0) -> OnnxFacts:
    """Read an ONNX file; a dynamic dimension is counted at its recipe's `opt`.

    Raises:
        OnnxError: The package onnx is missing, or the file cannot be read.
    """
    profiles = [load_recipe(model).profile for model in MODELS]
    graph = read_graph(path, {symbol: profile.opt for each in profiles for symbol, profile in each.items()})
    return OnnxFacts(
        file=str(path),
        bytes=path.stat().st_size,
        opset=graph.opset,
        inputs=graph.inputs,
        outputs=graph.outputs,
        sizes=graph.sizes,
        parameters=graph.parameters,
        weights=graph.weights,
        operators=graph.operators,
        macs=graph.workload.by_precision,
        layers=graph.workload.largest(layers),
        uncounted=list(graph.uncounted),
    )


def inspect_plan(folder: Path) -> PlanFacts:
    """Check a plan and read its sidecar; its layers where this machine can load it.

    Raises:
        PlanError: The plan or its sidecar is missing or altered.
    """
    record = verify_plan(folder)
    flavour = find_flavour(record.identity.flavour)
    why = _why_not_loaded(record.identity, flavour)
    layers: dict[str, list[str]] | None = None
    if flavour is not None and not why:
        try:
            layers = {step.file: flavour.layers(folder / step.file) for step in record.chain.engines}
        except BackendError as error:
            why = str(error)
    return PlanFacts(folder=str(folder), record=record, layers=layers, no_layers=why)


def inspect_bundle(root: Path, layers: int = 0) -> BundleFacts:
    """Check a bundle and read what it holds; a plan that cannot be used is listed with the reason.

    Raises:
        BundleError: See `Bundle.open`.
        OnnxError: A model cannot be read, though it is the one the manifest names.
    """
    bundle = Bundle.open(root)
    manifest, no_graphs = bundle.manifest, _why_no_graphs()
    return BundleFacts(
        root=str(root),
        preset=manifest.preset,
        canvas=manifest.canvas,
        patch=manifest.patch,
        embedding=manifest.embedding,
        gamma=manifest.gamma,
        thresholds=manifest.thresholds,
        training=manifest.training,
        versions=manifest.versions,
        models=_models(root, manifest, layers, graphs=not no_graphs),
        no_graphs=no_graphs,
        goldens={golden.name: golden.source for golden in manifest.golden},
        ranges=_ranges(root, manifest),
        quantisation={name: model.quantisation for name, model in manifest.models.items() if model.quantisation},
        calibration=manifest.calibration,
        likeness={mode: known.least for mode in held_modes(manifest) if (known := Likeness.of(bundle, mode))},
        parity=[_read_parity(root, path) for path in sorted((root / PARITY).glob("*.json"))],
        plans=[_plan_entry(folder) for folder in plan_folders(bundle)],
    )


def _models(root: Path, manifest: Manifest, layers: int, *, graphs: bool) -> dict[str, dict[str, FileFacts]]:
    return {
        name: {
            precision: FileFacts(
                file=file.file,
                bytes=file.bytes,
                sha256=file.sha256,
                graph=inspect_onnx(root / file.file, layers) if graphs else None,
                kept_float32=list(model.kept_float32.get(precision, ())),
                converted=model.converted.get(precision),
            )
            for precision, file in model.files.items()
        }
        for name, model in manifest.models.items()
    }


def _why_no_graphs() -> str:
    try:
        import_onnx()
    except OnnxError as error:
        return str(error)
    return ""


def _plan_entry(folder: Path) -> PlanEntry:
    try:
        record = verify_plan(folder)
    except PlanError as error:
        return PlanEntry(folder=folder.name, identity=None, problem=str(error))
    return PlanEntry(folder=folder.name, identity=record.identity, bytes=record.plan_bytes, macs=record.macs)


def _ranges(root: Path, manifest: Manifest) -> dict[str, RangeFacts]:
    """The ranges the export has measured, of the models that have them."""
    return {name: _read_ranges(root / model.ranges.file) for name, model in manifest.models.items() if model.ranges}


def _read_ranges(path: Path) -> RangeFacts:
    try:
        record = RangesRecord.read(path)
    except BundleError as error:
        return RangeFacts(problem=str(error))
    worst = max(record.ranges, key=lambda row: row.largest)
    return RangeFacts(
        pictures=list(record.pictures),
        tensors=len(record.ranges),
        largest=worst.largest,
        node=worst.node,
        overflow=max(row.overflow for row in record.ranges),
    )


def _read_parity(root: Path, path: Path) -> ParityFacts:
    file = str(path.relative_to(root))
    try:
        record = ParityRecord.read(path)
    except BundleError as error:
        return ParityFacts(file=file, problem=str(error))
    task = record.task
    return ParityFacts(
        file=file,
        device=f"{record.backend}, {record.device}",
        ok=record.ok,
        compared=len(record.comparisons) + (len(task.comparisons) if task else 0),
        labelled=task.people if task else 0,
        current=record.manifest_sha256 == file_sha256(root / MANIFEST),
    )


def _why_not_loaded(identity: PlanIdentity, flavour: Flavour | None) -> str:
    """In a sentence, the first reason why this machine cannot load the plan; empty if it can."""
    built = f"{title(identity.flavour)} {identity.flavour_version}"
    if flavour is None or flavour.name != identity.flavour or flavour.version != identity.flavour_version:
        return f"Its layers are shown where {built} is installed; here is {flavour or 'no TensorRT'}."
    gpus = find_gpus()
    if not gpus:
        return "Its layers are shown on a machine with an NVIDIA GPU: TensorRT loads no plan without one."
    if not runs_on(identity.target, gpus[0].sm):
        return f"Its layers are shown on a GPU it was built for: {target_text(identity.target)}; here is {gpus[0].sm}."
    return ""
