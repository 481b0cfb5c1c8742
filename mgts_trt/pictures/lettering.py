"""Text on pictures: of one height, whatever OpenCV draws it with, and cut in its middle where it is too long."""

import unicodedata
from functools import cache

import cv2
import numpy as np

from mgts_trt._typing import Image
from mgts_trt.pictures.palette import rgb

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_OUTLINES = hasattr(cv2, "FontFace")
"""OpenCV 5 has a font of outlines that knows other scripts; OpenCV 4 draws strokes and knows ASCII alone."""
_FINER = 4
"""Text is drawn that many times as large and averaged, so that letters stand where they should, not on whole pixels."""
_ELLIPSIS = "..."


def text_width(text: str, height: int) -> int:
    """How many pixels wide a line is whose digits are `height` pixels tall."""
    scale, stroke = _pen(height)
    (width, _), _ = cv2.getTextSize(_known(text), _FONT, scale, stroke)
    return -(-width // _FINER) if text.strip() else 0


def elide(text: str, width: int, height: int) -> str:
    """A line no wider than `width` pixels: where it is too long its middle gives way to three dots.

    Its beginning and its end stay, which tell one file from the next; with no room for the dots, it is empty.
    """
    text = _known(text)
    if text_width(text, height) <= width:
        return text
    low, high = -1, len(text) - 1  # letters kept: `low` fit, `high` are too many
    while high - low > 1:
        kept = (low + high) // 2
        low, high = (kept, high) if text_width(_middle_out(text, kept), height) <= width else (low, kept)
    return _middle_out(text, low) if low >= 0 else ""


def write_text(picture: Image, text: str, left: int, baseline: int, height: int, colour: str) -> None:
    """Write a line on a picture, as far as it lies on it.

    Args:
        picture: uint8 [H, W, 3], RGB; changed.
        text: Where OpenCV knows ASCII alone, accents fall and `?` stands for other letters.
        left: Where the line begins, pixels.
        baseline: What its letters stand on, pixels from the top.
        height: Of digits, pixels.
        colour: `#rrggbb`.
    """
    text = _known(text)
    scale, stroke = _pen(height)
    (width, tall), below = cv2.getTextSize(text, _FONT, scale, stroke)
    margin = 2 * _FINER
    above = -(-(tall + margin) // _FINER)
    rows, columns = above - (-(below + tall // 2 + margin) // _FINER), -(-(width + 2 * margin) // _FINER)
    ink = np.zeros((rows * _FINER, columns * _FINER, 3), np.uint8)
    cv2.putText(ink, text, (margin, above * _FINER), _FONT, scale, (255, 255, 255), stroke, cv2.LINE_AA)
    cover = cv2.resize(ink, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    top, start = baseline - above, left - margin // _FINER
    y, x = max(top, 0), max(start, 0)
    part = picture[y : max(top + rows, 0), x : max(start + columns, 0)]
    cover = cover[y - top :, x - start :][: part.shape[0], : part.shape[1]]
    part[...] = np.rint(part + cover * (np.array(rgb(colour), np.float32) - part)).astype(np.uint8)


@cache
def _pen(height: int) -> tuple[float, int]:
    """OpenCV's scale and thickness for digits of that height, `_FINER` times as large."""
    unit = 10.0
    ink = np.zeros((800, 800), np.uint8)
    cv2.putText(ink, "0", (100, 700), _FONT, unit, 255, 1)
    scale = unit * height * _FINER / np.count_nonzero(ink.any(axis=1))
    return scale, 1 if _OUTLINES else max(1, round(2.2 * scale))


def _middle_out(text: str, kept: int) -> str:
    """So many of the letters, from both ends; of an odd number the end has more."""
    head = kept // 2
    return text[:head] + _ELLIPSIS + text[len(text) - (kept - head) :]


def _known(text: str) -> str:
    """What OpenCV can draw of it, on one line; file names may hold anything."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    if _OUTLINES:
        return line
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", line) if not unicodedata.combining(letter))
    return bare.encode("ascii", "replace").decode()
