"""The numbers person search is judged by: detection AP and recall, mask IoU, and mAP and CMC of search and re-ID.

All average precisions here are the same one, `average_precision`: the area under the precision–recall curve as a sum of
steps, without interpolation, with recall counted over all ground truths. It equals scikit-learn's
`average_precision_score` times the share of ground truths found, the form of the CUHK-SYSU evaluation. It is not the
11-point or 101-point AP of PASCAL VOC and COCO, which read a little higher.

Equal scores are one operating point of the curve, and a CMC hit has to outrank the negatives it ties with: no result
depends on the order in which equals happen to lie.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Ints
from mgts_trt.errors import MetricError
from mgts_trt.evaluation.boxes import match_boxes

GalleryEntry: TypeAlias = tuple[str, Array | None]
"""A gallery image's name, and the box [4] (xyxy, pixels of the image) of the query's person in it, or None."""

IouThreshold: TypeAlias = float | Literal["oim"]

_UNKNOWN = -1
_BLOCK = 2**24
"""Similarities held at a time: 64 MiB of float32."""


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """How well boxes were found.

    Attributes:
        average_precision: 0…1.
        recall: Share of the ground truths found, 0…1.
        true_positives: Detections that match a ground truth.
        ground_truths: Of all images together.
        matches: One int32 [N] an image: for each detection, in the order given, the row of its ground truth or -1.
    """

    average_precision: float
    recall: float
    true_positives: int
    ground_truths: int
    matches: tuple[Ints, ...]


@dataclass(frozen=True, eq=False)
class RankingResult:
    """How well Q queries ranked their galleries.

    A query whose gallery holds no ground truth has no average precision; it is left out of all means.

    Attributes:
        average_precisions: float64 [Q], 0…1; NaN where the gallery holds no ground truth.
        first_ranks: int64 [Q], rank from 1 of the first true positive; 0 where there is none.
        found: int64 [Q], true positives.
        ground_truths: int64 [Q], how many there were to find.
    """

    average_precisions: NDArray[np.float64]
    first_ranks: NDArray[np.int64]
    found: NDArray[np.int64]
    ground_truths: NDArray[np.int64]

    @property
    def counted(self) -> int:
        """Queries the means are over: those with a ground truth in their gallery."""
        return int((self.ground_truths > 0).sum())

    @property
    def mean_average_precision(self) -> float:
        """Mean of the counted queries' average precisions, 0…1."""
        return float(self.average_precisions[self.ground_truths > 0].mean())

    def cmc(self, k: int) -> float:
        """CMC top-k: share of the counted queries with a true positive among their first k results, 0…1."""
        hits = (self.first_ranks > 0) & (self.first_ranks <= k)
        return float(hits.sum() / self.counted)

    def summary(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """`mAP` and `top-k` for each k, 0…1, as tables and JSON take them."""
        return {"mAP": self.mean_average_precision} | {f"top-{k}": self.cmc(k) for k in ks}


def average_precision(scores: Array, positive: Array, ground_truths: int | None = None) -> float:
    """Area under the precision–recall curve of scored results, as a sum of steps without interpolation.

    Args:
        scores: [N], higher is better, finite.
        positive: bool [N], whether each is a true positive.
        ground_truths: How many there were to find, those that no result found included; the positives if None.

    Returns:
        0…1; 0 without a positive.

    Raises:
        MetricError: A score is not finite, the lengths differ, or there are fewer ground truths than positives.
    """
    scores, positive = np.asarray(scores), np.asarray(positive, np.bool_)
    if scores.ndim != 1 or scores.shape != positive.shape:
        raise MetricError(
            f"Scores of shape {scores.shape} and labels of shape {positive.shape} were given. "
            "Pass one score and one label a result, both [N]."
        )
    _check_finite(scores, "the scores")
    found = int(positive.sum())
    total = found if ground_truths is None else ground_truths
    if total < found:
        raise MetricError(
            f"{found} true positives of {total} ground truths: there cannot be more. "
            "Let each ground truth be found once and count those that were missed too."
        )
    return _rank(scores, scores[positive], total)[0] if found else 0.0


def evaluate_detection(
    predictions: Sequence[tuple[Array, Array]], truths: Sequence[Array], *, iou_threshold: float = 0.5
) -> DetectionResult:
    """AP and recall of detections over a set of images (Sec. 4.2).

    In each image the detections choose, best score first, the free ground truth they overlap most; one that finds none
    at `iou_threshold` or above is a false positive, so a second detection of a person counts against. (The CUHK-SYSU
    code instead pairs boxes that are each other's best overlap, whatever their scores.)

    Args:
        predictions: Boxes [N, 4] and scores [N] of each image.
        truths: Boxes [M, 4] of each image.
        iou_threshold: In (0, 1].

    Raises:
        MetricError: Lengths differ, a number is not finite, or no image has a ground truth.
    """
    _check_threshold(iou_threshold)
    if len(predictions) != len(truths):
        raise MetricError(
            f"Detections of {len(predictions)} images but ground truths of {len(truths)}. "
            "Pass both for the same images in the same order, empty arrays for images without a person."
        )
    matches: list[Ints] = []
    for i, ((boxes, scores), truth) in enumerate(zip(predictions, truths, strict=True)):
        boxes, truth = _boxes(boxes, f"the detections of image {i}"), _boxes(truth, f"the ground truths of image {i}")
        scores = np.asarray(scores)
        if scores.shape != (len(boxes),):
            raise MetricError(f"Image {i} has {len(boxes)} boxes but scores of shape {scores.shape}. Pass one a box.")
        _check_finite(scores, f"the scores of image {i}")
        order = np.argsort(-scores, kind="stable")
        of_image = np.empty(len(boxes), np.int32)
        of_image[order] = match_boxes(boxes[order], truth, iou_threshold)
        matches.append(of_image)
    ground_truths = sum(len(truth) for truth in truths)
    if ground_truths == 0:
        raise MetricError(f"No ground truth in {len(truths)} images: neither recall nor AP exists. Give labelled ones.")
    positive = np.concatenate(matches) >= 0
    found = int(positive.sum())
    return DetectionResult(
        average_precision=average_precision(np.concatenate([s for _, s in predictions]), positive, ground_truths),
        recall=found / ground_truths,
        true_positives=found,
        ground_truths=ground_truths,
        matches=tuple(matches),
    )


def evaluate_search(
    query_embeddings: Array,
    galleries: Sequence[Sequence[GalleryEntry]],
    detections: Mapping[str, tuple[Array, Array]],
    *,
    iou_threshold: IouThreshold = 0.5,
) -> RankingResult:
    """Person search: every query ranks all detections of its gallery's images (the CUHK-SYSU protocol; Sec. 4.2).

    In a gallery image that shows the query's person, the most similar of the detections that overlap the person's box
    is the true positive; all other detections, second ones of the person too, are negatives. A person without such
    a detection is a miss and lowers AP. Gallery entries are taken literally: an image listed twice is searched twice,
    and the query's own image is searched if it is listed. What a gallery is (given lists, all frames but the query's
    own, other cameras only) is therefore the caller's, or the published protocol's, to say.

    Args:
        query_embeddings: [Q, d], L2-normalised: similarity is the dot product.
        galleries: Q galleries.
        detections: Boxes [N, 4] and L2-normalised embeddings [N, d] of each image that a gallery names; empty arrays
            where nobody was detected. Detections too faint to be searched are to be left out by the caller.
        iou_threshold: Overlap that makes a detection a hit. The paper says 0.5 (Sec. 4.2). "oim" is what the published
            evaluation code of CUHK-SYSU does, kinder to small people: min(0.5, w·h / ((w + 10)(h + 10))) for a
            ground truth of w×h pixels.

    Raises:
        MetricError: A number is not finite, shapes disagree, a gallery names an image without an entry in
            `detections`, or no gallery shows its query's person.
    """
    if iou_threshold != "oim":
        _check_threshold(iou_threshold)
    queries = _embeddings(query_embeddings, "the query embeddings")
    if len(queries) != len(galleries):
        raise MetricError(f"{len(queries)} query embeddings but {len(galleries)} galleries. Pass one gallery a query.")
    index, starts, counts, boxes, embeddings = _flatten(detections, queries.shape[1])
    rows = []
    for q, similarity in _similarities(queries, embeddings):
        gallery = galleries[q]
        try:
            images = np.fromiter((index[name] for name, _ in gallery), np.int64, len(gallery))
        except KeyError as error:
            raise MetricError(
                f"Gallery image {error} of query {q} has no entry in the detections. "
                "Run the pipeline on it, and give images without a detection empty arrays."
            ) from None
        shown = np.array([g for g, (_, box) in enumerate(gallery) if box is not None], np.int64)
        truth = _boxes([gallery[g][1] for g in shown], f"the ground truths of query {q}")
        # All detections of all entries in one row: `columns` says where each lies, `entry` whose it is.
        sizes = counts[images]
        entry = np.repeat(np.arange(len(gallery)), sizes)
        columns = np.arange(len(entry)) + np.repeat(starts[images] - np.cumsum(sizes) + sizes, sizes)
        scores = similarity[columns]
        row_of_entry = np.full(len(gallery), -1)
        row_of_entry[shown] = np.arange(len(shown))
        row = row_of_entry[entry]
        candidates = np.flatnonzero(row >= 0)
        wanted = truth[row[candidates]]
        least = _oim_threshold(wanted) if iou_threshold == "oim" else iou_threshold
        hits = candidates[_paired_iou(boxes[columns[candidates]], wanted) >= least]
        hits = hits[np.argsort(-scores[hits], kind="stable")]
        _, first = np.unique(row[hits], return_index=True)
        rows.append(_rank(scores, scores[hits[first]], len(shown)))
    return _result(rows, "none has a gallery that shows its person")


def evaluate_reid(
    query_embeddings: Array,
    query_identities: Array,
    gallery_embeddings: Array,
    gallery_identities: Array,
    *,
    query_cameras: Array | None = None,
    gallery_cameras: Array | None = None,
) -> RankingResult:
    """Re-identification of crops, the Market-1501 protocol: every query ranks the whole gallery.

    Gallery crops of the query's identity from the query's camera are ignored, neither right nor wrong, and so are
    crops of identity -1 (junk). Without cameras, or where the query's camera is -1, only junk is ignored: leave the
    query's own crop out of the gallery then.

    Args:
        query_embeddings: [Q, d], L2-normalised: similarity is the dot product.
        query_identities: int [Q].
        gallery_embeddings: [G, d], L2-normalised.
        gallery_identities: int [G].
        query_cameras: int [Q], or None.
        gallery_cameras: int [G], or None.

    Raises:
        MetricError: A number is not finite, shapes disagree, only one side has cameras, or no query's identity is in
            what remains of its gallery.
    """
    queries = _embeddings(query_embeddings, "the query embeddings")
    gallery = _embeddings(gallery_embeddings, "the gallery embeddings", queries.shape[1])
    if (query_cameras is None) != (gallery_cameras is None):
        raise MetricError("Only one of query and gallery has cameras. Pass the cameras of both, or of neither.")
    sought = _labels(query_identities, len(queries), "query identities")
    identities = _labels(gallery_identities, len(gallery), "gallery identities")
    seen_by = None if query_cameras is None else _labels(query_cameras, len(queries), "query cameras")
    cameras = None if gallery_cameras is None else _labels(gallery_cameras, len(gallery), "gallery cameras")
    rows = []
    for q, similarity in _similarities(queries, gallery):
        same = identities == sought[q]
        kept = identities != _UNKNOWN
        if seen_by is not None and cameras is not None and seen_by[q] != _UNKNOWN:
            kept &= ~(same & (cameras == seen_by[q]))
        positives = similarity[same & kept]
        rows.append(_rank(similarity[kept], positives, len(positives)))
    return _result(rows, "none has its identity in what remains of the gallery")


def _rank(scores: Array, positives: Array, ground_truths: int) -> tuple[float, int, int, int]:
    """One query's row of a `RankingResult`, from the scores of all results [N] and of its true positives [P]."""
    if not len(positives):
        return 0.0 if ground_truths else float("nan"), 0, 0, ground_truths
    scores, positives = np.sort(scores), np.sort(positives)
    # Precision where each positive is reached, with all that tie with it; each adds 1 / ground_truths of recall.
    results = len(scores) - np.searchsorted(scores, positives, "left")
    correct = len(positives) - np.searchsorted(positives, positives, "left")
    first_rank = int(results[-1] - correct[-1]) + 1
    return float((correct / results).sum() / ground_truths), first_rank, len(positives), ground_truths


def _result(rows: list[tuple[float, int, int, int]], nothing: str) -> RankingResult:
    columns = np.array(rows, np.float64).reshape(-1, 4)
    first_ranks, found, ground_truths = columns[:, 1:].T.astype(np.int64)
    if not ground_truths.any():
        raise MetricError(
            f"Of {len(rows)} queries, {nothing}, so neither mAP nor CMC exists. "
            "Check that queries and galleries are of the same set."
        )
    return RankingResult(columns[:, 0], first_ranks, found, ground_truths)


def _similarities(queries: Array, embeddings: Array) -> Iterator[tuple[int, Array]]:
    """Each query's number and its dot products [M] with all embeddings, computed for a block of queries at a time."""
    block = max(1, _BLOCK // max(1, len(embeddings)))
    for start in range(0, len(queries), block):
        yield from enumerate(queries[start : start + block] @ embeddings.T, start)


def _flatten(
    detections: Mapping[str, tuple[Array, Array]], dim: int
) -> tuple[dict[str, int], NDArray[np.int64], NDArray[np.int64], Array, Array]:
    """All images' detections in one table: number of each image, its first row and count, boxes, embeddings."""
    boxes: list[Array] = [np.zeros((0, 4))]
    embeddings: list[Array] = [np.zeros((0, dim), np.float32)]
    for name, (of_boxes, of_embeddings) in detections.items():
        boxes.append(_boxes(of_boxes, f"the boxes of {name}"))
        if len(of_boxes) != len(of_embeddings):
            raise MetricError(
                f"{name} has {len(of_boxes)} boxes but {len(of_embeddings)} embeddings. Pass one embedding a box."
            )
        if len(of_embeddings):
            embeddings.append(_embeddings(of_embeddings, f"the embeddings of {name}", dim))
    counts = np.array([len(b) for b in boxes[1:]], np.int64)
    index = {name: i for i, name in enumerate(detections)}
    return index, np.cumsum(counts) - counts, counts, np.concatenate(boxes), np.concatenate(embeddings)


def _paired_iou(a: Array, b: Array) -> NDArray[np.float64]:
    """IoU of `a` [N, 4] and `b` [N, 4] row by row, float64 [N]; empty boxes give 0."""
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    intersection = sides[:, 0] * sides[:, 1]
    areas = [np.prod(np.clip(box[:, 2:] - box[:, :2], 0, None), axis=1) for box in (a, b)]
    union = areas[0] + areas[1] - intersection
    iou: NDArray[np.float64] = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return iou


def _oim_threshold(truth: Array) -> Array:
    width, height = (truth[:, 2:] - truth[:, :2]).T
    least: Array = np.minimum(0.5, width * height / ((width + 10) * (height + 10)))
    return least


def _boxes(boxes: object, what: str) -> NDArray[np.float64]:
    """Checked boxes as float64 [N, 4]; anything empty is [0, 4]."""
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise MetricError(f"The shape of {what} is {array.shape}. Boxes are [N, 4], xyxy in pixels.")
    _check_finite(array, what)
    return array


def _embeddings(embeddings: Array, what: str, dim: int | None = None) -> Array:
    """Checked embeddings as float32 [N, d]."""
    array = np.asarray(embeddings, np.float32)
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
        raise MetricError(f"The shape of {what} is {array.shape}. Embeddings are [N, {dim or 'd'}], one row a person.")
    _check_finite(array, what)
    return array


def _labels(labels: Array, count: int, what: str) -> Array:
    array = np.asarray(labels)
    if array.shape != (count,):
        raise MetricError(f"{count} embeddings but {what} of shape {array.shape}. Pass one an embedding.")
    return array


def _check_finite(array: Array, what: str) -> None:
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        raise MetricError(
            f"{len(bad)} of {array.size} numbers in {what} are NaN or infinite, the first in row {bad[0][0]}. "
            "Such results cannot be ranked: look for the network or precision that made them."
        )


def _check_threshold(iou_threshold: object) -> None:
    if not (isinstance(iou_threshold, float | int | np.floating) and 0 < iou_threshold <= 1):
        raise MetricError(f'IoU threshold {iou_threshold!r}: give a number in (0, 1], or, in a search, "oim".')
