"""A ranking as a picture: the probe, and its matches in order (Fig. 7)."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mgts_trt._typing import Image
from mgts_trt.gallery.probe import Probe
from mgts_trt.gallery.ranking import Match

CROP_HEIGHT = 192
"""Of the pictures on a ranking sheet, pixels."""
_NOT_KEPT: Image = np.full((CROP_HEIGHT, CROP_HEIGHT // 2, 3), 225, np.uint8)
"""Where a gallery has no picture of a person."""


def ranking_sheet(probe: Probe, matches: Sequence[Match], *, columns: int = 6) -> Image:
    """The probe, then its matches as a picture: uint8 [H, W, 3], RGB (Fig. 7).

    Below each match stand rank and likeness, the source's name, and camera and time where they are known.
    """
    from mgts_trt.pictures.draw import picture_grid

    cells = [(_shown(probe.crop), ["probe", probe.source.name])]
    for place, match in enumerate(matches, 1):
        seen = " ".join(part for part in (match.camera and f"camera {match.camera}", match.time) if part)
        lines = [f"{place}   {match.likeness:.3f}", Path(match.source).name, *([seen] if seen else [])]
        cells.append((_shown(_NOT_KEPT if match.crop is None else match.crop), lines))
    ascii_cells = [(shown, [line.encode("ascii", "replace").decode() for line in lines]) for shown, lines in cells]
    return picture_grid(ascii_cells, columns=columns)


def _shown(picture: Image) -> Image:
    scale = CROP_HEIGHT / picture.shape[0]
    width = int(np.clip(round(picture.shape[1] * scale), 8, 2 * CROP_HEIGHT))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, CROP_HEIGHT), interpolation=how), np.uint8)
