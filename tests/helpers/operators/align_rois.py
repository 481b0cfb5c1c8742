"""Cases of `AlignRois`."""

import numpy as np

from tests.helpers.operators.case import Case
from tests.helpers.operators.regions import all_kinds, maps_of, region_kinds

FLOAT, HALF = 1, 10

ROUNDING = {FLOAT: 1e-4, HALF: 4e-3}
"""By the output's type. Maps reach 4; GridSample's coordinates from -1 to 1 lose some bits of a position, and half
precision has ten bits below the first."""


def case(name, features, boxes, *, size=7, samples=2, stride=16, dtype=FLOAT):
    """A case; boxes [R, 4] are those of every picture."""
    boxes = np.asarray(boxes, np.float32)
    if boxes.ndim == 2:
        boxes = np.repeat(boxes[None], len(features), axis=0)
    attributes = {"size": size, "samples": [samples, samples], "stride": float(stride), "dtype": dtype}
    return Case(name, {"features": features, "boxes": boxes}, attributes, ROUNDING[dtype])


def _two_pictures():
    kinds = all_kinds(16)
    return case("two pictures", maps_of(6, pictures=2), np.stack([kinds, kinds[::-1]]))


def _many():
    hw, rng = (38, 63), np.random.default_rng(1)
    corners = np.sort(rng.uniform(0, 1, (300, 2, 2)), axis=1).reshape(300, 4) * ((hw[1] * 16, hw[0] * 16) * 2)
    return case("300 regions, 64 channels", maps_of(64, hw, dtype=np.float16), corners, dtype=HALF)


CASES = [
    *(case(f"regions {kind}", maps_of(5), boxes) for kind, boxes in region_kinds(16).items()),
    *(
        case(
            f"{size} bins, {samples} samples",
            maps_of(3),
            all_kinds(16)[:: max(1, size // 2)],
            size=size,
            samples=samples,
        )
        for size in (1, 7, 14)
        for samples in (1, 2, 3)
    ),
    *(case(f"2 bins, {n} samples", maps_of(3), all_kinds(16), size=2, samples=n) for n in (3, 4)),
    *(case(f"stride {stride}", maps_of(3), all_kinds(stride), stride=stride) for stride in (4, 8, 16)),
    case("half to half", maps_of(34, dtype=np.float16), all_kinds(16), dtype=HALF),
    case("half to half, 14 bins", maps_of(10, dtype=np.float16), all_kinds(16)[::5], size=14, dtype=HALF),
    case("half to half, odd in channels and bins", maps_of(33, dtype=np.float16), all_kinds(16), size=3, dtype=HALF),
    case("half to float", maps_of(7, dtype=np.float16), all_kinds(16)),
    case("float to half", maps_of(33), all_kinds(16), dtype=HALF),
    case("one region", maps_of(40), region_kinds(16)["inside"][:1]),
    case("one channel, one bin", maps_of(1), all_kinds(16), size=1, dtype=HALF),
    _two_pictures(),
    _many(),
    *(case(f"a map of {h} x {w}", maps_of(3, (h, w)), all_kinds(16, (h, w))) for h, w in ((1, 9), (9, 1), (1, 1))),
]

NO_NUMBERS = case(
    "boxes that are no numbers",
    maps_of(2),
    [[np.nan] * 4, [0, 0, np.inf, np.inf], [-np.inf, 0, np.inf, 9], [1e38, -1e38, 1e38, 3e38]],
)
"""What the reference and the kernel make of it is defined, GridSample's answer is not."""
