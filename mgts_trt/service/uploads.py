"""Pictures strangers send: looked at before they are decoded."""

import hashlib
import os
from collections.abc import Callable

from fastapi import UploadFile

from mgts_trt._typing import Image
from mgts_trt.errors import MgtsError
from mgts_trt.pictures.bounded import decode_bounded
from mgts_trt.service.fields import file_name


def require_place() -> None:
    """See that there is a folder for what is sent, and for what LanceDB sorts, before the service starts.

    Raises:
        MgtsError: It is not there, or cannot be written: in a container whose root may only be read, for one.
    """
    folder = os.environ.get("TMPDIR") or "/tmp"
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MgtsError(
            f"Uploads, and what a gallery sorts, go through {folder}, which is no folder that can be written. Mount a "
            "tmpfs there (--tmpfs /tmp), or name another folder in TMPDIR."
        )


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
