"""Further precisions for a bundle that may be in use: made, checked on the goldens, and only then part of it."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import SIGNATURE, model_file
from mgts_trt.bundle.manifest import Calibration, Manifest, Model
from mgts_trt.bundle.publish import replace_models
from mgts_trt.errors import PrecisionError
from mgts_trt.evaluation.parity import AT_MOST, WORDS, Comparison, compare_bundle
from mgts_trt.plans.builder.staging import disk_errors, staging_folder
from mgts_trt.precisions.alone import CONVERTED, alone
from mgts_trt.precisions.calibration_set import read_calibration, require_calibration
from mgts_trt.precisions.convert import recorded_goldens
from mgts_trt.precisions.lower_precision import PRECISIONS, require_precisions, write_half, write_int8
from mgts_trt.precisions.lower_precision import STEPS as LOWERING
from mgts_trt.precisions.provenance import provenance
from mgts_trt.precisions.recording import Recording, model_inputs
from mgts_trt.runtime.session.backends import on_cpu

STEPS = (*LOWERING, "compare")
"""What is done with each model; `on_step` is called before each."""

_SHOWN = 4


@dataclass
class Addition:
    """What to add to a bundle.

    Attributes:
        bundle: With FP32 files.
        precisions: Of `PRECISIONS`; FP32 is not made.
        calibration: Pictures that INT8 is calibrated on, and that ranges are measured on beside the goldens.
        despite_parity: Keep, and say so in the manifest, what is beyond its tolerances on the goldens.
        on_step: Called with (model, one of `STEPS`) before each.
        on_picture: Called with (model, pictures done, pictures in all) while INT8 is calibrated.
        on_note: Called with a sentence for each thing the user should know.
    """

    bundle: Bundle
    precisions: Sequence[str]
    calibration: list[Path] = field(default_factory=list)
    despite_parity: bool = False
    on_step: Callable[[str, str], None] = lambda model, step: None
    on_picture: Callable[[str, int, int], None] = lambda model, done, total: None
    on_note: Callable[[str], None] = lambda note: None


def missing(manifest: Manifest, precision: str, calibrated_on: Calibration | None = None) -> list[str]:
    """The models of a bundle that must be converted, so that all of it is held in a precision.

    Args:
        manifest: The bundle's.
        precision: Of `PRECISIONS`.
        calibrated_on: For INT8: where the bundle was calibrated on other pictures, all its models.
    """
    held = manifest.calibration
    if precision == "int8" and calibrated_on and held and held.sha256 != calibrated_on.sha256:
        return list(manifest.models)
    return [name for name, model in manifest.models.items() if precision not in model.files]


def add_precisions(job: Addition) -> Bundle:
    """Convert what a bundle lacks, check it on the goldens, and make it part of the bundle; nothing, if nothing lacks.

    One process at a time converts a bundle, others wait and find it done. A kill, a full disk or a failure leaves the
    bundle as it was, or with the precisions that were done by then.

    Returns:
        The bundle as it is now.

    Raises:
        PrecisionError: A precision is unknown, cannot be made, or is beyond its tolerances; the bundle is signed.
        BuildError: The bundle cannot be written.
        BundleError: The bundle has no FP32 files, or is not whole.
        ImageError: A golden picture cannot be read.
    """
    require_precisions(job.precisions)
    wanted = [precision for precision in PRECISIONS[1:] if precision in job.precisions]
    again = "int8" in wanted and bool(job.calibration)  # only the pictures tell whether they are the same
    if not again and not any(missing(job.bundle.manifest, precision) for precision in wanted):
        return job.bundle
    root = job.bundle.root
    with alone(job.bundle, job.on_note):
        bundle = Bundle.open(root)  # another process may have done it meanwhile
        manifest = bundle.manifest
        calibration, calibrated_on = read_calibration(job.calibration, manifest, job.on_note)
        todo = {precision: missing(manifest, precision, calibrated_on) for precision in wanted}
        todo = {precision: names for precision, names in todo.items() if names}
        if not todo:
            return bundle
        if (root / SIGNATURE).exists():
            raise PrecisionError(
                f"The bundle {root} is signed, and {' and '.join(todo)} would change what was signed. Convert it where "
                f"the key is and sign it again; or give the signature up: remove {SIGNATURE}, then run this again."
            )
        if "int8" in todo:
            require_calibration(calibration, job.on_note)
        goldens = recorded_goldens(bundle, calibration, job.on_note)
        for precision, names in todo.items():
            with staging_folder(bundle.plans) as staging, disk_errors(root, CONVERTED):
                work = _Conversion(job, bundle, staging, precision, goldens, calibration)
                work.run(names, calibrated_on)
            bundle = Bundle.open(root)
    return bundle


@dataclass
class _Conversion:
    """One precision of some models, in a folder of its own until it is found good."""

    job: Addition
    bundle: Bundle
    staging: Path
    precision: str
    goldens: list[Recording]
    calibration: list[Recording]

    def run(self, names: list[str], calibrated_on: Calibration | None) -> None:
        manifest = self.bundle.manifest
        made = {name: self._make(name) for name in names}
        at_parity = self._compare(made)
        digest = calibrated_on.sha256 if calibrated_on and self.precision == "int8" else None
        for name, model in made.items():
            origin = provenance(model.files["fp32"].sha256, digest, at_parity=at_parity)
            made[name] = model.model_copy(update={"converted": {**model.converted, self.precision: origin}})
        update: dict[str, object] = {"models": {**manifest.models, **made}}
        if self.precision == "int8":
            update["calibration"] = calibrated_on
        new = Manifest.model_validate(manifest.model_copy(update=update).model_dump())
        replace_models(self.staging, self.bundle.root, manifest, new)

    def _make(self, name: str) -> Model:
        """The model's entry with its new file, which is in `staging`."""
        entry, on_step = self.bundle.model(name), partial(self.job.on_step, name)
        _link(self.bundle.model_path(name, "fp32"), self.staging / model_file(name, "fp32"))
        pictures = [*self.goldens, *self.calibration]
        samples = [model_inputs(item, self.bundle.manifest, entry.inputs) for item in pictures]
        half = entry
        if self.precision == "int8" and "fp16" in entry.files:
            _link(self.bundle.model_path(name, "fp16"), self.staging / model_file(name, "fp16"))
        else:
            half = write_half(name, self.staging, entry, samples, [item.name for item in pictures], on_step)
        if self.precision == "fp16":
            return half
        done = iter(range(1, len(self.calibration) + 1))
        model = write_int8(
            name,
            self.staging,
            half,
            samples[len(self.goldens) :],
            on_step,
            lambda: self.job.on_picture(name, next(done), len(self.calibration)),
        )
        files = {precision: file for precision, file in model.files.items() if precision in (*entry.files, "int8")}
        return model.model_copy(update={"files": files})

    def _compare(self, made: dict[str, Model]) -> bool | None:
        """Whether the new files are within their tolerances, as `mgts-trt parity` finds it on a CPU; None: unknown."""
        manifest = self.bundle.manifest
        if not manifest.golden:
            self.job.on_note(f"The bundle has no goldens, so {self.precision} was not compared with anything.")
            return None
        for golden in manifest.golden:
            for file in (golden.picture, golden.outputs):
                _link(self.bundle.root / file.file, self.staging / file.file)
        models = {}
        for name, model in manifest.models.items():  # all are told of, which decides what a golden holds; the new run
            files = {self.precision: made[name].files[self.precision]} if name in made else {}
            models[name] = model.model_copy(update={"files": files})
        view = Bundle(self.staging, manifest.model_copy(update={"models": models}))
        rows = compare_bundle(
            view, on_cpu("to compare", None), on_step=lambda what: self.job.on_step(what.partition(" ")[0], "compare")
        )
        if not (wrong := [row for row in rows if not row.ok]):
            return True
        said = f"{self.precision} is beyond its tolerances in {len(wrong)} of {len(rows)} numbers: {_named(wrong)}."
        if not self.job.despite_parity:
            raise PrecisionError(f"{said} {self._advice(wrong)}")
        self.job.on_note(f"{said} It is kept all the same, and the manifest says so.")
        return False

    def _advice(self, wrong: list[Comparison]) -> str:
        model, more = wrong[0].model, ""
        if self.precision == "int8":
            more = (
                f"Calibrate on more pictures like those the system will see (these were {len(self.calibration)}), or "
                f"see what loses it: mgts-trt sensitivity {self.bundle.root} --model {model} --calibration DIR. "
            )
        return (
            f"{more}Nothing of it was kept; the bundle still holds {', '.join(self.bundle.model(model).files)}. "
            "To have it nevertheless, add --despite-parity."
        )


def _named(wrong: list[Comparison]) -> str:
    texts = [
        f"{row.model}'s {WORDS[row.metric]} in {row.picture}: {row.value:.4g}, and "
        f"{'at most' if row.metric in AT_MOST else 'at least'} {row.bound:g} is asked"
        for row in wrong[:_SHOWN]
    ]
    return "; ".join(texts) + ("; …" if len(wrong) > _SHOWN else "")


def _link(source: Path, target: Path) -> None:
    """The same file at another place, without its bytes where the file system can; nothing writes into it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
