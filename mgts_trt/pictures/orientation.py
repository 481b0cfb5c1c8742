"""How a picture file says it is to be turned: EXIF in JPEG, PNG and WebP, properties of the item in AVIF."""

from typing import Literal, cast

import cv2

from mgts_trt._typing import Array, Image
from mgts_trt.pictures.containers import (
    JPEG,
    JPEG_SCAN,
    PNG,
    avif_properties,
    is_avif,
    is_webp,
    jpeg_segments,
    png_chunks,
    webp_chunks,
)

Orientation = Literal[1, 2, 3, 4, 5, 6, 7, 8]
"""EXIF's numbers: where the first row and column of what is stored belong. 1 is upright, 6 a phone held upright."""

_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106
_SEPARATED = 5  # TIFF's word for inks, CMYK

# What AVIF does to a picture: quarter turns anticlockwise, then nothing, a flip top to bottom, or one left to right.
_TURNED_AND_FLIPPED: dict[tuple[int, int | None], Orientation] = {
    (0, None): 1,
    (1, None): 8,
    (2, None): 3,
    (3, None): 6,
    (0, 0): 4,
    (1, 0): 5,
    (2, 0): 2,
    (3, 0): 7,
    (0, 1): 2,
    (1, 1): 7,
    (2, 1): 4,
    (3, 1): 5,
}


def stored_orientation(data: bytes) -> Orientation:
    """How the pixels OpenCV gives of a picture file lie, when it is told to leave the orientation alone.

    A TIFF is upright: OpenCV turns it, whatever it is told. An AVIF's EXIF does not count, as its standard has it
    (ISO/IEC 23008-12, 6.5.10 and 6.5.12).

    Args:
        data: The file's content; damaged or in no format that tells, it is taken as upright.
    """
    if data.startswith(JPEG):
        return _exif_orientation(_jpeg_exif(data))
    if data.startswith(PNG):
        return _exif_orientation(next((data[a:b] for kind, a, b in png_chunks(data) if kind == b"eXIf"), b""))
    if is_webp(data):
        exif = next((data[a:b] for kind, a, b in webp_chunks(data) if kind == b"EXIF"), b"")
        return _exif_orientation(exif.removeprefix(b"Exif\0\0"))
    if is_avif(data):
        return _avif_orientation(data)
    return 1


def upright(image: Image, orientation: Orientation) -> Image:
    """Turn what is stored the way it is to be seen.

    Args:
        image: uint8 [H, W, 3].
        orientation: Of `image`.

    Returns:
        uint8 [H, W, 3], or [W, H, 3] for orientations 5 to 8; `image` itself where it is upright.
    """
    turned: Array = image
    if orientation in (5, 6, 7, 8):
        turned = cv2.transpose(turned)
    # cv2.flip: 0 swaps rows, 1 columns, -1 both.
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    if flip is not None:
        turned = cv2.flip(turned, flip)
    return cast(Image, turned)


def is_cmyk_tiff(data: bytes) -> bool:
    """Whether a file is a TIFF of four inks, whose fourth channel is no transparency."""
    return _tiff_tag(data, _PHOTOMETRIC) == _SEPARATED


def _jpeg_exif(data: bytes) -> bytes:
    for kind, start, end in jpeg_segments(data):
        if kind[0] == JPEG_SCAN:
            break
        if kind == b"\xe1" and data.startswith(b"Exif\0\0", start):
            return data[start + 6 : end]
    return b""


def _exif_orientation(exif: bytes) -> Orientation:
    value = _tiff_tag(exif, _ORIENTATION)
    return cast(Orientation, value) if value in range(1, 9) else 1


def _tiff_tag(data: bytes, tag: int) -> int | None:
    """A whole number of a TIFF's first directory; None if it has none, or 64-bit offsets."""
    order: Literal["little", "big"]
    if data.startswith(b"II*\0"):
        order = "little"
    elif data.startswith(b"MM\0*"):
        order = "big"
    else:
        return None

    def number(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], order)

    directory = number(4, 4)
    for entry in range(directory + 2, min(directory + 2 + 12 * number(directory, 2), len(data)), 12):
        if number(entry, 2) == tag:
            return number(entry + 8, 4 if number(entry + 2, 2) == 4 else 2)
    return None


def _avif_orientation(data: bytes) -> Orientation:
    """The properties `irot` and `imir` of the primary item."""
    turns, flip = 0, None
    for kind, start, _ in avif_properties(data):
        if kind == b"irot":
            turns = data[start] & 3
        elif kind == b"imir":
            flip = data[start] & 1
    return _TURNED_AND_FLIPPED[turns, flip]
