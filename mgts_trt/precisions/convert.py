"""A bundle's FP32 models in other precisions, for who has a bundle, and no checkpoints or PyTorch."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import SIGNATURE, model_file
from mgts_trt.bundle.manifest import Calibration, Manifest, Model, write_manifest
from mgts_trt.bundle.publish import copy_kept, move_into_place, refuse_to_overwrite, replace_models, staging_folder
from mgts_trt.bundle.recipe import MODELS, load_recipe
from mgts_trt.errors import PrecisionError
from mgts_trt.precisions.alone import alone
from mgts_trt.precisions.calibration_set import OnNote, check_people, read_calibration, require_calibration
from mgts_trt.precisions.lower_precision import lower, require_precisions
from mgts_trt.precisions.provenance import provenance
from mgts_trt.precisions.recording import Recording, record_people, start_recording
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from mgts_trt.runtime.session.pictures import run_picture


@dataclass
class Conversion:
    """What to convert.

    Attributes:
        bundle: With FP32 files.
        out: Folder to write the new bundle to; may be the old one's.
        precisions: Of `PRECISIONS`.
        calibration: Pictures to calibrate INT8 on; ranges are measured on them and on the bundle's goldens.
        force: Replace a bundle that is there.
        on_step: Called with (model, `measure`, `convert`, `calibrate` or `quantise`) before each.
        on_picture: Called with (model, pictures done, pictures in all) while INT8 is calibrated.
        on_note: Called with a sentence for each thing the user should know.
    """

    bundle: Bundle
    out: Path
    precisions: tuple[str, ...]
    calibration: list[Path] = field(default_factory=list)
    force: bool = False
    on_step: Callable[[str, str], None] = lambda model, step: None
    on_picture: Callable[[str, int, int], None] = lambda model, done, total: None
    on_note: Callable[[str], None] = lambda note: None


def convert_bundle(job: Conversion) -> Bundle:
    """Write a bundle with the same networks and goldens in the precisions asked for.

    Raises:
        PrecisionError: There is no such precision, or it cannot be made.
        BundleError: The bundle has no FP32 files; or there is one in `out`, and `force` is not set.
        ImageError: A golden picture cannot be read.
    """
    refuse_to_overwrite(job.out, force=job.force)
    require_precisions(job.precisions)
    if job.out.resolve() != job.bundle.root.resolve():
        _convert_into(job, in_place=False)
    else:
        with alone(job.bundle, job.on_note):
            _convert_into(replace(job, bundle=Bundle.open(job.bundle.root)), in_place=True)
    return Bundle.open(job.out)


def _convert_into(job: Conversion, *, in_place: bool) -> None:
    old, manifest = job.bundle, job.bundle.manifest
    calibration, calibrated_on = read_calibration(job.calibration, manifest, job.on_note)
    if "int8" in job.precisions:
        require_calibration(calibration, job.on_note)
    else:
        calibrated_on = None
    goldens = recorded_goldens(old, calibration, job.on_note)
    with staging_folder(job.out) as staging:
        models = {}
        for name in MODELS:
            if name in manifest.models:
                models[name] = _convert(job, name, staging, goldens, calibration, calibrated_on)
        update = {"models": models, "calibration": calibrated_on}
        new = Manifest.model_validate(manifest.model_copy(update=update).model_dump())
        copy_kept(new, old.root, staging)  # goldens and labelled sets stay as they are
        if in_place:
            replace_models(staging, old.root, manifest, new)
            if (old.root / SIGNATURE).exists():
                (old.root / SIGNATURE).unlink()
                job.on_note(f"{old.root} was signed. It is another bundle now, without a signature: sign it again.")
        else:
            write_manifest(staging, new)
            move_into_place(staging, job.out)


def recorded_goldens(bundle: Bundle, calibration: list[Recording], on_note: OnNote) -> list[Recording]:
    """A bundle's goldens as they lie on the canvas; in them, and in calibration pictures, the people are recorded.

    Raises:
        PrecisionError: There is not one picture to measure ranges on.
    """
    manifest = bundle.manifest
    goldens = [start_recording(bundle.root / golden.picture.file, manifest) for golden in manifest.golden]
    if not goldens and not calibration:
        raise PrecisionError("The bundle has no goldens to measure ranges on; name pictures with --calibration DIR.")
    record_detections(bundle, goldens + calibration)
    if calibration and manifest.training.trained:
        check_people(calibration, manifest.thresholds.detection, on_note)
    return goldens


def record_detections(bundle: Bundle, recordings: list[Recording]) -> None:
    """Run a bundle's FP32 detector on pictures, which decides whose patches re-ID gets.

    Where there is none, the joint network finds the people, and what it finds is recorded as the detector's.
    """
    finder = "detector" if "detector" in bundle.manifest.models else "joint"
    session = OnnxRuntimeSession(bundle, finder, "fp32")
    for item in recordings:
        found = run_picture(session, item.canvas)
        item.outputs.update({f"detector.{key}": found[key] for key in ("boxes", "scores")})
        record_people(item)
    session.close()


def _convert(
    job: Conversion,
    name: str,
    root: Path,
    goldens: list[Recording],
    calibration: list[Recording],
    calibrated_on: Calibration | None,
) -> Model:
    shutil.copyfile(job.bundle.model_path(name, "fp32"), root / model_file(name, "fp32"))
    entry = job.bundle.model(name)
    model = entry.model_copy(
        update={
            "files": {"fp32": entry.files["fp32"].model_copy(update={"file": model_file(name, "fp32")})},
            "recipe_sha256": load_recipe(name).sha256,
            "ranges": None,
            "kept_float32": {},
            "quantisation": None,
            "converted": {},
        }
    )
    model = lower(
        name,
        root,
        model,
        job.bundle.manifest,
        job.precisions,
        goldens,
        calibration,
        on_step=job.on_step,
        on_picture=job.on_picture,
    )
    fp32, digest = entry.files["fp32"].sha256, calibrated_on.sha256 if calibrated_on else None
    origins = {
        precision: provenance(fp32, digest if precision == "int8" else None)
        for precision in model.files
        if precision != "fp32"
    }
    return model.model_copy(update={"converted": origins})
