"""Parity on the task: what a precision or a backend loses on labelled pictures against the reference.

Detection AP, mask IoU, and the mAP and top-1 of retrieval are measured twice, over the reference's run and over the
one compared, so that what is judged is the difference, whatever the quality of the weights.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mgts_trt._typing import Array, Bools
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.layout import LABELLED
from mgts_trt.choices import MODES, Mode
from mgts_trt.errors import BundleError
from mgts_trt.evaluation.boxes import match_boxes
from mgts_trt.evaluation.labelled import LabelledSet
from mgts_trt.evaluation.mask_metrics import evaluate_masks
from mgts_trt.evaluation.metrics import GalleryEntry, RankingResult, evaluate_detection, evaluate_search
from mgts_trt.evaluation.task_run import PictureResult, TaskRun, load_run, run_task
from mgts_trt.machine.installation import in_checkout
from mgts_trt.runtime.modes import MODELS_OF_MODE, held_modes
from mgts_trt.runtime.session.backends import Runtime, open_session
from mgts_trt.runtime.session.base import Session

DETECTOR = "detector"
"""The part of a comparison that all modes share; the others are the modes."""


@dataclass(frozen=True)
class TaskTolerance:
    """How much a precision may lose: the first two of what the reference reaches; the others are least values."""

    box_ap: float
    map: float
    cosine: float | None
    mean_cosine: float
    mask_iou: float


TASK_TOLERANCE = {
    "fp32": TaskTolerance(box_ap=1e-4, map=1e-4, cosine=0.9999, mean_cosine=0.9999, mask_iou=0.999),
    "fp16": TaskTolerance(box_ap=0.001, map=0.001, cosine=0.999, mean_cosine=0.999, mask_iou=0.98),
    # The least cosine is that of a person who is given another instance's mask: in INT8 there is always one. Masks are
    # cut to each run's own boxes, which move, too.
    "int8": TaskTolerance(box_ap=0.003, map=0.01, cosine=None, mean_cosine=0.99, mask_iou=0.94),
}

_BOUND = {
    "box_ap": "box_ap", "reid_map": "map", "search_map": "map", "cosine": "cosine", "mean_cosine": "mean_cosine",
    "mask_iou": "mask_iou",
}  # fmt: skip
"""Metric → field of `TaskTolerance`; the others are shown, and bound by nothing."""


@dataclass(frozen=True)
class TaskComparison:
    """One number of one precision on a labelled set."""

    part: str
    """`detector`, or the mode."""
    precision: str
    metric: str
    """`box_ap`, `label_mask_iou`, `reid_map`, `reid_top1`, `search_map`, `search_top1`; or of this precision with the
    reference: `cosine` (the least), `mean_cosine`, `mask_iou` (the mean)."""
    value: float
    reference: float | None
    """The same number of the reference; None where the value itself compares the two."""
    bound: float | None
    """The most that may be lost of `reference`; without one, the least value. None where nothing is demanded."""

    @property
    def delta(self) -> float | None:
        """Value less reference."""
        return None if self.reference is None else self.value - self.reference

    @property
    def ok(self) -> bool:
        """Whether the bound is kept. In all metrics more is better: a gain keeps it; what is no number does not."""
        if self.bound is None:
            return True
        return bool(self.value >= self.bound if self.delta is None else self.delta >= -self.bound)


@dataclass(frozen=True, eq=False)
class TaskReport:
    """All comparisons on a labelled set, and the runs they are of."""

    reference_name: str
    labelled: LabelledSet
    reference: TaskRun
    runs: dict[str, TaskRun]
    """By precision."""
    comparisons: list[TaskComparison]


def bundled_set(bundle: Bundle) -> LabelledSet | None:
    """The labelled set a bundle carries, if it carries one."""
    return LabelledSet.open(bundle.root / LABELLED) if bundle.manifest.labelled else None


def task_modes(bundle: Bundle, precision: str, modes: Sequence[Mode] | None = None) -> tuple[Mode, ...]:
    """The modes to measure: those asked for, or all whose models the bundle holds in the precision."""
    if modes is not None:
        return tuple(modes)
    return held_modes(bundle.manifest, precision)


def compare_task(
    bundle: Bundle,
    runtime: Runtime,
    labelled: LabelledSet | None = None,
    *,
    precisions: Sequence[str] | None = None,
    modes: Sequence[Mode] | None = None,
    threads: int | None = None,
    on_start: Callable[[str, int], Callable[[], None]] = lambda what, pictures: lambda: None,
) -> TaskReport:
    """Measure precisions of a bundle on a labelled set.

    Args:
        bundle: An opened bundle.
        runtime: What to run on.
        labelled: A set of the user's own, whose reference is the bundle in FP32 on ONNX Runtime; by default the one
            in the bundle, with what PyTorch gave for it at export.
        precisions: Which; by default all the bundle holds.
        modes: Which; by default all whose models the bundle holds in the precision.
        threads: CPU threads.
        on_start: Called with a description and the number of pictures before each run; what it returns is called
            after each picture.

    Raises:
        BundleError: There is no labelled set, or the bundle lacks a model, a precision or a reference.
        BackendError: A session fails.
        LabelError: See `LabelledSet.open`.
    """
    stored = labelled is None
    labelled = labelled or bundled_set(bundle)
    if labelled is None:
        raise BundleError(
            f"The bundle {bundle.root} holds no labelled set. Name one with --labelled DIR, or export the bundle again "
            f"with {in_checkout('`python -m export --labelled DIR`')}."
        )
    held = dict.fromkeys(precision for model in bundle.manifest.models.values() for precision in model.files)
    pictures = len(labelled.pictures)

    def run(where: Runtime, precision: str) -> TaskRun:
        on_picture = on_start(f"{precision} on labelled pictures", pictures)
        return _run(bundle, labelled, where, precision, modes, threads, on_picture)

    runs: dict[str, TaskRun] = {}
    if stored and bundle.manifest.labelled is not None:
        name = "PyTorch in FP32, at export"
        reference = load_run(bundle.root / bundle.manifest.labelled.reference.file, labelled)
    else:
        name = "FP32 on ONNX Runtime"
        reference = run(Runtime("onnxruntime", runtime.device, "the reference"), "fp32")
        if runtime.backend == "onnxruntime":
            runs["fp32"] = reference
    wanted = tuple(precisions or held)
    comparisons = []
    for precision in wanted:
        if not task_modes(bundle, precision, modes):
            continue
        if precision not in runs:
            runs[precision] = run(runtime, precision)
        comparisons += compare_runs(labelled, reference, runs[precision], precision)
    return TaskReport(name, labelled, reference, {p: runs[p] for p in wanted if p in runs}, comparisons)


def _run(
    bundle: Bundle,
    labelled: LabelledSet,
    runtime: Runtime,
    precision: str,
    modes: Sequence[Mode] | None,
    threads: int | None,
    on_picture: Callable[[], None],
) -> TaskRun:
    chosen = task_modes(bundle, precision, modes)
    if not chosen:
        raise BundleError(
            f"The bundle {bundle.root} holds no mode's models in {precision}. {bundle.how_to_make(precision)}."
        )
    sessions: dict[str, Session] = {}
    try:
        for model in dict.fromkeys(model for mode in chosen for model in MODELS_OF_MODE[mode]):
            sessions[model] = open_session(bundle, model, runtime, precision=precision, threads=threads)
        return run_task(bundle, sessions, labelled, chosen, on_picture=on_picture)
    finally:
        for session in sessions.values():
            session.close()


def compare_runs(labelled: LabelledSet, reference: TaskRun, run: TaskRun, precision: str) -> list[TaskComparison]:
    """All numbers of a run beside the reference's, in the modes that both have.

    What the labels do not allow to measure is left out: masks, or retrieval where nobody is seen twice.
    """
    tolerance = TASK_TOLERANCE.get(precision)

    def comparison(part: str, metric: str, value: float, theirs: float | None) -> TaskComparison:
        bound = getattr(tolerance, _BOUND[metric]) if tolerance and metric in _BOUND else None
        return TaskComparison(part, precision, metric, value, theirs, bound)

    comparisons = [comparison(DETECTOR, "box_ap", box_ap(labelled, run), box_ap(labelled, reference))]
    for mode in MODES:
        if mode not in run.modes or mode not in reference.modes:
            continue
        ours, theirs = run.modes[mode], reference.modes[mode]
        before = measure(labelled, theirs, mode)
        for metric, value in measure(labelled, ours, mode).items():
            comparisons.append(comparison(mode, metric, value, before[metric]))
        cosines = embedding_cosines(theirs, ours)
        comparisons.append(comparison(mode, "cosine", float(cosines.min()), None))
        comparisons.append(comparison(mode, "mean_cosine", float(cosines.mean()), None))
        if mode == "net" and any(len(result.masks) for result in theirs):
            comparisons.append(comparison(mode, "mask_iou", mean_mask_iou(theirs, ours), None))
    return comparisons


def box_ap(labelled: LabelledSet, run: TaskRun) -> float:
    """AP at IoU 0.5 over all the detector's rows, 0…1."""
    return evaluate_detection(run.rows, [picture.box_array for picture in labelled.pictures]).average_precision


def measure(labelled: LabelledSet, results: Sequence[PictureResult], mode: Mode) -> dict[str, float]:
    """The quality of one mode by the labels, 0…1; NaN where embeddings are not finite, or no masks were compared."""
    numbers: dict[str, float] = {}
    if mode == "net" and any(picture.masks for picture in labelled.pictures):
        numbers["label_mask_iou"] = _label_mask_iou(labelled, results)
    if labelled.searchable:
        # Re-ID is the search of labelled boxes instead of detected ones.
        labelled_boxes = [(picture.box_array, r.truths) for picture, r in zip(labelled.pictures, results, strict=True)]
        detected = [(result.boxes, result.embeddings) for result in results]
        for what, boxes in (("reid", labelled_boxes), ("search", detected)):
            ranked = _rank(labelled, results, boxes)
            numbers[f"{what}_map"] = ranked.mean_average_precision if ranked else float("nan")
            numbers[f"{what}_top1"] = ranked.cmc(1) if ranked else float("nan")
    return numbers


def embedding_cosines(reference: Sequence[PictureResult], results: Sequence[PictureResult]) -> Array:
    """Of each labelled person the cosine of the embedding with the reference's, [P]."""
    pairs = zip(reference, results, strict=True)
    return np.concatenate([(theirs.truths * ours.truths).sum(axis=1) for theirs, ours in pairs])


def mean_mask_iou(reference: Sequence[PictureResult], results: Sequence[PictureResult]) -> float:
    """Mean IoU of the masks of people that both found (their boxes overlap by half); 0 if there are none."""
    ious = []
    for theirs, ours in zip(reference, results, strict=True):
        for i, j in enumerate(match_boxes(theirs.boxes, ours.boxes, 0.5)):
            if j >= 0:
                ious.append(theirs.masks[i].iou(ours.masks[j]))
    return float(np.mean(ious)) if ious else 0.0


def _label_mask_iou(labelled: LabelledSet, results: Sequence[PictureResult]) -> float:
    def images() -> Iterator[tuple[list[Bools], Array, Array]]:
        for picture, result in zip(labelled.pictures, results, strict=True):
            instances = labelled.masks(picture)
            if instances is None or not picture.boxes:
                continue
            found = evaluate_detection([(result.boxes, result.scores)], [picture.box_array]).matches[0]
            hits = np.flatnonzero(found >= 0)
            height, width = instances.shape
            yield [result.masks[i].unpack(height, width) for i in hits], instances, found[hits]

    return evaluate_masks(images()).mean_iou


def _rank(
    labelled: LabelledSet, results: Sequence[PictureResult], people: Sequence[tuple[Array, Array]]
) -> RankingResult | None:
    """Every person whose identity is known searches all other pictures for `people` (boxes, embeddings).

    Where the camera is known, pictures of the person by the same one are left out (the Market-1501 protocol). None if
    an embedding is not finite.
    """
    if not all(np.isfinite(r.truths).all() for r in results) or not all(np.isfinite(e).all() for _, e in people):
        return None
    pictures = labelled.pictures
    where: dict[int, dict[int, Array]] = {}
    for number, picture in enumerate(pictures):
        for identity, box in zip(picture.identities, picture.box_array, strict=True):
            if identity is not None:
                where.setdefault(identity, {})[number] = box
    queries: list[Array] = []
    galleries: list[list[GalleryEntry]] = []
    for number, picture in enumerate(pictures):
        for row, identity in enumerate(picture.identities):
            if identity is None:
                continue
            shown = where[identity]
            queries.append(results[number].truths[row])
            galleries.append(
                [
                    (other.file, shown.get(i))
                    for i, other in enumerate(pictures)
                    if i != number
                    and not (i in shown and picture.camera is not None and other.camera == picture.camera)
                ]
            )
    detections = {picture.file: found for picture, found in zip(pictures, people, strict=True)}
    return evaluate_search(np.stack(queries), galleries, detections)
