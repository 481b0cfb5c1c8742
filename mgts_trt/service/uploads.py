"""Pictures strangers send: looked at before they are decoded."""

import hashlib
from collections.abc import Callable
from io import BytesIO

import PIL.Image
from fastapi import UploadFile

from mgts_trt._typing import Image
from mgts_trt.errors import ImageError
from mgts_trt.pictures.decoding import decode_image
from mgts_trt.service.fields import file_name
from mgts_trt.service.limits import MEGAPIXEL
from mgts_trt.service.refusal import Refusal

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""What is taken, in Pillow's names; every further decoder would be one more to attack."""


def loader(upload: UploadFile, most_pixels: int) -> Callable[[], Image]:
    """What decodes a file a client sent, see `decode_upload`: for the dispatcher's threads."""

    def load() -> Image:
        return decode_upload(_read(upload), file_name(upload.filename), most_pixels)

    return load


def sha256_of(upload: UploadFile) -> str:
    """Of a file a client sent, in hexadecimal."""
    return hashlib.sha256(_read(upload)).hexdigest()


def decode_upload(data: bytes, name: str, most_pixels: int) -> Image:
    """Decode a picture's bytes if its header states a size within bounds.

    The size is read by Pillow, which opens a picture without decoding it; the pixels by OpenCV, as everywhere.

    Args:
        data: The file's content.
        name: What errors call it.
        most_pixels: Width times height.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        Refusal: 413, it has more pixels.
        ImageError: It is empty, damaged, or none of `FORMATS`.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes), but a picture is expected.")
    check_size(name, *_size(data, name), most_pixels)
    return decode_image(data, name)


def check_size(name: str, width: int, height: int, most_pixels: int) -> None:
    """Refuse a picture that is too large.

    Raises:
        Refusal: 413, it has more pixels.
    """
    if width * height > most_pixels:
        raise Refusal(
            413,
            f"{name} has {width}×{height} pixels, but at most {most_pixels / MEGAPIXEL:g} megapixels are taken. "
            "Scale it down first.",
            "pixels",
        )


def _size(data: bytes, name: str) -> tuple[int, int]:
    try:
        with PIL.Image.open(BytesIO(data), formats=FORMATS) as header:
            return header.size
    except PIL.Image.DecompressionBombError:
        # Raised from 179 megapixels on, before the size can be asked for.
        raise Refusal(413, f"{name} has far too many pixels. Scale it down first.", "pixels") from None
    except Exception as error:  # damaged headers raise whatever their parser stumbles over
        raise ImageError(
            f"{name} is not a picture ({len(data)} bytes), or is damaged. Send a JPEG, PNG, WebP, BMP or TIFF file."
        ) from error


def _read(upload: UploadFile) -> bytes:
    upload.file.seek(0)
    return upload.file.read()
