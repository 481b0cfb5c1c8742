"""A ranking as a picture: the probe, and its matches in order (Fig. 7)."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mgts_trt._typing import Image
from mgts_trt.gallery.match import Match
from mgts_trt.gallery.probe import Probe
from mgts_trt.pictures.grid import Card, picture_grid
from mgts_trt.pictures.palette import SUNKEN, rgb

CROP_HW = (192, 160)
"""What a picture on a ranking sheet fits into, pixels."""

_GAP = 2
"""Between the crops of a sighting."""


def ranking_sheet(
    probe: Probe | Sequence[Probe],
    matches: Sequence[Match],
    *,
    negatives: Sequence[Probe] = (),
    columns: int = 6,
    ranked: bool = True,
) -> Image:
    """The probe or probes, then their matches as a picture: uint8 [H, W, 3], RGB (Fig. 7).

    Below each match stand its rank and similarity, also as a bar from 0 to 1; the source's name; the camera or, where
    none is known, the folder; and the time where it is known, of a sighting from when to when. A sighting shows up to
    three crops. Probes have a frame and a tag, and so have those whom it is not. Of matches
    that are not `ranked`, since nobody was looked for, neither rank nor similarity is told.
    """
    probes = [probe] if isinstance(probe, Probe) else probe
    cards = [
        Card(_shown(each.crop), [_name(str(each.source))], _folder(str(each.source)), tag=tag)
        for tag, asked in (("probe", probes), ("not", negatives))
        for each in asked
    ]
    for place, match in enumerate(matches, 1):
        notes = [f"camera {match.camera}"] if match.camera else _folder(match.source)
        cards.append(
            Card(
                _beside(_shown(match.crop), match.more),
                [*([(f"#{place}", f"similarity {match.likeness:.3f}")] if ranked else []), _name(match.source)],
                [*notes, match.time] if match.time else notes,
                bar=match.likeness if ranked else None,
            )
        )
    return picture_grid(cards, columns=columns)


def _name(source: str) -> str:
    """Of a file its name, of a URL what follows the scheme."""
    return source.partition("://")[2] or Path(source).name


def _folder(source: str) -> list[str]:
    """What a file's folder is called, where it has a name."""
    name = "" if "://" in source else Path(source).parent.name
    return [f"in {name}"] if name else []


def _beside(picture: Image, more: Sequence[Image]) -> Image:
    """A picture with smaller ones in a column at its right."""
    if not more:
        return picture
    height = CROP_HW[0] // max(2, len(more))
    small = [_shown(each, (height, CROP_HW[1] - min(picture.shape[1], CROP_HW[1] * 2 // 3))) for each in more]
    width = max(each.shape[1] for each in small)
    canvas = np.empty((max(picture.shape[0], height * len(small)), picture.shape[1] + _GAP + width, 3), np.uint8)
    canvas[:] = rgb(SUNKEN)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    for number, each in enumerate(small):
        canvas[number * height : number * height + each.shape[0], -width:][:, : each.shape[1]] = each
    return canvas


def _shown(picture: Image | None, within: tuple[int, int] = CROP_HW) -> Image:
    """As large as fits, in its own proportions; grey where a gallery has no picture of a person."""
    if picture is None:
        return np.full((CROP_HW[0], CROP_HW[0] // 2, 3), rgb(SUNKEN), np.uint8)
    height, width = picture.shape[:2]
    scale = min(within[0] / height, within[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
