"""From a picture file's content to its pixels."""

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from mgts_trt._typing import Array, Image
from mgts_trt.errors import ImageError
from mgts_trt.pictures.containers import (
    BMP,
    JPEG,
    JPEG_END,
    PNG,
    avif_properties,
    is_avif,
    jpeg_header_is_whole,
    jpeg_segments,
    jpeg_size,
    jpeg_without_extras,
    png_chunks,
    png_without_extras,
)
from mgts_trt.pictures.orientation import is_cmyk_tiff, stored_orientation, upright

_MOST_PIXELS = 1 << 30
"""OpenCV's own bound, which it checks before it takes memory; others do not."""

_UNNAMED = "Could not determine"
"""What TurboJPEG says of a subsampling it has no name for, which libjpeg itself decodes."""


class Decoded(NamedTuple):
    """A picture file's pixels, and what became of them.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright.
        damage: A sentence, if the file is damaged and its pixels are what a decoder made of the rest; else None.
    """

    pixels: Image
    damage: str | None


def decode_image(data: bytes, name: str | Path) -> Image:
    """Decode a picture file's content, damaged or not; see `decode_picture`.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ImageError: It is cut short, too large, not 8- or 16-bit, or not a picture.
    """
    return decode_picture(data, name).pixels


def decode_picture(data: bytes, name: str | Path) -> Decoded:
    """Decode a picture file's content, which is not empty, and say if it is damaged; see `read_image`.

    Args:
        data: The content.
        name: What errors call it.

    Raises:
        ImageError: It is cut short, too large, not 8- or 16-bit, or not a picture.
    """
    path = str(name)
    _check_complete(path, data)
    rgb, warning = _decode_jpeg(path, data) if data.startswith(JPEG) else (None, None)
    if rgb is None:
        rgb = _as_rgb(path, _decode_any(path, png_without_extras(data) if data.startswith(PNG) else data))
    damage = None
    if warning:
        damage = f"{path} is damaged, and part of what it shows may be missing or wrong: {warning}."
    return Decoded(upright(rgb, stored_orientation(data)), damage)


def _decode_jpeg(path: str, data: bytes) -> tuple[Image | None, str | None]:
    """The pixels as they are stored, and what libjpeg warns of; no pixels where it must be left to OpenCV.

    simplejpeg and OpenCV give the same pixels, both through libjpeg-turbo, but OpenCV lets it print its warnings, says
    nothing of them, and takes what was filled in for the picture.
    """
    height, width = jpeg_size(data)
    if height * width > _MOST_PIXELS:
        return None, None
    try:
        return simplejpeg.decode_jpeg(data), None
    except ValueError as error:
        warning = fault = str(error)
    for attempt in (data, jpeg_without_extras(data)):
        try:
            return simplejpeg.decode_jpeg(attempt, strict=False), warning
        except ValueError as error:
            fault = str(error)
    if _UNNAMED in fault and jpeg_header_is_whole(data):
        return None, None
    raise ImageError(
        f"{path} is a JPEG that cannot be decoded: {fault} ({len(data)} bytes). Fetch or copy it again, or save it "
        "anew as JPEG or PNG."
    )


def _as_rgb(path: str, pixels: Array) -> Image:
    """From [H, W, 3], BGR, of whatever depth, to 8 bits and RGB."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{path} stores {pixels.dtype} pixels, but 8 or 16 bits a channel are expected. "
            "Tone-map it and save it as an 8-bit JPEG or PNG."
        )
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _check_complete(path: str, data: bytes) -> None:
    """Refuse a JPEG or PNG that is cut short: some versions of OpenCV return such a picture half grey."""
    if data.startswith(PNG) and (unknown := next((kind for kind, _, _ in png_chunks(data) if _is_foreign(kind)), b"")):
        raise ImageError(
            f"{path} is no ordinary PNG: it cannot be decoded without its chunk {unknown.decode('latin-1')!r}. "
            "Save it anew as JPEG or PNG."
        )
    if data.startswith(JPEG) and not any(kind[0] == JPEG_END for kind, _, _ in jpeg_segments(data)):
        fault = "its JPEG end marker is missing"
    elif data.startswith(PNG) and not _png_is_whole(data):
        fault = "a PNG chunk is missing or does not match its checksum"
    else:
        return
    raise ImageError(f"{path} is cut short or damaged: {fault} ({len(data)} bytes). Fetch or copy it again.")


def _is_foreign(kind: bytes) -> bool:
    """Whether a PNG's chunk must be understood, and is not of the standard."""
    return kind[:1].isupper() and kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def _png_is_whole(data: bytes) -> bool:
    """Whether every chunk up to IEND is there with the checksum it states."""
    chunks = list(png_chunks(data))
    checked = all(zlib.crc32(data[a - 4 : b]) == int.from_bytes(data[b : b + 4], "big") for _, a, b in chunks)
    return checked and bool(chunks) and chunks[-1].kind == b"IEND"


def _decode_any(path: str, data: bytes) -> Array:
    """[H, W, 3], BGR, over white where it is transparent, of whatever depth it has and as it is stored."""
    if _may_have_alpha(data):
        raw = _decode(path, data, cv2.IMREAD_UNCHANGED)
        if raw.ndim == 3 and raw.shape[2] == 4:
            return _over_white(_avif_as_8_bits(raw, data))
    pixels = _decode(path, data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    return _avif_as_8_bits(pixels, data)


def _avif_as_8_bits(pixels: Array, data: bytes) -> Array:
    """Pixels of an AVIF of 10 or 12 bits, which OpenCV gives as they are, in 8; all others as they are."""
    if pixels.dtype != np.uint16 or not is_avif(data):
        return pixels
    # AV1CodecConfigurationRecord: tier, more than 8 bits, 12 bits are the third byte's first bits.
    configured = b"".join(data[start + 2 : start + 3] for kind, start, _ in avif_properties(data) if kind == b"av1C")
    top = 4095 if any(byte & 0x20 for byte in configured) else 1023
    return cv2.convertScaleAbs(pixels, alpha=255 / top)


def _decode(path: str, data: bytes, flags: int) -> Array:
    """The pixels, in BGR order, of whatever depth and channels `flags` ask for."""
    pixels: Array | None = None
    try:
        with silent_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            raise ImageError(
                f"{path} is too large: OpenCV reads at most 2^20 pixels a side and 2^30 in all. Scale it down first."
            ) from error
        raise ImageError(f"OpenCV cannot decode {path}: {error.err}. Save it anew as JPEG or PNG.") from error
    if pixels is None:
        raise ImageError(
            f"{path} is not a picture OpenCV can read: it begins with {data[:12]!r} ({len(data)} bytes) and is "
            "damaged, too large or in another format. Save it anew as JPEG or PNG."
        )
    return pixels


def _may_have_alpha(data: bytes) -> bool:
    """Whether decoding with the alpha channel can tell anything new."""
    if data.startswith(PNG):
        return data[25] in (4, 6) or b"tRNS" in data[: data.find(b"IDAT")]
    # A 32-bit BMP's fourth byte is padding more often than transparency, and then all zero.
    return not data.startswith((JPEG, BMP)) and not is_cmyk_tiff(data)


def _over_white(bgra: Array) -> Array:
    """Composite [H, W, 4] over white; the type stays."""
    if bgra.dtype.kind != "u":
        return bgra[..., :3]
    top = np.iinfo(bgra.dtype).max
    alpha = bgra[..., 3:].astype(np.float32) / top
    return np.rint(bgra[..., :3] * alpha + top * (1 - alpha)).astype(bgra.dtype)


_log_lock = threading.Lock()
_log_users = 0
_log_level = 0


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Keep OpenCV's own log quiet, since its faults are raised as `ImageError`.

    The level belongs to the process: the first thread in saves it and the last one out restores it.
    """
    global _log_users, _log_level
    logging = cv2.utils.logging
    with _log_lock:
        if _log_users == 0:
            _log_level = logging.getLogLevel()
            logging.setLogLevel(logging.LOG_LEVEL_SILENT)
        _log_users += 1
    try:
        yield
    finally:
        with _log_lock:
            _log_users -= 1
            if _log_users == 0:
                logging.setLogLevel(_log_level)
