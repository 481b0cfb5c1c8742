"""Several photos of one person, and photos of who it is not, made into one likeness a candidate.

What combines best was measured on people held out of training (`benchmarks/asking_quality.py`, docs/gallery.md).
"""

from typing import Literal

import numpy as np

from mgts_trt._typing import Array, Floats
from mgts_trt.errors import QueryError

Method = Literal["mean", "max", "rank"]
METHODS: tuple[Method, ...] = ("mean", "max", "rank")

NEGATIVE_WEIGHT = 0.2
"""Of what a candidate is more alike to a negative than to the probes. From 0.1 to 0.3 nearly the same is found."""

_RANK_OFFSET = 60
"""Of reciprocal rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009)."""


def combine(
    probes: Floats,
    negatives: Floats,
    candidates: Floats,
    *,
    method: Method = "mean",
    negative_weight: float = NEGATIVE_WEIGHT,
) -> Floats:
    """How much each candidate is like the person whom all probes show, and like none of the negatives.

    Whoever is more like a negative than like the probes loses a share of the difference; all others keep their
    likeness. With one probe and no negative it is the cosine; with `mean`, several give the mean of their cosines.

    Args:
        probes: [Q, d], of one person, each of length 1; at least one.
        negatives: [M, d], of other people, each of length 1; M may be 0.
        candidates: [N, d], each of length 1. Who is on a negative's own photo is for the caller to leave out.
        method: `mean` or `max` of the probes' cosines, or `rank`: reciprocal rank fusion, where 1 is first for each.
            Ranks are among these candidates, and comparable with nothing else.
        negative_weight: Of the difference, 0 … 1.

    Returns:
        float32 [N], at most 1; greater is more alike.

    Raises:
        QueryError: There is no probe, or embeddings differ in length.
    """
    if not len(probes):
        raise QueryError("There are photos of whom it is not, but none of whom to look for. Name at least one probe.")
    lengths = {array.shape[-1] for array in (probes, negatives, candidates) if len(array)}
    if len(lengths) > 1:
        raise QueryError(
            f"Embeddings of {' and '.join(map(str, sorted(lengths)))} numbers cannot be compared. Make all of "
            "them with one bundle and mode."
        )
    if not len(candidates):
        return np.zeros(0, np.float32)
    likeness = _alike(probes @ candidates.T, method)
    if len(negatives):
        others = (negatives @ candidates.T).max(axis=0)
        # Of ranks there is no difference from a cosine; the probes' mean stands for them.
        wrong = others - (likeness if method != "rank" else (probes @ candidates.T).mean(axis=0))
        likeness = likeness - negative_weight * np.maximum(wrong, 0)
    return likeness.astype(np.float32)


def _alike(cosines: Array, method: Method) -> Array:
    """[N] of the probes' cosines [Q, N]."""
    if method == "mean":
        return np.asarray(cosines.mean(axis=0))
    if method == "max":
        return np.asarray(cosines.max(axis=0))
    ranks = (-cosines).argsort(axis=1, kind="stable").argsort(axis=1)
    return np.asarray((_RANK_OFFSET / (_RANK_OFFSET + ranks)).mean(axis=0))
