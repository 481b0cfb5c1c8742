"""Which files the versions of a LanceDB table name; read from the manifests themselves.

LanceDB does not tell, and removes by the clock. Lance's format, `table.proto`: a manifest ends with the position of its
message and a mark; messages are Protocol Buffers, of which the few fields that name files are read here.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mgts_trt.errors import GalleryError

FOLDERS = ("data", "_deletions", "_indices", "_transactions", "_versions")
"""Of a table, where all of its files lie."""

_MARK, _FOOTER = b"LANC", 16
_FRAGMENT, _INDEX_SECTION, _TRANSACTION_FILE = 2, 6, 12
"""Fields of `Manifest`."""


@dataclass(frozen=True)
class Manifest:
    """One version of a table.

    Attributes:
        path: The manifest's file.
        version: Its number, from 1.
        files: Those it names, as paths in the table's folder; of an index, `_indices/UUID`, which is a folder.
        deleted_in: Numbers of the fragments in which rows are marked as deleted, and still have their bytes.
        indices: UUID of each part of an index → the index's name.
    """

    path: Path
    version: int
    files: frozenset[str]
    deleted_in: tuple[int, ...]
    indices: dict[str, str]

    def names(self, file: str) -> bool:
        """Whether a file, as a path in the table's folder, belongs to this version."""
        if file.startswith("_deletions/"):
            file = file.rpartition(".")[0]
        elif file.startswith("_indices/"):
            file = "/".join(file.split("/")[:2])
        return file in self.files or file == f"_versions/{self.path.name}"


def versions(table: Path) -> list[Path]:
    """Files of the manifests that a table's folder has, the newest first."""
    found = [(number, path) for path in (table / "_versions").glob("*.manifest") if (number := _number(path))]
    return [path for _, path in sorted(found, reverse=True)]


def latest(table: Path) -> Manifest:
    """The newest version of a table.

    Raises:
        GalleryError: There is none, or its manifest is damaged.
    """
    found = versions(table)
    if not found:
        raise GalleryError(f"{table} has no version: the table is damaged. Restore it from a copy.")
    return read_manifest(found[0])


def read_manifest(path: Path) -> Manifest:
    """What a manifest's file tells.

    Raises:
        GalleryError: It is damaged.
        OSError: It cannot be read, or was removed meanwhile.
    """
    data = path.read_bytes()
    try:
        if len(data) < _FOOTER or data[-4:] != _MARK:
            raise ValueError("it does not end as a manifest does")
        files, deleted_in, indices = set[str](), list[int](), dict[str, str]()
        for field, value in _fields(_message(data, int.from_bytes(data[-_FOOTER:-8], "little"))):
            if field == _FRAGMENT and isinstance(value, memoryview):
                number, named = _fragment(value)
                files.update(named)
                if any(name.startswith("_deletions/") for name in named):
                    deleted_in.append(number)
            elif field == _TRANSACTION_FILE and isinstance(value, memoryview):
                files.add(f"_transactions/{str(value, 'utf-8')}")
            elif field == _INDEX_SECTION and isinstance(value, int):
                indices = dict(_indices(_message(data, value)))
        files.update(f"_indices/{name}" for name in indices)
    except (ValueError, IndexError) as error:
        raise GalleryError(f"The file {path} is damaged ({error}). Restore it from a copy.") from error
    return Manifest(path, _number(path), frozenset(files), tuple(deleted_in), indices)


def _number(path: Path) -> int:
    """The version that a manifest's name tells, as it is or counted down from the largest number; 0 if none."""
    if not path.stem.isascii() or not path.stem.isdecimal():
        return 0
    number = int(path.stem)
    return number if number < 1 << 63 else (1 << 64) - 1 - number


def _fragment(message: memoryview) -> tuple[int, list[str]]:
    """A fragment's number, and the files of its rows and of its deletions, the latter without a suffix."""
    number, files = 0, list[str]()
    deletion: dict[int, int] | None = None
    for field, value in _fields(message):
        if field == 1 and isinstance(value, int):
            number = value
        elif field == 2 and isinstance(value, memoryview):
            files += [f"data/{bytes(name).decode()}" for inner, name in _fields(value) if inner == 1 and name]
        elif field == 3 and isinstance(value, memoryview):
            deletion = {inner: part for inner, part in _fields(value) if isinstance(part, int)}
    if deletion is not None:
        files.append(f"_deletions/{number}-{deletion.get(2, 0)}-{deletion.get(3, 0)}")
    return number, files


def _indices(section: memoryview) -> Iterator[tuple[str, str]]:
    for field, index in _fields(section):
        if field != 1 or not isinstance(index, memoryview):
            continue
        identity, name = "", ""
        for inner, value in _fields(index):
            if inner == 1 and isinstance(value, memoryview):
                identity = next(
                    str(uuid.UUID(bytes=bytes(part)))
                    for which, part in _fields(value)
                    if which == 1 and isinstance(part, memoryview)
                )
            elif inner == 3 and isinstance(value, memoryview):
                name = str(value, "utf-8")
        yield identity, name


def _message(data: bytes, at: int) -> memoryview:
    """The message at a position, after its length."""
    end = at + 4 + int.from_bytes(data[at : at + 4], "little")
    if not 0 <= at < end <= len(data):
        raise ValueError("a position lies outside of it")
    return memoryview(data)[at + 4 : end]


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of a message's fields: those with a length as bytes, all others as integers."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field is of kind {kind}")
        if at + length > end:
            raise ValueError("a field is longer than its message")
        part = message[at : at + length]
        yield key >> 3, part if kind == 2 else int.from_bytes(part, "little")
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
