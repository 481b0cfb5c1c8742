"""Maps, and regions of every kind on them, for the operators that read the ones under the others."""

import numpy as np

MAP_HW = (11, 17)


def maps_of(channels, hw=MAP_HW, *, pictures=1, dtype=np.float32, seed=0):
    """Random maps [B, C, h, w]."""
    return np.random.default_rng(seed).standard_normal((pictures, channels, *hw)).astype(dtype)


def region_kinds(stride, hw=MAP_HW):
    """By what they are like: boxes float32 [R, 4] on maps of `hw` cells, of `stride` pixels each."""
    rng = np.random.default_rng(int(stride))
    height, width = (cells * stride for cells in hw)
    whole = np.array([[0, 0, width, height]])
    inside = np.sort(rng.uniform(0, 1, (9, 2, 2)), axis=1).reshape(9, 4) * (width, height, width, height)
    kinds = {
        "inside": inside,
        "partly outside": inside + rng.choice([-0.6, 0.6], (9, 1)) * (width, height, width, height),
        "wholly outside": whole + np.array([[s * width, t * height] * 2 for s in (-3, 0, 3) for t in (-3, 3)]),
        "no size": inside[:, [0, 1, 0, 1]],
        "no width": inside[:, [0, 1, 0, 3]],
        "inverted": inside[:, [2, 3, 0, 1]],
        "tiny": inside[:, [0, 1, 0, 1]] + (0, 0, 1e-3, 1e-2),
        "on the border": np.array([[0, 0, 0, height], [width, 0, width, height], [0, height, width, height]]),
        "the whole map": whole,
        "far larger than the map": whole * 9 - (4 * width, 4 * height) * 2,
    }
    return {name: boxes.astype(np.float32) for name, boxes in kinds.items()}


def all_kinds(stride, hw=MAP_HW):
    """Those of every kind, float32 [R, 4]."""
    return np.concatenate(list(region_kinds(stride, hw).values()))
