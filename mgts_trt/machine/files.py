"""Files: their digests, replacing them in one step, and writing what a user named."""

import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from mgts_trt.errors import MgtsError


def place_kind(path: Path) -> Literal["file", "folder", "other"] | None:
    """What is at a path, links followed: `other` is a pipe, a device, a socket; None is nothing.

    Raises:
        MgtsError: It cannot be told: a folder on the way is closed to this user, or the name is none.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise MgtsError(f"Cannot look at {path}: {reason}. Check the path and its permissions.") from error
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replace_file(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Write a file so that whoever reads it finds the whole old one or the whole new one.

    Example:
        ```python
        with replace_file(folder / "record.json") as temporary:
            temporary.write_text(text, encoding="utf-8")
        ```

    Args:
        path: The file that is made or replaced; its folder must exist.
        sync: Let the bytes reach the disk before they take the old ones' place, so that this holds for a power cut
            too.

    Yields:
        A path beside `path` that no other writer has. What is written there takes the name `path` at the end; if the
        body raises, it is removed and `path` stays as it was. A process that is killed leaves it behind, as
        `.{name}.…` with at most the first 40 characters of the name.

    Raises:
        OSError: The disk refuses.
    """
    # A name's limit is 255 bytes, and a character has up to four.
    temporary = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):  # it is gone if all went well; if not, that is what the caller must hear of
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a file that the user named.

    Raises:
        MgtsError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MgtsError(f"Cannot write {path}: {error.strerror}. Name a file in a folder that exists.") from error
