"""Whether two picture files show the same: re-encoded, scaled, mirrored or cropped a little, as copies often are.

A perceptual hash finds who may be a copy, 63 bits of the lowest frequencies of the discrete cosine transform, as
Zauner's pHash (2010) takes them. People in crops look alike at that scale, so a candidate is then compared by its
details: the normalised correlation of what is left when the picture's blur is taken away.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Floats, Image
from mgts_trt.errors import ImageError
from mgts_trt.pictures.image import read_image

NEAR = 12
"""Most bits of 63 in which the hashes of a copy differ. Measured on 400 photos and crops: JPEG at quality 40, half the
size or a blur changes at most 6, more light at most 10, 6 % less of both sides at most 12 in nine of ten."""

SAME = 0.8
"""Least likeness of a copy's details. Measured: of the same copies all but 1 % of those cropped have it, and among
2 × 49 million pairs of different Market-1501 crops none within `NEAR`, the most alike 0.75."""

_SIDE = 64
"""Rows and columns of a thumbnail: as many as the smallest crops have columns."""

_LOW = 8
"""Rows and columns of the transform that are hashed."""

_MARGIN = 8
"""Rows and columns of a thumbnail that a copy may lack at each edge."""

_BLUR = 3.0
"""Standard deviation of the blur that is taken away, pixels of a thumbnail; by eye, less than a head."""

_SCALES = (1.0, 1.04, 1 / 1.04, 1.08, 1 / 1.08)
"""Of a copy that is cropped: its sides, scaled to `_SIDE`, are that much longer or shorter."""

_FLAT = 2.0
"""Standard deviation of details, grey levels, below which a picture shows nothing to be known by."""


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What pictures are compared by.

    Attributes:
        paths: Their N files.
        thumbnails: uint8 [N, 64, 64], grey.
        hashes: uint64 [N].
        mirrored: uint64 [N], the hashes of the mirrored pictures.
        unread: Files that are no pictures, and why; not among `paths`.
    """

    paths: tuple[Path, ...]
    thumbnails: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    mirrored: NDArray[np.uint64]
    unread: dict[Path, str]


@dataclass(frozen=True)
class Copy:
    """Two files that show the same.

    Attributes:
        one: A file of the first pictures.
        other: A file of the second.
        likeness: Of their details, `SAME` … 1.
        mirrored: One is the other in a mirror.
    """

    one: Path
    other: Path
    likeness: float
    mirrored: bool


def fingerprints(files: Iterable[Path], *, on_step: Callable[[], None] = lambda: None) -> Fingerprints:
    """Read pictures, each once.

    Args:
        files: Pictures. One that cannot be read costs itself alone.
        on_step: Called after each file.
    """
    paths, thumbnails, unread = [], [], {}
    for path in files:
        try:
            thumbnails.append(_thumbnail(read_image(path)))
            paths.append(path)
        except ImageError as error:
            unread[path] = str(error)
        on_step()
    stack = np.array(thumbnails, np.uint8).reshape(-1, _SIDE, _SIDE)
    mirrors = stack[:, :, ::-1]
    return Fingerprints(tuple(paths), stack, _hashes(stack), _hashes(mirrors), unread)


def copies(ones: Fingerprints, others: Fingerprints) -> list[Copy]:
    """Pairs that show the same, the first of each among `ones`; a file is no copy of itself.

    Returns:
        The most alike first.
    """
    found: dict[tuple[Path, Path], Copy] = {}
    for number, path in enumerate(ones.paths):
        for mirrored, hashes in ((False, others.hashes), (True, others.mirrored)):
            near = np.flatnonzero(np.bitwise_count(hashes ^ ones.hashes[number]) <= NEAR)
            for other in near.tolist():
                if others.paths[other] == path:
                    continue
                there = others.thumbnails[other]
                alike = likeness(ones.thumbnails[number], there[:, ::-1] if mirrored else there)
                pair = (path, others.paths[other])
                if alike >= SAME and (pair not in found or alike > found[pair].likeness):
                    found[pair] = Copy(*pair, alike, mirrored)
    return sorted(found.values(), key=lambda copy: (-copy.likeness, copy.one, copy.other))


def likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How much the details of two thumbnails [64, 64] agree, −1 … 1; 0 where one shows none."""
    first, second = _details(one), _details(other)
    middle = first[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    if min(middle.std(), second.std()) < _FLAT:
        return 0.0
    best = -1.0
    for across, down in product(_SCALES, repeat=2):
        size = (round(middle.shape[1] * across), round(middle.shape[0] * down))
        part = cv2.resize(middle, size, interpolation=cv2.INTER_LINEAR)
        best = max(best, float(cv2.matchTemplate(second, part, cv2.TM_CCOEFF_NORMED).max()))
    return best


def _thumbnail(image: Image) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _hashes(thumbnails: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.uint64]:
    """One bit a low frequency: whether there is more of it than of their median. The mean brightness has none."""
    bits = np.zeros((len(thumbnails), _LOW * _LOW), np.bool_)
    for row, thumbnail in enumerate(thumbnails):
        small = cv2.resize(np.ascontiguousarray(thumbnail), (_SIDE // 2, _SIDE // 2), interpolation=cv2.INTER_AREA)
        low = cv2.dct(small.astype(np.float32))[:_LOW, :_LOW].ravel()[1:]
        bits[row, 1:] = low > np.median(low)
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


def _details(thumbnail: NDArray[np.uint8]) -> Floats:
    grey = thumbnail.astype(np.float32)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), _BLUR), np.float32)
