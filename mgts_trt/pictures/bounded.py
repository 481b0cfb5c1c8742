"""Pictures that strangers send: their size is looked at before anything is decoded."""

from io import BytesIO

from mgts_trt._typing import Image
from mgts_trt.errors import ImageError, MgtsError, TooLargeError
from mgts_trt.pictures.decoding import decode_image

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""What is taken, in Pillow's names; every further decoder would be one more to attack."""

MEGAPIXEL = 1_000_000


def require_pillow() -> None:
    """Raise `MgtsError` where the package that reads sizes is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError as error:
        raise MgtsError(
            "Pictures that others send need the package pillow, which is not installed: pip install pillow"
        ) from error


def decode_bounded(data: bytes, name: str, most_pixels: int) -> Image:
    """Decode a picture's bytes if its header states a size within bounds.

    The size is read by Pillow, which opens a picture without decoding it; the pixels by OpenCV, as everywhere.

    Args:
        data: The file's content.
        name: What errors call it.
        most_pixels: Width times height.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        TooLargeError: It has more.
        ImageError: It is empty, damaged, or none of `FORMATS`.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes), but a picture is expected.")
    width, height = _size(data, name)
    check_size(name, width, height, most_pixels)
    return decode_image(data, name)


def check_size(name: str, width: int, height: int, most_pixels: int) -> None:
    """Raise `TooLargeError` for a picture that has more pixels than are taken."""
    if width * height > most_pixels:
        raise TooLargeError(
            f"{name} has {width}×{height} pixels, but at most {most_pixels / MEGAPIXEL:g} megapixels are taken. "
            "Scale it down first."
        )


def _size(data: bytes, name: str) -> tuple[int, int]:
    import PIL.Image

    try:
        with PIL.Image.open(BytesIO(data), formats=FORMATS) as header:
            return header.size
    except PIL.Image.DecompressionBombError:
        # Raised from 179 megapixels on, before the size can be asked for.
        raise TooLargeError(f"{name} has far too many pixels. Scale it down first.") from None
    except Exception as error:  # damaged headers raise whatever their parser stumbles over
        raise ImageError(
            f"{name} is not a picture ({len(data)} bytes), or is damaged. Send a JPEG, PNG, WebP, BMP or TIFF file."
        ) from error
