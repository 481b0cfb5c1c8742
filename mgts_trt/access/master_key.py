"""The key that encrypts the keys of galleries: from a file, or from the environment."""

import os
import re
from pathlib import Path

from mgts_trt.access.private_file import require_private
from mgts_trt.access.strength import weakness
from mgts_trt.errors import AccessError

FILE_VARIABLE, KEY_VARIABLE = "MGTS_GALLERY_KEY_FILE", "MGTS_GALLERY_KEY"
"""Environment variables: of the key's file, which goes first; and of the key itself."""

_MAKE = "openssl rand -hex 32"


def master_key() -> bytes | None:
    """The key, 32 bytes, that the environment names or holds; None if it does neither.

    Raises:
        AccessError: See `read_master_key`; a variable that is set and empty is no key.
    """
    named, text = os.environ.get(FILE_VARIABLE), os.environ.get(KEY_VARIABLE)
    if named is not None:
        if not named:
            raise AccessError(f"${FILE_VARIABLE} is empty. Name the file of the gallery's key in it, or unset it.")
        return read_master_key(Path(named))
    return None if text is None else _parsed(text, f"${KEY_VARIABLE}")


def key_is_named() -> bool:
    """Whether the environment names a key, or holds one."""
    return FILE_VARIABLE in os.environ or KEY_VARIABLE in os.environ


def read_master_key(path: Path) -> bytes:
    """The key, 32 bytes, in a file: 64 hexadecimal digits, with or without a line break.

    Raises:
        AccessError: It cannot be read, is no such key, can be guessed, or others may read or write it.
    """
    try:
        with path.open("rb") as file:
            require_private(path, os.fstat(file.fileno()), "the gallery's key")
            text = file.read(1024).decode("ascii", "replace")
    except OSError as error:
        raise AccessError(
            f"Cannot read the gallery's key in {path}: {error.strerror}. Name its file; a new gallery's key is made "
            f"with: (umask 077; {_MAKE} > {path})"
        ) from error
    return _parsed(text, str(path))


def _parsed(text: str, place: str) -> bytes:
    digits = text.strip()
    if not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise AccessError(
            f"{place} holds no key of a gallery: expected are 64 hexadecimal digits, as {_MAKE} makes them."
        )
    if why := weakness(digits):
        raise AccessError(f"The gallery's key in {place} {why}. Make one with: {_MAKE}")
    return bytes.fromhex(digits)
