"""Part `parity`: the pipeline on the device against ONNX Runtime on the CPU in fp32, over a folder of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts.forms import Form, forms
from benchmarks.gpu.parts.pipeline import open_pipeline
from benchmarks.gpu.report import ParityResult
from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.choices import Lowering, Mode
from mgts_trt.errors import ImageError
from mgts_trt.evaluation.boxes import box_iou
from mgts_trt.pictures.folders import list_pictures
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch

IOU, COSINE = 0.99, 0.999
"""What counts as the same box, and as the same embedding."""

GATED = ("fp32", "fp16")
"""Precisions that must agree with fp32; what INT8 loses is for `mgts-trt parity` to judge."""

REFERENCE = "ONNX Runtime on the CPU in fp32"


@dataclass
class Agreement:
    """What was compared so far.

    Attributes:
        ious: Of each of the reference's people, the IoU of the best box.
        cosines: Of those with the same box.
        pictures: How many.
    """

    ious: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    pictures: int = 0

    def add(self, reference: People, found: People) -> None:
        """Compare one picture's people."""
        self.pictures += 1
        if len(reference) == 0:
            return
        iou = box_iou(reference.boxes, found.boxes)
        best = iou.max(axis=1, initial=0.0)
        self.ious += best.tolist()
        for i in np.flatnonzero(best >= IOU):
            # Boxes that are all but the same may be two people's: the one that looks alike is meant.
            alike = found.embeddings[iou[i] >= IOU] @ reference.embeddings[i]
            self.cosines.append(float(alike.max()))

    def result(self, mode: Mode, precision: str, lowering: Lowering | None = None) -> ParityResult:
        """As the report has it; with nobody to compare, nothing has failed and nothing passed."""
        boxes = float(np.mean(np.array(self.ious) >= IOU)) if self.ious else 0.0
        cosines = float(np.mean(np.array(self.cosines) >= COSINE)) if self.cosines else 0.0
        required = required_share(precision)
        return ParityResult(
            mode=mode,
            precision=precision,
            lowering=lowering,
            reference=REFERENCE,
            pictures=self.pictures,
            people=len(self.ious),
            boxes_share=boxes,
            worst_iou=min(self.ious, default=0.0),
            cosine_share=cosines,
            worst_cosine=min(self.cosines, default=0.0),
            required=required,
            passed=None if required is None or not self.ious else min(boxes, cosines) >= required,
        )


def required_share(precision: str) -> float | None:
    """Share of people that must agree: the detector's recipe's; None for a precision that is shown only."""
    return load_recipe("detector").of(precision).tolerance.matched if precision in GATED else None


def plan(job: Job) -> list[str]:
    """What would be compared."""
    count = min(len(list_pictures(job.pictures)[0]), job.counts.parity)
    lowerings = f", operators as {', '.join(job.lowerings)}," if job.on_gpu else ""
    return [
        f"{count} pictures in mode {mode}, {', '.join(job.precisions_of(mode))}{lowerings} against {REFERENCE}"
        for mode in job.modes
    ]


def run(job: Job) -> None:
    """Fill `report.parity`."""
    pictures = _read(job)
    for mode in job.modes:
        with job.leave_out(f"parity of mode {mode}"):
            job.say(f"mode {mode} on the CPU")
            with PersonSearch(job.bundle, mode=mode, backend="onnxruntime", precision="fp32") as reference:
                expected = [reference(picture, top=job.people) for picture in pictures]
            for precision in job.precisions_of(mode):
                for form in own_forms(job):
                    as_form = f", operators as {form.lowering}" if form else ""
                    with job.leave_out(f"parity of mode {mode} in {precision}{as_form}"):
                        job.report.parity.append(_compare(job, mode, precision, form, pictures, expected))


def own_forms(job: Job) -> list[Form | None]:
    """What is compared: on TensorRT every lowering of the operators."""
    return [form for form in forms(job) if form.graphs] if job.on_gpu else [None]


def _compare(
    job: Job,
    mode: Mode,
    precision: str,
    form: Form | None,
    pictures: Sequence[np.ndarray],
    expected: Sequence[People],
) -> ParityResult:
    agreement = Agreement()
    with open_pipeline(job, mode, precision, form) as search:
        for i, (picture, reference) in enumerate(zip(pictures, expected, strict=True), 1):
            job.say(f"mode {mode} in {precision}: {i} of {len(pictures)}")
            agreement.add(reference, search(picture, top=job.people))
    return agreement.result(mode, precision, form.lowering if form else None)


def _read(job: Job) -> list[np.ndarray]:
    """Pictures of the folder, evenly chosen if there are more than wanted; a broken one is left out."""
    paths = [path for path, _ in list_pictures(job.pictures)[0]]
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), job.counts.parity)).astype(int))
    pictures = []
    for i in chosen:
        try:
            pictures.append(read_image(paths[i]))
        except ImageError as error:
            job.report.left_out[str(paths[i])] = str(error)
    return pictures
