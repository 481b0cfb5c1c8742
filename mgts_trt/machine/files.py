"""Files: their digests, and writing what a user named."""

import hashlib
from pathlib import Path

from mgts_trt.errors import MgtsError


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file that the user named.

    Raises:
        MgtsError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MgtsError(f"Cannot write {path}: {error.strerror}. Name a file in a folder that exists.") from error
