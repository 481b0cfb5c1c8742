"""Cases of `SeHead`."""

import numpy as np

from mgts_trt.stages.head import HeadWeights, fused_head
from tests.helpers.operators.case import Case


def _case(name, people, channels, map_hw, hidden, embedding, dtype="float32"):
    rng = np.random.default_rng(channels + people)
    maps = (rng.gamma(0.5, 2, (people, channels, *map_hw)).astype(dtype) for _ in range(2))
    shapes = ((hidden, 2 * channels), (2 * channels, hidden), (embedding, 2 * channels))
    matrices = ((rng.normal(size=shape) / np.sqrt(shape[1]) * 2).astype(np.float32) for shape in shapes)
    names = ("foreground", "original", "squeeze", "excite", "fc")
    return Case(name, dict(zip(names, (*maps, *matrices), strict=True)), tolerance=1e-6)


def _nothing(name, maps, weights):
    names = ("foreground", "original", "squeeze", "excite", "fc")
    return Case(name, dict(zip(names, (maps, maps, *weights), strict=True)))


CASES = [
    *(
        _case(f"{name}, {people} of {dtype}", people, *sizes, dtype)
        for people in (1, 6)
        for dtype in ("float32", "float16")
        for name, sizes in {
            "edge: a chunk lies in both streams": (192, (4, 2), 24, 128),
            "maps of paper, more outputs than threads": (128, (8, 4), 300, 128),
            "nothing divides anything": (7, (3, 3), 5, 12),
            "a large map": (130, (16, 8), 16, 40),
        }.items()
    ),
    _case("as many as a batch has", 64, 48, (4, 2), 6, 16, "float16"),
    _case("one channel of one cell", 3, 1, (1, 1), 1, 1),
    _case("a hidden layer of more than two chunks", 5, 96, (4, 2), 301, 32),
    _nothing(
        "no one is divided by zero",
        np.ones((2, 4, 2, 1), np.float32),
        [np.zeros(shape, np.float32) for shape in ((1, 8), (8, 1), (8, 8))],
    ),
    _nothing(
        "maps of nothing",
        np.zeros((5, 4, 2, 1), np.float16),
        [np.ones(shape, np.float32) for shape in ((1, 8), (8, 1), (8, 8))],
    ),
]


def reference(case: Case) -> np.ndarray:
    """The operator in NumPy."""
    foreground, original, *weights = case.inputs.values()
    return fused_head(foreground, original, HeadWeights(*weights))
