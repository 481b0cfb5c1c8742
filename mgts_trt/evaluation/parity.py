"""Parity, in two levels: every model's tensors on the goldens, and what users care about on labelled pictures.

The first is here: what each model's session gives, against what PyTorch gave at export, or an imported model's original
file at import. The second is
`mgts_trt.evaluation.task`; both end in one table, one verdict and one record.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mgts_trt._typing import Array, Floats
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import PARITY, parity_file
from mgts_trt.bundle.manifest import MANIFEST
from mgts_trt.bundle.recipe import MODELS, Tolerance, load_recipe
from mgts_trt.bundle.records import ParityRecord, TaskRecord, TaskRow, TensorRow
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.boxes import box_iou, match_boxes
from mgts_trt.evaluation.golden import AUTHOR, EMBEDDINGS, GoldenCase, load_goldens, reid_inputs
from mgts_trt.evaluation.task import TaskComparison, TaskReport
from mgts_trt.machine.files import file_sha256, write_text
from mgts_trt.runtime.session.backends import Runtime, open_session
from mgts_trt.runtime.session.base import Session
from mgts_trt.runtime.session.pictures import run_picture
from mgts_trt.version import __version__

_FAINT = 0.05
"""Golden boxes scored below are left out: which of them survive the NMS is chance, and no threshold lets them pass."""

AT_MOST = ("score", "mask")

WORDS = {
    "matched": "golden boxes found",
    "box_iou": "IoU of boxes found",
    "score": "difference of scores",
    "mask": "difference of masks",
    "cosine": "cosine of embeddings",
    "author_cosine": "cosine, author's resize",
}
"""What the metrics are, for people."""


@dataclass(frozen=True)
class Comparison:
    """One number of one model on one golden picture."""

    model: str
    precision: str
    picture: str
    metric: str
    """A field of `Tolerance`, or `author_cosine`; those of `AT_MOST` may not exceed the bound, the others not fall
    short of it."""
    value: float
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the value keeps the recipe's bound."""
        if np.isnan(self.value):
            return False
        return self.value <= self.bound if self.metric in AT_MOST else self.value >= self.bound


def compare_bundle(
    bundle: Bundle,
    runtime: Runtime,
    *,
    precisions: tuple[str, ...] | None = None,
    threads: int | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[Comparison]:
    """Run every model of a bundle on its goldens.

    Args:
        bundle: An opened bundle with goldens.
        runtime: What to run on.
        precisions: Which; by default all the bundle holds.
        threads: CPU threads.
        on_step: Called with the name of each model before it runs.

    Raises:
        BundleError: The bundle has no goldens, or lacks a precision asked for.
        BackendError: A session fails.
    """
    cases = load_goldens(bundle)
    comparisons = []
    for model in MODELS:
        if model not in bundle.manifest.models:
            continue
        for precision in precisions or tuple(bundle.model(model).files):
            on_step(f"{model} {precision}")
            tolerance = tolerance_of(bundle, model, precision)
            bounds = _bounds(bundle, model, tolerance)
            session = open_session(bundle, model, runtime, precision=precision, threads=threads)
            try:
                for case in cases:
                    numbers = _numbers(bundle, session, case, tolerance)
                    for metric, value in numbers.items():
                        bound = bounds.get(metric)
                        if bound is not None:
                            comparisons.append(Comparison(model, precision, case.name, metric, value, bound))
            finally:
                session.close()
    return comparisons


def step_count(bundle: Bundle, precisions: tuple[str, ...] | None) -> int:
    """How often `compare_bundle` will call `on_step`."""
    return sum(len(precisions or model.files) for model in bundle.manifest.models.values())


def _numbers(bundle: Bundle, session: Session, case: GoldenCase, tolerance: Tolerance) -> dict[str, float]:
    if session.model in EMBEDDINGS:
        return _cosines(bundle, session, case)
    given = case.outputs.get(f"{session.model}.rois")
    found = run_picture(session, case.canvas, given)
    described = found.pop("roi_embeddings", None)
    golden = {name: case.outputs[f"{session.model}.{name}"] for name in found}
    numbers = compare_detections(golden, found, box_iou_bound=tolerance.box_iou or 0.5)
    if described is not None and given is not None and len(given):
        cosines = (case.outputs[f"{session.model}.roi_embeddings"] * described[: len(given)]).sum(axis=1)
        numbers["cosine"] = min(numbers.get("cosine", 1.0), float(cosines.min()))
    return numbers


def compare_detections(golden: dict[str, Array], found: dict[str, Array], *, box_iou_bound: float) -> dict[str, float]:
    """Compare what a detector, mask net or joint network found with the golden.

    Args:
        golden: `boxes` [R, 4], `scores` [R], best first; of a mask net `masks` [R, m, m], of a joint network
            `embeddings` [R, d].
        found: Likewise [K, …]; rows of score 0 are padding.
        box_iou_bound: IoU from which a golden box counts as found again.

    Returns:
        `matched`: share of golden boxes found again, 0…1. Over those matched: `box_iou`, the least; `score` and
        `mask`, the greatest absolute difference; `cosine` of embeddings, the least.
    """
    rows = golden["scores"] >= _FAINT
    golden = {name: array[rows] for name, array in golden.items()}
    found = {name: array[found["scores"] > 0] for name, array in found.items()}
    matches = match_boxes(golden["boxes"], found["boxes"], box_iou_bound)
    ours, theirs = np.flatnonzero(matches >= 0), matches[matches >= 0]
    numbers = {"matched": len(ours) / len(matches) if len(matches) else 1.0}
    if not len(ours):
        return numbers
    iou = box_iou(golden["boxes"][ours], found["boxes"][theirs])
    numbers["box_iou"] = float(np.diagonal(iou).min())
    numbers["score"] = float(np.abs(golden["scores"][ours] - found["scores"][theirs]).max())
    if "masks" in golden:
        numbers["mask"] = float(np.abs(golden["masks"][ours] - found["masks"][theirs]).max())
    if "embeddings" in golden:
        numbers["cosine"] = float((golden["embeddings"][ours] * found["embeddings"][theirs]).sum(axis=1).min())
    return numbers


def _cosines(bundle: Bundle, session: Session, case: GoldenCase) -> dict[str, float]:
    """The least cosine with the goldens; of an imported network also with those of its author's resizing."""
    cosines: list[float] = []
    resized: list[float] = []
    for mode in EMBEDDINGS[session.model]:
        golden: Floats = case.outputs[f"{session.model}.{mode}"]
        if not len(golden):
            continue
        found = session.run(reid_inputs(bundle.manifest, case, mode, session.inputs))["embedding"]
        cosines += [float(cosine) for cosine in (golden * found).sum(axis=1)]
        author = case.outputs.get(f"{session.model}.{AUTHOR}")
        if author is not None:
            resized += [float(cosine) for cosine in (author * found).sum(axis=1)]
    return {"cosine": min(cosines, default=1.0), **({"author_cosine": min(resized)} if resized else {})}


_HALF_BOXES = 0.95
"""IoU at which a box of another's detector in FP16 counts as found again. Ours decode boxes in float32, theirs in half,
and often on a small canvas: 0.1 pixels of a person 7 wide are an IoU of 0.975."""


def tolerance_of(bundle: Bundle, model: str, precision: str) -> Tolerance:
    """How far a model may be from its goldens: its recipe's tolerance, wider for boxes of an imported one in FP16."""
    recipe = load_recipe(model).precision.get(precision)
    tolerance = recipe.tolerance if recipe else Tolerance()
    if precision == "fp16" and tolerance.box_iou is not None and bundle.model(model).imported is not None:
        tolerance = tolerance.model_copy(update={"box_iou": min(tolerance.box_iou, _HALF_BOXES)})
    return tolerance


def _bounds(bundle: Bundle, model: str, tolerance: Tolerance) -> dict[str, float | None]:
    """The recipe's bounds by metric, and that of an imported network with its author's resizing.

    Angles between embeddings add up at most: what the resizing turned when it was imported, and what is tolerated.
    """
    bounds: dict[str, float | None] = tolerance.model_dump()
    imported = bundle.model(model).imported
    if imported is not None and imported.resize_cosine is not None and tolerance.cosine is not None:
        angle = math.acos(imported.resize_cosine) + math.acos(tolerance.cosine)
        bounds["author_cosine"] = math.cos(min(angle, math.pi))
    return bounds


def parity_report(
    bundle: Bundle, runtime: Runtime, comparisons: list[Comparison], task: TaskReport | None
) -> ParityRecord:
    """Everything compared, for a file; a number that is none becomes None."""
    tensors = tuple(TensorRow(**_finite({**asdict(row), "ok": row.ok})) for row in comparisons)
    rows = tuple(
        TaskRow(**_finite({**asdict(row), "delta": row.delta, "ok": row.ok}))
        for row in (task.comparisons if task else ())
    )
    return ParityRecord(
        version=__version__,
        manifest_sha256=file_sha256(bundle.root / MANIFEST),
        backend=runtime.backend,
        device=runtime.device,
        ok=not failures(comparisons, task),
        comparisons=tensors,
        task=TaskRecord(
            reference=task.reference_name,
            pictures=len(task.labelled.pictures),
            people=sum(len(picture.boxes) for picture in task.labelled.pictures),
            comparisons=rows,
        )
        if task
        else None,
    )


def record_parity(
    bundle: Bundle, runtime: Runtime, comparisons: list[Comparison], task: TaskReport | None
) -> list[str]:
    """Write a `ParityRecord` a precision into the bundle; returns their names.

    They are not in the manifest, since they are measured after export, on whatever machine; `manifest_sha256` tells
    which export they are of.

    Raises:
        MgtsError: The bundle's folder cannot be written.
    """
    folder = bundle.root / PARITY
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise MgtsError(
            f"Cannot write into the bundle: {folder}: {error.strerror}. Copy it, or drop --record."
        ) from error
    names = []
    for precision in dict.fromkeys(comparison.precision for comparison in comparisons):
        own = [comparison for comparison in comparisons if comparison.precision == precision]
        of_task = task and TaskReport(
            task.reference_name,
            task.labelled,
            task.reference,
            task.runs,
            [row for row in task.comparisons if row.precision == precision],
        )
        names.append(parity_file(precision, runtime.backend))
        record = parity_report(bundle, runtime, own, of_task)
        write_text(bundle.root / names[-1], record.model_dump_json(indent=2) + "\n")
    return names


def failures(comparisons: list[Comparison], task: TaskReport | None) -> int:
    """How many comparisons are out of tolerance."""
    rows: list[Comparison | TaskComparison] = [*comparisons, *(task.comparisons if task else ())]
    return sum(not row.ok for row in rows)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
