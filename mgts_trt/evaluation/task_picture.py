"""The labelled picture on which a precision differs most from the reference, drawn for people."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Image
from mgts_trt.evaluation.boxes import box_iou, match_boxes
from mgts_trt.evaluation.task import TaskReport
from mgts_trt.evaluation.task_run import PictureResult
from mgts_trt.pictures.draw import draw_people
from mgts_trt.pictures.grid import Card, picture_grid
from mgts_trt.pictures.palette import CONTROL, rgb

NOTICEABLE = 0.02
"""A person whose deviation exceeds this is highlighted."""

_GREY = rgb(CONTROL)


class Difference:
    """How two results of one picture differ, person by person.

    Deviations are 0…1: the greatest of 1 − IoU of the boxes, the difference of the scores, 1 − cosine of the
    embeddings, and 1 − IoU of the masks; 1 for a person whom only one of the two found.

    Attributes:
        pairs: int [P, 2], rows of the reference and of ours that are one person (their boxes overlap by half).
        deviations: float64 [P], of the pairs.
        lost: Rows that only the reference has.
        added: Rows that only ours has.
        labelled: The greatest 1 − cosine of the labelled people's embeddings; 0 without any.
    """

    def __init__(self, reference: PictureResult, ours: PictureResult) -> None:
        matches = match_boxes(reference.boxes, ours.boxes, 0.5)
        rows = np.flatnonzero(matches >= 0)
        self.pairs = np.stack([rows, matches[rows]], axis=1)
        self.lost = np.flatnonzero(matches < 0)
        self.added = np.setdiff1d(np.arange(len(ours.boxes)), matches)
        self.deviations: NDArray[np.float64] = np.array([_deviation(reference, ours, i, j) for i, j in self.pairs])
        cosines = (reference.truths * ours.truths).sum(axis=1)
        self.labelled = float(1 - cosines.min()) if len(cosines) else 0.0

    @property
    def total(self) -> float:
        """Sum over all people; what ranks pictures. Infinite where something is not a number."""
        total = float(self.deviations.sum()) + len(self.lost) + len(self.added) + self.labelled
        return total if np.isfinite(total) else float("inf")


def worst_picture(report: TaskReport) -> tuple[Image, str]:
    """Draw the picture, precision and mode that differ most from the reference, and say in a sentence which they are.

    The reference is on the left. People that deviate noticeably have a colour, the same on both sides, their mask and
    their score; the others are grey.

    Returns:
        uint8 [H, W, 3], RGB, and the sentence.
    """
    candidates = [
        (Difference(theirs, ours), precision, mode, number)
        for precision, run in report.runs.items()
        for mode, results in run.modes.items()
        for number, (theirs, ours) in enumerate(zip(report.reference.modes.get(mode, ()), results, strict=False))
    ]
    difference, precision, mode, number = max(candidates, key=lambda candidate: candidate[0].total)
    picture = report.labelled.pictures[number]
    image = report.labelled.image(picture)
    theirs, ours = report.reference.modes[mode][number], report.runs[precision].modes[mode][number]
    loud = ~(difference.deviations <= NOTICEABLE)
    pairs = difference.pairs[loud]
    greatest = difference.deviations.max(initial=0.0)
    cards = [
        Card(
            _draw(image, theirs, [*pairs[:, 0], *difference.lost]),
            [f"reference: {report.reference_name}"],
            [f"{len(theirs.boxes)} people, {len(difference.lost)} of them not found on the right"],
        ),
        Card(
            _draw(image, ours, [*pairs[:, 1], *difference.added]),
            [f"{precision}, mode {mode}: {picture.file}"],
            [
                f"{len(ours.boxes)} people, {len(difference.added)} of them not found on the left",
                f"{int(loud.sum())} deviate, at most by {greatest:.2g}; least cosine {1 - difference.labelled:.5f}",
            ],
        ),
    ]
    summary = (
        f"{precision} differs most from the reference in mode {mode} on {picture.file}: {len(difference.lost)} people "
        f"lost, {len(difference.added)} new, {int(loud.sum())} deviate"
    )
    return picture_grid(cards, columns=2), summary


def _deviation(reference: PictureResult, ours: PictureResult, i: int, j: int) -> float:
    parts = [
        1 - float(box_iou(reference.boxes[i : i + 1], ours.boxes[j : j + 1])[0, 0]),
        abs(float(reference.scores[i] - ours.scores[j])),
        1 - float(reference.embeddings[i] @ ours.embeddings[j]),
    ]
    if reference.masks and ours.masks:
        parts.append(1 - reference.masks[i].iou(ours.masks[j]))
    return float(np.max(parts))  # unlike max(), NaN if one is


def _draw(image: Image, result: PictureResult, loud: Sequence[int]) -> Image:
    canvas = image.copy()
    for row in set(range(len(result.boxes))) - set(loud):
        x1, y1, x2, y2 = np.rint(result.boxes[row]).astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _GREY, 2)
    rows = np.array(loud, np.int64)
    masks: Array | None = None
    if result.masks and len(rows):
        masks = np.stack([result.masks[row].unpack(*image.shape[:2]) for row in rows])
    unmasked = result.instances[rows] == 0 if result.masks else None
    return draw_people(canvas, result.boxes[rows], result.scores[rows], masks, unmasked=unmasked)
