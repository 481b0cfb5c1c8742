"""Cases of `PsAssemble`."""

import numpy as np

from tests.helpers.operators.case import Case
from tests.helpers.operators.regions import all_kinds, maps_of, region_kinds

ROUNDING = 1e-4
"""Maps reach 4; GridSample's coordinates from -1 to 1 lose some bits of a position."""


def case(name, maps, boxes, *, bins=3, size=9, stride=16):
    """A case; boxes [R, 4] are those of every picture."""
    boxes = np.asarray(boxes, np.float32)
    if boxes.ndim == 2:
        boxes = np.repeat(boxes[None], len(maps), axis=0)
    return Case(name, {"maps": maps, "boxes": boxes}, {"bins": bins, "size": size, "stride": float(stride)}, ROUNDING)


def _two_pictures():
    kinds = all_kinds(16)
    return case("two pictures", maps_of(2 * 9, pictures=2), np.stack([kinds, kinds[::-1]]))


def _many():
    hw, rng = (38, 63), np.random.default_rng(1)
    corners = np.sort(rng.uniform(0, 1, (300, 2, 2)), axis=1).reshape(300, 4) * ((hw[1] * 16, hw[0] * 16) * 2)
    return case("300 regions of 2 x 21 x 21", maps_of(2 * 49, hw, dtype=np.float16), corners, bins=7, size=21)


CASES = [
    *(case(f"regions {kind}", maps_of(2 * 9), boxes) for kind, boxes in region_kinds(16).items()),
    *(
        case(f"{k} x {k} bins, {m} x {m} cells", maps_of(2 * k * k), all_kinds(16), bins=k, size=m)
        for k, m in ((1, 1), (1, 5), (3, 3), (3, 12), (7, 7), (7, 21), (7, 28))
    ),
    *(case(f"stride {stride}", maps_of(2 * 9), all_kinds(stride), stride=stride) for stride in (4, 8, 16)),
    case("half", maps_of(4 * 9, dtype=np.float16), all_kinds(16)),
    case("one region, one channel", maps_of(9), region_kinds(16)["inside"][:1]),
    _two_pictures(),
    _many(),
    *(case(f"a map of {h} x {w}", maps_of(18, (h, w)), all_kinds(16, (h, w))) for h, w in ((1, 9), (9, 1), (1, 1))),
]

NO_NUMBERS = case(
    "boxes that are no numbers",
    maps_of(9),
    [[np.nan] * 4, [0, 0, np.inf, np.inf], [-np.inf, 0, np.inf, 9], [1e38, -1e38, 1e38, 3e38]],
)
"""What the reference and the kernel make of it is defined, GridSample's answer is not."""
