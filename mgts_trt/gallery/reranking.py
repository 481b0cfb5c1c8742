"""k-reciprocal re-ranking: who has the same neighbours as the probe comes first (Zhong et al., CVPR 2017)."""

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Floats

FIRST = 100
"""So many of a ranking are ranked again."""
NEIGHBOURS, EXPANSION, WEIGHT = 6, 2, 0.5
"""k1, k2 and λ. The paper's 20, 6 and 0.3 are for galleries that hold everybody's many frames; of sightings there are
few a person, and the paper's find less than no re-ranking (docs/gallery.md)."""


def rerank(
    probe: Floats,
    candidates: Floats,
    likeness: Floats | None = None,
    *,
    first: int = FIRST,
    neighbours: int = NEIGHBOURS,
    expansion: int = EXPANSION,
    weight: float = WEIGHT,
) -> NDArray[np.int64]:
    """A new order of a ranking: its first people by their neighbours among each other, then the rest as before.

    Neighbours are looked for among the probe and the first people alone, not in the whole gallery.

    Args:
        probe: [d], of length 1; of several probes the mean, or [Q, d].
        candidates: [N, d], each of length 1.
        likeness: [N], of each candidate, as `combine` gives it; by default the cosine.
        first: How many to rank anew.
        neighbours: k1: two who are among each other's so many nearest are reciprocal neighbours.
        expansion: k2: over so many nearest ones neighbourhoods are averaged; 1 leaves it out.
        weight: λ, 0 … 1, of the distance itself beside that of neighbourhoods.

    Returns:
        int64 [N], places of the candidates, best first: a permutation.
    """
    centre = np.atleast_2d(probe).mean(axis=0)
    centre = centre / max(float(np.linalg.norm(centre)), 1e-12)
    if likeness is None:
        likeness = candidates @ centre
    order = np.argsort(-likeness, kind="stable").astype(np.int64)
    top = order[:first]
    if len(top) < 2:
        return order
    people = np.concatenate([centre[None], candidates[top]])
    distances = np.maximum(2 - 2 * (people @ people.T), 0)
    distances[0, 1:] = distances[1:, 0] = np.maximum(2 - 2 * likeness[top], 0)
    np.fill_diagonal(distances, 0)
    distances = distances / np.maximum(distances.max(axis=1, keepdims=True), 1e-12)
    jaccard = _jaccard(_neighbourhoods(distances, neighbours, expansion))
    final = (1 - weight) * jaccard + weight * distances[0, 1:]
    return np.concatenate([top[np.argsort(final, kind="stable")], order[first:]])


def _neighbourhoods(distances: Array, k1: int, k2: int) -> Array:
    """How much each of P people belongs to the neighbourhood of each: [P, P], rows that sum to 1 (Eq. 7 and 11)."""
    order = np.argsort(distances, axis=1, kind="stable")
    wide, narrow = _reciprocal(order, k1), _reciprocal(order, round(k1 / 2))
    members = wide.copy()
    for person, row in enumerate(wide):
        for neighbour in np.flatnonzero(row):
            theirs = narrow[neighbour]
            # Eq. 5: a neighbour's own neighbours are taken in where two thirds of them are there already.
            if (theirs & row).sum() > 2 / 3 * theirs.sum():
                members[person] |= theirs
    weights = np.where(members, np.exp(-distances), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights[order[:, :k2]].mean(axis=1) if k2 > 1 else weights)


def _reciprocal(order: Array, k: int) -> NDArray[np.bool_]:
    """Whether each two of P people are among the k nearest of one another, [P, P]; everyone is their own neighbour."""
    near = np.zeros(order.shape, np.bool_)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    np.fill_diagonal(near, True)
    return near & near.T


def _jaccard(weights: Array) -> Array:
    """Jaccard distance of the first's neighbourhood and each other's, [P − 1] (Eq. 10)."""
    least = np.minimum(weights[0], weights[1:]).sum(axis=1)
    return np.asarray(1 - least / np.maximum(2 - least, 1e-12))
