"""Pictures strangers send: looked at before they are decoded."""

import hashlib
from collections.abc import Callable

from fastapi import UploadFile

from mgts_trt._typing import Image
from mgts_trt.pictures.bounded import decode_bounded
from mgts_trt.service.fields import file_name


def loader(upload: UploadFile, most_pixels: int) -> Callable[[], Image]:
    """What decodes a file a client sent, see `decode_bounded`: for the dispatcher's threads."""

    def load() -> Image:
        return decode_bounded(_read(upload), file_name(upload.filename), most_pixels)

    return load


def sha256_of(upload: UploadFile) -> str:
    """Of a file a client sent, in hexadecimal."""
    return hashlib.sha256(_read(upload)).hexdigest()


def _read(upload: UploadFile) -> bytes:
    upload.file.seek(0)
    return upload.file.read()
