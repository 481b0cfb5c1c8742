"""Parity: what each model's session gives for the goldens, against what PyTorch gave at export."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from mgts_trt._typing import Array, Floats
from mgts_trt.boxes import box_iou, match_boxes
from mgts_trt.bundle import Bundle
from mgts_trt.console import table
from mgts_trt.golden import EMBEDDINGS, GoldenCase, load_goldens
from mgts_trt.modes import mode_instance_map, mode_patches
from mgts_trt.recipe import MODELS, Tolerance, load_recipe
from mgts_trt.session.base import Session
from mgts_trt.session.select import Runtime, open_session

_FAINT = 0.05
"""Golden boxes scored below are left out: which of them survive the NMS is chance, and no threshold lets them pass."""

AT_MOST = ("score", "mask")

_WORDS = {
    "matched": "golden boxes found again",
    "box_iou": "IoU of boxes found again",
    "score": "difference of scores",
    "mask": "difference of masks",
    "cosine": "cosine of embeddings",
}


@dataclass(frozen=True)
class Comparison:
    """One number of one model on one golden picture."""

    model: str
    precision: str
    picture: str
    metric: str
    """A field of `Tolerance`; those of `AT_MOST` may not exceed the bound, the others not fall short of it."""
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
            recipe = load_recipe(model).precision.get(precision)
            tolerance = recipe.tolerance if recipe else Tolerance()
            session = open_session(bundle, model, runtime, precision=precision, threads=threads)
            try:
                for case in cases:
                    numbers = _numbers(bundle, session, case, tolerance)
                    for metric, value in numbers.items():
                        bound = getattr(tolerance, metric)
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
        return {"cosine": min(_cosines(bundle, session, case), default=1.0)}
    found = session.run({"image": case.canvas})
    golden = {name: case.outputs[f"{session.model}.{name}"] for name in session.outputs}
    return compare_detections(golden, found, box_iou_bound=tolerance.box_iou or 0.5)


def compare_detections(golden: dict[str, Array], found: dict[str, Array], *, box_iou_bound: float) -> dict[str, float]:
    """Compare what a detector or mask net found with the golden.

    Args:
        golden: `boxes` [R, 4], `scores` [R] and, of a mask net, `masks` [R, m, m], best first.
        found: Likewise [K, …]; rows of score 0 are padding.
        box_iou_bound: IoU from which a golden box counts as found again.

    Returns:
        `matched`: share of golden boxes found again, 0…1. Over those matched: `box_iou`, the least; `score` and
        `mask`, the greatest absolute difference.
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
    return numbers


def _cosines(bundle: Bundle, session: Session, case: GoldenCase) -> list[float]:
    cosines: list[float] = []
    for mode in EMBEDDINGS[session.model]:
        golden: Floats = case.outputs[f"{session.model}.{mode}"]
        if not len(golden):
            continue
        masks = (case.outputs[f"masknet.{name}"] for name in ("boxes", "scores", "masks"))
        instance_map = mode_instance_map(bundle.manifest, mode, *masks)
        boxes = case.outputs["persons.boxes"]
        patches = mode_patches(bundle.manifest, mode, case.canvas, boxes, instance_map, case.letterbox)
        inputs = {"original": patches.original, "foreground": patches.foreground}
        found = session.run({name: inputs[name] for name in session.inputs})["embedding"]
        cosines += [float(cosine) for cosine in (golden * found).sum(axis=1)]
    return cosines


def parity_table(comparisons: list[Comparison], title: str) -> Table:
    """The worst of each metric over the pictures, one row a model, precision and metric."""
    rows = table("model", "precision", "compared", ">worst", ">bound", "", title=title)
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((comparison.model, comparison.precision, comparison.metric), []).append(comparison)
    for (model, precision, metric), group in groups.items():
        at_most = metric in AT_MOST
        worst = (max if at_most else min)(group, key=lambda comparison: comparison.value)
        verdict = "[green]ok[/]" if all(comparison.ok for comparison in group) else "[bold red]FAILED[/]"
        bound = f"{'≤' if at_most else '≥'} {worst.bound:g}"
        rows.add_row(model, precision, _WORDS[metric], f"{worst.value:.6g}", bound, verdict)
    return rows
