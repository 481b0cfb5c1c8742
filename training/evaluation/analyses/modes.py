"""What the mask is worth, and what it costs (Sec. 4.7, Table 6)."""

from dataclasses import dataclass

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.evaluation.metrics import RankingResult, evaluate_search
from mgts_trt.runtime.session.backends import Runtime
from training.evaluation.analyses.search import Search
from training.evaluation.measure import OnStep, describe_search

PAPER: dict[Mode, tuple[float, float]] = {"none": (78.5, 81.7), "net": (89.1, 90.0), "box": (85.1, 86.0)}
"""mAP and top-1 of the paper's Table 6, %."""


@dataclass(frozen=True, eq=False)
class ModeResult:
    """One row of Table 6.

    Attributes:
        ranking: How well the queries ranked their galleries.
        seconds: Of the pipeline on a gallery picture, mean; decoding excluded.
        pictures: How many that is the mean of.
        runtime: What it ran on.
    """

    ranking: RankingResult
    seconds: float
    pictures: int
    runtime: Runtime


def evaluate_mode(bundle: Bundle, search: Search, mode: Mode, *, on_step: OnStep) -> ModeResult:
    """Person search in one mode, and its runtime on the same pictures.

    Args:
        bundle: With the models of the mode.
        search: Whom to search for, and where.
        mode: Of the pipeline.
        on_step: Called after each picture; `training.evaluation.measure.picture_count` says how often.
    """
    described = describe_search(bundle, search.picture, search.queries, mode, on_step=on_step)
    ranking = evaluate_search(described.probes, [query.gallery for query in search.queries], described.detections)
    return ModeResult(ranking, float(described.seconds.mean()), len(described.seconds), described.runtime)
