"""What a cosine means: how many pairs of different people look at least that much alike to a re-ID network.

A bundle whose manifest has the field `likeness` is calibrated: `python -m training calibrate` compares people that were
held out of training, each pair seen by two cameras, and keeps the curve.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Self
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import LIKENESS_POINTS, FalseMatches
from mgts_trt.choices import Mode
from mgts_trt.errors import MetricError, QueryError
from mgts_trt.machine.installation import in_checkout
from mgts_trt.runtime.modes import MODELS_OF_MODE

LEAST_ERRORS = 30
"""Pairs above a cosine from which their share is known: to ±30 % with 90 % confidence (Doddington's rule of 30)."""

_DIGITS = 6
"""Of a cosine that is kept: as many as float32 tells."""
_ROWS = 1024
"""Embeddings compared with all others at a time."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """The false-accept rate (FAR) of each cosine: the share of pairs of different people at or above it.

    Of one person alone compared with one other. Whoever looks for a person among N others meets one of them, by
    chance, about N times as often.

    Attributes:
        cosines: float64 [P], rising.
        rates: float64 [P], their FAR, falling from 1.
        pairs: Of different people that were compared.
        people: In them.
        sets: The sets they are of.
    """

    cosines: NDArray[np.float64]
    rates: NDArray[np.float64]
    pairs: int
    people: int
    sets: str

    @classmethod
    def of(cls, bundle: Bundle, mode: Mode) -> Self | None:
        """The curve of a bundle in a mode; None where it is not calibrated, or was with another network."""
        told, model = bundle.manifest.likeness.get(mode), bundle.manifest.models.get(MODELS_OF_MODE[mode][-1])
        if told is None or model is None or told.network != model.weights:
            return None
        return cls(np.array(told.cosines), np.array(told.far), told.pairs, told.people, told.of)

    @property
    def least(self) -> float:
        """The smallest FAR that the pairs tell."""
        return float(self.rates[-1])

    def far(self, cosine: float) -> float:
        """The FAR of a cosine, `least` … 1; `least` also stands for all that is below it.

        Between two points of the curve the FAR's logarithm is a straight line.
        """
        return float(np.exp(np.interp(cosine, self.cosines, np.log(self.rates))))

    def cosine(self, far: float) -> float:
        """The least cosine whose FAR is at most `far`.

        Raises:
            QueryError: The pairs are too few for so small a FAR, or it is none: 0 < `far` ≤ 1.
        """
        if not 0 < far <= 1:
            raise QueryError(f"A false-match rate of {far:g} is asked for. Ask for more than 0 and at most 1, as 1e-3.")
        if far < self.least:
            raise QueryError(
                f"A false-match rate of {far:g} is asked for, but this bundle was calibrated on {self.pairs:,} pairs "
                f"of different people, which tell {self.least:.3g} at best. Ask for that or more."
            )
        return float(np.interp(-np.log(far), -np.log(self.rates), self.cosines))


def least_cosine(likeness: Likeness | None, far: float, mode: Mode) -> float:
    """The cosine from which on a match has a FAR of at most `far`.

    Raises:
        QueryError: The bundle is not calibrated in this mode (`likeness` is None); or see `Likeness.cosine`.
    """
    if likeness is None:
        raise QueryError(
            f"A false-match rate of {far:g} is asked for, but this bundle is not calibrated in mode {mode}: nobody has "
            "counted how often other people look so alike. "
            f"Run {in_checkout('`python -m training calibrate`')}, or ask without it."
        )
    return likeness.cosine(far)


@dataclass(frozen=True, eq=False)
class Crops:
    """Labelled people of one set.

    Attributes:
        name: The set's.
        embeddings: float32 [N, d], of length 1.
        identities: int64 [N]; below 0 where unknown.
        cameras: int64 [N].
    """

    name: str
    embeddings: Array
    identities: Array
    cameras: Array


def false_matches(sets: Sequence[Crops], network: str) -> FalseMatches:
    """The curve of all pairs of two people of one set whom two cameras saw; each pair counts the same.

    Two people of different sets are no pair: places, light and cameras alone would tell them apart.

    Args:
        sets: At least one.
        network: SHA-256 of what made the embeddings: `Model.weights`.

    Raises:
        MetricError: An embedding is not finite, or there are fewer pairs than a curve takes.
    """
    cosines, people, names = [np.zeros(0, np.float32)], 0, list[str]()
    for crops in sets:
        if not np.isfinite(crops.embeddings).all():
            raise MetricError(f"An embedding of {crops.name} is not finite: the network cannot be calibrated.")
        of_set = np.concatenate([np.zeros(0, np.float32), *_different(crops)])
        if len(of_set):
            cosines.append(of_set)
            names.append(crops.name)
            people += len(np.unique(crops.identities[crops.identities >= 0]))
    points, far, pairs = _curve(np.sort(np.concatenate(cosines)).astype(np.float64))
    return FalseMatches(cosines=points, far=far, pairs=pairs, people=people, of=", ".join(names), network=network)


def _different(crops: Crops) -> Iterator[Array]:
    """The cosines of all pairs of different people and cameras, each pair once, in parts."""
    known = crops.identities >= 0
    embeddings, identities, cameras = crops.embeddings[known], crops.identities[known], crops.cameras[known]
    places = np.arange(len(embeddings))
    for first in range(0, len(embeddings), _ROWS):
        rows = slice(first, first + _ROWS)
        wanted = identities[rows, None] != identities[None]
        wanted &= cameras[rows, None] != cameras[None]
        wanted &= places[rows, None] < places[None]
        yield (embeddings[rows] @ embeddings.T)[wanted]


def _curve(cosines: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Points of the shares at or above, as evenly spread in the share's logarithm as the cosines, sorted, allow."""
    pairs = len(cosines)
    if pairs <= LEAST_ERRORS:
        raise MetricError(
            f"There are {pairs} pairs of different people seen by different cameras; a false-match rate takes more "
            f"than {LEAST_ERRORS}. Calibrate on more people."
        )
    left = np.geomspace(pairs, LEAST_ERRORS, LIKENESS_POINTS).round().astype(np.int64)
    # Rounded down, so that no more pairs lie at or above a point than its share says.
    points = np.unique(np.floor(cosines[pairs - left] * 10**_DIGITS) / 10**_DIGITS)
    above = pairs - np.searchsorted(cosines, points)
    _, last = np.unique(above[::-1], return_index=True)
    kept = np.sort(len(points) - 1 - last)
    if len(kept) < 2:
        raise MetricError("All pairs of different people have the same cosine: the network tells nobody apart.")
    return tuple(points[kept].tolist()), tuple((above[kept] / pairs).tolist()), pairs
