"""What a detector's scores mean: precision and recall by threshold, which threshold to ship, and calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from mgts_trt.pictures.figures import new_figure
from training.evaluation.detector import Detections
from training.options import Evaluated

SETS = (Evaluated.INRIA_PERSON, Evaluated.NEGATIVES, Evaluated.COCO_PERSON, Evaluated.PENN_FUDAN)
"""Held-out photographs; of the first two a threshold is chosen: people all labelled, and nobody."""

PRECISION, FALSE_PEOPLE = 0.9, 0.05
"""What a threshold is to reach: of ten shown nine are people, and one in twenty pictures without people shows one."""

FAINT = 0.05
"""Score from which detections count for calibration: fainter ones, which nobody ever sees, are most of all and would
decide its error."""

_GRID = np.arange(5, 100) / 100
"""Thresholds to choose from: a manifest's has two decimals."""

_BINS = 10

_SAMPLED = ("shown precision", "shown recall", "false people")


@dataclass(frozen=True, eq=False)
class Calibration:
    """How a score compares with the share of people among the detections that have it (Guo et al., ICML 2017).

    Attributes:
        means: float64 [B], mean score in each bin of equal width that holds any.
        shares: float64 [B], share of people there.
        counts: int64 [B].
    """

    means: NDArray[np.float64]
    shares: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of score and share over all detections."""
        return float(np.average(np.abs(self.means - self.shares), weights=self.counts))


def curve(found: Detections) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Thresholds, falling, and precision and recall of what is shown from each on: float64 [T] each."""
    order = np.argsort(-found.scores, kind="stable")
    scores, right = found.scores[order], np.cumsum(found.people[order])
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.zeros(0, np.int64)
    total = max(found.people_labelled, 1)
    return scores[last], right[last] / (last + 1), right[last] / total


def propose_threshold(
    people: Detections, nobody: Detections, *, precision: float = PRECISION, false_people: float = FALSE_PEOPLE
) -> float | None:
    """The smallest threshold, in hundredths, with this precision and no more false people; None if there is none.

    Args:
        people: In pictures whose people are all labelled.
        nobody: In pictures without people.
        precision: Least share of those shown who are people.
        false_people: Most people shown in a picture without any, in the mean.
    """
    for threshold in _GRID.tolist():
        enough = people.shown(threshold).precision() >= precision
        if enough and nobody.shown(threshold).false_people() <= false_people:
            return float(threshold)
    return None


def tempered(scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Scores whose logits are divided by a temperature: above 1 they are less sure, and in the same order."""
    return np.asarray(1 / (1 + np.exp(-_logits(scores) / temperature)))


def fit_temperature(scores: NDArray[np.float64], people: NDArray[np.bool_]) -> float:
    """The temperature, 0.1 … 10, under which the scores are likeliest to come with these people."""
    logits = _logits(scores)

    def surprise(logarithm: float) -> float:
        scaled = logits / np.exp(logarithm)
        return float(np.logaddexp(0, np.where(people, -scaled, scaled)).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(np.log(0.1), np.log(10)), method="bounded").x))


def calibration(scores: NDArray[np.float64], people: NDArray[np.bool_]) -> Calibration:
    """Scores [D] beside whether each is a person [D], in bins."""
    bins = np.clip((scores * _BINS).astype(np.int64), 0, _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    some = counts > 0
    sums = [np.bincount(bins, weights=values, minlength=_BINS)[some] for values in (scores, people)]
    return Calibration(sums[0] / counts[some], sums[1] / counts[some], counts[some])


def fit_calibration(sets: Sequence[Detections]) -> dict[str, Calibration]:
    """How the scores from `FAINT` on are calibrated in every second picture, as they are, and under a temperature.

    The temperature is fitted on the other pictures. A name tells it. Empty where there is nothing to fit.
    """
    strong = [found.shown(FAINT) for found in sets]
    scores = np.concatenate([found.scores for found in strong])
    people = np.concatenate([found.people for found in strong])
    fitted = np.concatenate([found.pictures for found in strong]) % 2 == 0
    if not fitted.any() or fitted.all():
        return {}
    temperature = fit_temperature(scores[fitted], people[fitted])
    scores, people = scores[~fitted], people[~fitted]
    return {
        "as they are": calibration(scores, people),
        f"at temperature {temperature:.2f}": calibration(tempered(scores, temperature), people),
    }


def sampled_curve(found: Detections) -> list[dict[str, float]]:
    """What is shown from each twentieth on: threshold, precision and recall, or false people; what there is of them."""
    points = []
    for threshold in (np.arange(1, 20) / 20).tolist():
        numbers = found.result(threshold).summary()
        points.append({"threshold": threshold, **{name: numbers[name] for name in _SAMPLED if name in numbers}})
    return points


def draw_scores(
    sets: Mapping[str, Detections],
    threshold: float,
    fits: Mapping[str, Calibration],
    *,
    title: str,
) -> Any:
    """Precision by recall of each set, the shipped threshold marked, beside a reliability diagram.

    Args:
        sets: By name; those without people are left out.
        threshold: The shipped one.
        fits: Calibrations by name.
        title: Of the figure.
    """
    figure = new_figure(9.6, 4.2)
    axes = figure.add_subplot(1, 2, 1, xlabel="recall", ylabel="precision", title=f"● shown, from {threshold:g} on")
    for name, found in sets.items():
        if found.people_labelled:
            _, precision, recall = curve(found)
            (line,) = axes.plot(recall, precision, label=f"{name}, AP {found.average_precision():.3f}")
            shown = found.shown(threshold)
            axes.plot(shown.recall(), shown.precision(), "o", color=line.get_color())
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower left")
    axes = figure.add_subplot(1, 2, 2, xlabel="score", ylabel="share who are people", title="Reliability")
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--")
    for name, fit in fits.items():
        axes.plot(fit.means, fit.shares, marker="o", label=f"{name}: error {fit.error:.3f}")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left")
    figure.suptitle(title, fontsize=10)
    return figure


def _logits(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside) - np.log1p(-inside))
