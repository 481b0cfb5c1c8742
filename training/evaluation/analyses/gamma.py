"""How much context around the box helps (Sec. 4.6, Table 5)."""

from collections.abc import Callable, Sequence

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.evaluation.metrics import RankingResult
from training.data.scene import Scenes
from training.evaluation.measure import OnStep, reid

PAPER = {
    1.0: (85.6, 86.6),
    1.1: (85.4, 86.2),
    1.2: (88.9, 89.8),
    1.3: (89.1, 90.0),
    1.4: (87.8, 88.2),
    1.5: (87.1, 87.8),
}
"""mAP and top-1 of the paper's Table 5, %."""


def evaluate_gammas(
    bundle: Bundle, scenes: Scenes, mode: Mode, gammas: Sequence[float], *, begin: Callable[[float], OnStep]
) -> dict[float, RankingResult]:
    """Re-ID on ground-truth boxes with several expand ratios, of networks that were trained with one.

    Args:
        bundle: With the re-ID network of the mode.
        scenes: Whole pictures; a crop has nothing around it.
        mode: `net` or `box`; `none` never expands.
        gammas: Ratios of at least 1.
        begin: Called with each ratio; what it returns is called after each scene.

    Returns:
        By ratio.
    """
    return {gamma: reid(bundle, scenes, mode, gamma=gamma, on_step=begin(gamma)) for gamma in gammas}
