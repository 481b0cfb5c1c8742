"""Who is looked for: photos of one person, and photos of whom it is not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mgts_trt._typing import Floats, Self
from mgts_trt.errors import QueryError
from mgts_trt.gallery.combining import combine
from mgts_trt.gallery.probe import Probe


@dataclass(frozen=True, eq=False)
class Question:
    """What a gallery is asked.

    Attributes:
        probes: float32 [Q, d], of one person, each of length 1; at least one.
        negatives: float32 [M, d], of others who look alike, each of length 1; M may be 0.
        photos: SHA-256 of the files that they are in, whose people are no matches; empty where those may be.

    Raises:
        QueryError: There is no probe.
    """

    probes: Floats
    negatives: Floats
    photos: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not len(self.probes):
            raise QueryError("Nobody is looked for. Name at least one photo of the person.")

    @classmethod
    def of(
        cls, asked: "Probe | Sequence[Probe] | Question", negatives: Sequence[Probe] = (), *, include_own: bool = False
    ) -> Self:
        """From a probe, or several of one person; a question stays as it is.

        Args:
            asked: Whom to find.
            negatives: Who it is not.
            include_own: Whether the people of their photos may be matches, too.
        """
        if isinstance(asked, cls):
            return asked
        probes = [asked] if isinstance(asked, Probe) else list(asked)  # type: ignore[arg-type]
        photos = frozenset() if include_own else frozenset(probe.sha256 for probe in [*probes, *negatives])
        return cls(_stacked(probes), _stacked(negatives), photos)

    @property
    def plain(self) -> bool:
        """Whether it is one probe alone, so that the likeness is the cosine."""
        return len(self.probes) == 1 and not len(self.negatives)

    def likeness(self, candidates: Floats) -> Floats:
        """How much each of [N, d] is like the person, −1 … 1: [N]; see `combine`."""
        return combine(self.probes, self.negatives, candidates)


def _stacked(probes: Sequence[Probe]) -> Floats:
    return np.stack([probe.embedding for probe in probes]) if probes else np.zeros((0, 0), np.float32)
