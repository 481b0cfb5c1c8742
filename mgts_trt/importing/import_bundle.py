"""Files of other projects made into a bundle: recognised, shown, then written with goldens of the files themselves."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import model_file
from mgts_trt.bundle.manifest import (
    BundleFile,
    Golden,
    Manifest,
    Model,
    Provenance,
    Thresholds,
    Training,
    write_manifest,
)
from mgts_trt.bundle.publish import copy_kept, move_into_place, refuse_to_overwrite, staging_folder
from mgts_trt.bundle.recipe import MODELS, load_recipe
from mgts_trt.errors import BundleError, OnnxError, RecipeError
from mgts_trt.evaluation.golden import PERSONS, write_golden
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.recognised import Row
from mgts_trt.importing.golden_pictures import golden_recordings, kept_recordings, people_or_places
from mgts_trt.importing.original import read_original
from mgts_trt.importing.part import Part, detector_part, joint_part, reid_part
from mgts_trt.importing.reid_options import ReidOptions
from mgts_trt.machine.installation import versions_of
from mgts_trt.precisions.onnx_file import save_checked, tensor_specs
from mgts_trt.precisions.recording import Recording, record_people

_PACKAGES = ("onnx", "onnxruntime", "numpy", "opencv-python-headless")
_THRESHOLD = 0.5
"""Least score of a person where nobody says: what most detectors are shown at."""


@dataclass
class Import:
    """What to import.

    Attributes:
        out: Folder to write the bundle to.
        reid: File of a re-ID network.
        detector: File of a detector.
        joint: File of a network that finds and describes people at once; it stands alone.
        into: A bundle whose other models are kept.
        reid_options: How the re-ID network's author prepares crops.
        detector_options: What is known of the detector, or of the joint network.
        pictures: Goldens are made of; those of the bundle that is meant where none is named, or made up, if empty.
        threshold: Least score of a person.
        licence: Terms of the files, kept in the manifest.
        force: Replace a bundle that is there.
        on_step: Called with a word for each thing that is done.
    """

    out: Path
    reid: Path | None = None
    detector: Path | None = None
    joint: Path | None = None
    into: Bundle | None = None
    reid_options: ReidOptions = field(default_factory=ReidOptions)
    detector_options: DetectorOptions = field(default_factory=DetectorOptions)
    pictures: list[Path] = field(default_factory=list)
    threshold: float | None = None
    licence: str | None = None
    force: bool = False
    on_step: Callable[[str], None] = lambda step: None


@dataclass(frozen=True)
class Prepared:
    """What will be written.

    Attributes:
        parts: The files, by the bundle's model.
        kept: Names of the models that are kept of another bundle.
        dropped: Names of those that are not.
        manifest: Of the bundle, without its models and goldens.
    """

    parts: dict[str, Part]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    manifest: Manifest

    @property
    def notes(self) -> list[str]:
        """What whoever imports it should know."""
        return [note for part in self.parts.values() for note in part.notes]

    def rows(self) -> list[Row]:
        """What the bundle will be, a line each."""
        manifest, models = self.manifest, [name for name in MODELS if name in (*self.parts, *self.kept)]
        height, width = manifest.canvas
        held = [name for name in models if name in self.kept]
        rows = [
            Row("models", ", ".join(models), f"kept: {', '.join(held)}" if held else "imported"),
            Row("canvas", f"{height} × {width}", ""),
            *([] if models == ["joint"] else [Row("patch", f"{manifest.patch[0]} × {manifest.patch[1]}", "")]),
            Row("embedding", f"{manifest.embedding} numbers", ""),
            Row("a person from", f"score {manifest.thresholds.detection:g}", ""),
        ]
        if self.dropped:
            rows.insert(1, Row("dropped", ", ".join(self.dropped), "they do not fit the re-ID network"))
        return rows


def prepare(job: Import) -> Prepared:
    """Read and recognise the files, and make the bundle's models of them; nothing is written.

    Raises:
        OnnxError: A file cannot be imported; the message says what to do.
        BundleError: There is a bundle in `out` already, and `force` is not set; or too little is named for a bundle.
    """
    if job.joint is not None:
        return _prepare_joint(job, job.joint)
    if job.reid is None and job.detector is None:
        raise BundleError("Nothing to import. Name a file with --reid, --detector, or both, or with --joint.")
    refuse_to_overwrite(job.out, force=job.force)
    if job.into is None and (job.reid is None or job.detector is None):
        missing = "--detector" if job.detector is None else "--reid"
        raise BundleError(
            f"A bundle has a detector and a re-ID network. Name the other file with {missing}, or a bundle that has "
            "one with --into."
        )
    if job.into is not None and job.reid is not None and job.detector is not None:
        raise BundleError(f"Nothing of {job.into.root} would be kept. Leave --into out, or name one file.")
    parts = {}
    if job.detector is not None:
        job.on_step(f"reading {job.detector.name}")
        parts["detector"] = detector_part(read_original(job.detector), _on_the_canvas(job))
    if job.reid is not None:
        job.on_step(f"reading {job.reid.name}")
        parts["idnet"] = reid_part(read_original(job.reid), job.reid_options)
    held = () if job.into is None else tuple(job.into.manifest.models)
    # Another re-ID network takes patches of another size and normalisation, and the manifest has one of each.
    kept = tuple(name for name in held if name not in parts and ("idnet" not in parts or name == "detector"))
    dropped = tuple(name for name in held if name not in kept and name not in parts)
    return Prepared(parts, kept, dropped, _manifest(job, parts, kept))


def _prepare_joint(job: Import, file: Path) -> Prepared:
    if job.reid is not None or job.detector is not None or job.into is not None:
        raise BundleError(
            "A joint network finds and describes people by itself. Leave --reid, --detector and --into out beside "
            "--joint, or import the files into a bundle each."
        )
    refuse_to_overwrite(job.out, force=job.force)
    job.on_step(f"reading {file.name}")
    parts = {"joint": joint_part(read_original(file), job.detector_options)}
    return Prepared(parts, (), (), _manifest(job, parts, ()))


def write(job: Import, prepared: Prepared) -> Bundle:
    """Write the bundle, with goldens of the files themselves.

    All is made in a temporary folder beside `out` and moved there at the end, the manifest last: a failure, or a
    kill, leaves what was there before, or a folder without a manifest, which nothing takes for a bundle.

    Raises:
        BundleError: There is a bundle in `out` already, and `force` is not set.
        ImageError: A golden picture cannot be read.
        OnnxError: A model made here does not keep the contract.
    """
    refuse_to_overwrite(job.out, force=job.force)
    manifest = prepared.manifest
    job.on_step("running the files on pictures")
    recordings = golden_recordings(job.pictures, manifest) if job.into is None else kept_recordings(job.into)
    for recording in recordings:
        for name in MODELS:
            if name in prepared.parts:
                prepared.parts[name].record(recording)
            if name in ("detector", "joint") and name in prepared.parts and job.into is None:
                record_people(recording, name)  # with `into` the people are those of the bundle's goldens
                people_or_places(recording)
    job.on_step("writing")
    with staging_folder(job.out) as staging:
        models = dict(manifest.models)
        for name, part in prepared.parts.items():
            models[name] = _write_model(job, part, staging, part.provenance(job.licence, recordings))
        goldens = tuple(_write_golden(each, staging, models) for each in recordings)
        update = {"models": {name: models[name] for name in MODELS if name in models}, "golden": goldens}
        new = Manifest.model_validate(manifest.model_copy(update=update).model_dump())
        if job.into is not None:
            copy_kept(new, job.into.root, staging)
        write_manifest(staging, new)
        move_into_place(staging, job.out)
    return Bundle.open(job.out)


def _on_the_canvas(job: Import) -> DetectorOptions:
    """The detector's options; beside kept models it sees their canvas."""
    options = job.detector_options
    if job.into is None:
        return options
    canvas = job.into.manifest.canvas
    if options.canvas not in (None, canvas):
        raise BundleError(
            f"The models of {job.into.root} have a canvas of {canvas[0]} × {canvas[1]}, and another was asked for. "
            "Leave --canvas out: the detector's size is reached inside its graph."
        )
    return replace(options, canvas=canvas, pad=options.pad or job.into.manifest.pad)


def _manifest(job: Import, parts: dict[str, Part], kept: tuple[str, ...]) -> Manifest:
    update: dict[str, Any] = {}
    for part in parts.values():
        update |= part.manifest
    versions = versions_of(_PACKAGES)
    note = "imported: " + ", ".join(part.original.path.name for part in parts.values())
    if job.into is None:
        return Manifest(
            preset="imported",
            thresholds=Thresholds(detection=_threshold(job, _THRESHOLD), instance=0.5, mask=0.5),
            models={},
            training=Training(trained=True, note=note),
            versions=versions,
            **update,
        )
    old = job.into.manifest
    training = old.training.model_copy(
        update={
            "checkpoints": {name: digest for name, digest in old.training.checkpoints.items() if name in kept},
            "note": "; ".join(filter(None, (old.training.note, note))),
        }
    )
    thresholds = old.thresholds.model_copy(update={"detection": _threshold(job, old.thresholds.detection)})
    update |= {
        "models": {name: old.models[name] for name in kept},
        "golden": (),
        "labelled": None,  # its reference is of the models that were there
        "training": training,
        "thresholds": thresholds,
        "versions": {**old.versions, **versions},
    }
    return old.model_copy(update=update)


def _threshold(job: Import, default: float) -> float:
    return default if job.threshold is None else job.threshold


def _write_model(job: Import, part: Part, root: Path, provenance: Provenance) -> Model:
    path = root / model_file(part.name, "fp32")
    save_checked(part.model, path)
    inputs, outputs = tensor_specs(path)
    recipe = load_recipe(part.name)
    try:
        recipe.bind(inputs, outputs)
    except RecipeError as error:
        raise OnnxError(f"{part.original.path} does not become a {part.name}: {error}") from error
    return Model(
        files={"fp32": BundleFile.of(root, path.name)},
        inputs=inputs,
        outputs=outputs,
        recipe_sha256=recipe.sha256,
        imported=provenance,
    )


def _write_golden(recording: Recording, root: Path, models: dict[str, Model]) -> Golden:
    held = {key: array for key, array in recording.outputs.items() if key == PERSONS or key.split(".")[0] in models}
    return write_golden(root, recording.name, recording.picture, held, recording.source)
