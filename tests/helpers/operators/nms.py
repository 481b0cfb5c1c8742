"""Cases of `Nms`."""

import numpy as np

from mgts_trt._typing import Floats
from mgts_trt.stages.nms import nms
from tests.helpers.operators.case import Case


def _case(name: str, *pictures: object, threshold: float = 0.5, beyond_rounds: bool = False) -> Case:
    boxes = np.array(pictures, np.float32)
    return Case(name, {"boxes": boxes}, {"threshold": threshold}, beyond_rounds=beyond_rounds)


def _crowd(seed: int, count: int, jitter: float = 0.15) -> Floats:
    """Boxes as a network proposes them, in clusters around some objects, and some anywhere."""
    rng = np.random.default_rng(seed)
    objects = rng.uniform(0, 600, (max(1, count // 12), 2))
    size = rng.uniform(20, 200, objects.shape)
    of = rng.integers(0, len(objects), count)
    centre = objects[of] + rng.normal(0, jitter, (count, 2)) * size[of]
    half = size[of] * rng.lognormal(0, jitter, (count, 2)) / 2
    return np.hstack([centre - half, centre + half]).astype(np.float32)


def _chain(count: int, step: float = 4.0) -> Floats:
    """Boxes in a row, each over the next one's: with a step of 4, an IoU of 6 / 14."""
    x = np.arange(count, dtype=np.float32) * step
    return np.stack([x, np.zeros_like(x), x + 10, np.full_like(x, 10)], axis=1)


_ONE = [3, 4, 33, 64]
_TENTHS = [0, 0, 10, 10]


def _tenths(count: int) -> list[float]:
    """A box whose IoU with `_TENTHS` is so many tenths, correctly rounded."""
    return [0, 0, count, 10]


def _at_their_own_iou(seed: int) -> list[Case]:
    """Two boxes at a threshold that is their IoU, and at one a hair below: one rounding left out shows in either."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 300, (2, 2)).astype(np.float32) / 10
    pair = np.hstack([corner, corner + rng.uniform(50, 90, (2, 2)).astype(np.float32)])
    width, height = np.maximum(pair[:, 2:].min(0) - pair[:, :2].max(0), 0)
    areas = (pair[:, 2] - pair[:, 0]) * (pair[:, 3] - pair[:, 1])
    iou = width * height / (areas[0] + areas[1] - width * height)
    below = np.nextafter(iou, np.float32(0))
    return [
        _case(f"pair {seed} at its own IoU stays", pair, threshold=float(iou)),
        _case(f"pair {seed} a hair above the threshold goes", pair, threshold=float(below)),
    ]


CASES = [
    _case("one box", [_ONE]),
    _case("one box without area", [[5, 5, 5, 5]]),
    _case("two alike", [_ONE, _ONE]),
    *(
        _case(f"{count} in a crowd, threshold {threshold}", _crowd(count, count), threshold=threshold)
        for count, threshold in ((2, 0.3), (63, 0.45), (64, 0.7), (65, 0.3), (128, 0.45), (300, 0.7), (777, 0.45))
    ),
    _case("a thousand", _crowd(3, 1000), threshold=0.7),
    _case("six thousand", _crowd(4, 6000), threshold=0.7),
    _case("three pictures of 130", _crowd(5, 130), _crowd(6, 130), np.zeros((130, 4)), threshold=0.45),
    _case("two pictures of 1500", _crowd(7, 1500), _crowd(8, 1500, 0.3), threshold=0.3),
    _case("all alike", np.tile(np.array(_ONE, np.float32), (200, 1))),
    _case("each twice", np.repeat(_crowd(9, 100), 2, axis=0)),
    _case("none overlap", np.add.outer(np.arange(150) * 20, np.array(_TENTHS))),
    _case("a chain of 30", _chain(30), threshold=0.3),
    _case("a chain of 200", _chain(200), threshold=0.3, beyond_rounds=True),
    _case("a dense chain of 3000", _chain(3000, 0.5), threshold=0.7, beyond_rounds=True),
    _case("a chain across pictures", _chain(90), _chain(90)[::-1], threshold=0.3, beyond_rounds=True),
    _case("padding after the boxes", np.vstack([_crowd(10, 100), np.zeros((92, 4))])),
    _case("nothing but padding", np.zeros((70, 4))),
    _case("without area among others", [_ONE, [10, 10, 10, 40], [10, 10, 30, 10], _ONE, [10, 10, 10, 40]]),
    _case("inside out", [_ONE, [33, 64, 3, 4], [33, 4, 3, 64], [33, 64, 3, 4]], threshold=0.3),
    *(
        _case(f"an IoU of just {count} tenths stays", [_TENTHS, _tenths(count)], threshold=count / 10)
        for count in (3, 5, 7)
    ),
    _case("an IoU of just 0.45 stays", [[0, 0, 20, 1], [0, 0, 9, 1]], threshold=0.45),
    *(
        _case(
            f"an IoU a hair above {count} tenths goes", [_TENTHS, _tenths(count)],
            threshold=float(np.nextafter(np.float32(count / 10), np.float32(0))),
        )
        for count in (3, 5, 7)
    ),
    *(case for seed in range(12) for case in _at_their_own_iou(seed)),
    _case("threshold 0", [_TENTHS, [9, 9, 20, 20], [10, 0, 20, 9]], threshold=0.0),
    _case("threshold 1", [_TENTHS, _TENTHS, _tenths(9)], threshold=1.0),
    _case("of huge coordinates", _crowd(11, 90) * np.float32(1e15), threshold=0.45),
    _case("too large for an area", _crowd(12, 90) * np.float32(1e19), threshold=0.45),
    _case("of tiny coordinates", _crowd(13, 90) * np.float32(1e-20), threshold=0.45),
    _case("far from the origin", _crowd(14, 200) + np.float32(1 << 20), threshold=0.45),
]  # fmt: skip


def reference(case: Case) -> Floats:
    """The operator in NumPy."""
    return nms(case.inputs["boxes"], case.attributes["threshold"])
