"""Checksums of the files that versions name, kept beside the tables: LanceDB reads a flipped bit as it is."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.manifests import Manifest, latest
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.gallery.disk.sweep import files_of, require_whole, roll_back
from mgts_trt.machine.files import file_sha256, replace_file

_NAME = "checksums"


class Checksums:
    """The list of a gallery: a line a file, `SHA-256  table.lance/path`, appended as files are committed.

    Files of LanceDB never change once a version names them.

    Args:
        place: Of the gallery.
    """

    def __init__(self, place: Place) -> None:
        self._place, self._listed, self._lock = place, dict[str, str](), threading.Lock()
        self._read = 0

    @property
    def path(self) -> Path:
        """The list's file."""
        assert self._place.keeping is not None
        return self._place.keeping / _NAME

    def record(self) -> None:
        """List what the newest versions name and is not listed yet. For who writes, or is alone.

        Raises:
            GalleryError: A manifest is damaged, or a file was cut short.
            OSError: The list cannot be written.
        """
        with self._lock:
            self.read()
            lines = []
            for table in self._place.tables():
                require_whole(table)
                for name, path in _named(table):
                    if name not in self._listed:
                        with suppress(FileNotFoundError):  # replaced meanwhile, by a newer version
                            self._listed[name] = file_sha256(path)
                            lines.append(f"{self._listed[name]}  {name}\n")
            if lines:
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
                with self.path.open("a", encoding="ascii") as file:
                    file.write("".join(lines))

    def renew(self) -> None:
        """Leave out of the list what is no longer there. For who has the gallery alone.

        Raises:
            OSError: It cannot be written.
        """
        with self._lock:
            if self._place.folder is None or not self.path.exists():
                return
            self._read, self._listed = 0, {}
            self.read()
            there = {f"{table.name}/{file}" for table in self._place.tables() for file in files_of(table)}
            self._listed = {name: digest for name, digest in self._listed.items() if name in there}
            with replace_file(self.path) as temporary:
                temporary.touch(0o600)
                temporary.write_text("".join(f"{digest}  {name}\n" for name, digest in self._listed.items()), "ascii")
                reached("put the checksums in place")
            self._read = self.path.stat().st_size

    def read(self) -> dict[str, str]:
        """The list: path in the gallery → SHA-256. A line that was cut off, or is damaged, is left out."""
        with suppress(FileNotFoundError):
            if self.path.stat().st_size < self._read:  # another process has renewed it
                self._read, self._listed = 0, {}
            with self.path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.decode("ascii", "replace").splitlines():
                digest, _, name = line.partition("  ")
                if len(digest) == hashlib.sha256().digest_size * 2 and name:
                    self._listed[name] = digest
        return self._listed


class Damaged(NamedTuple):
    """What reading all files that are listed brought."""

    files: list[str]
    """Those whose bytes are not what was committed, as paths in the gallery."""
    read: int
    """How many were read."""
    unlisted: int
    """How many the newest versions name that are not listed: nothing is known of them."""


def damaged(place: Place) -> Damaged:
    """Compare the files of a gallery with their checksums."""
    if place.folder is None:
        return Damaged([], 0, 0)
    listed = dict(Checksums(place).read())
    wrong, read = [], 0
    for name, digest in sorted(listed.items()):
        with suppress(FileNotFoundError):
            wrong += [name] if file_sha256(place.folder / name) != digest else []
            read += 1
    unlisted = 0
    for table in place.tables():
        with suppress(Exception):
            unlisted += sum(name not in listed for name, _ in _named(table))
    return Damaged(wrong, read, unlisted)


def _named(table: Path) -> Iterator[tuple[str, Path]]:
    """The files that the newest version of a table names, and its manifest."""
    newest = latest(table)
    yield from ((f"{table.name}/{file}", table / file) for file in _files(table, newest))


def _files(table: Path, newest: Manifest) -> Iterator[str]:
    yield f"_versions/{newest.path.name}"
    for file in newest.files:
        if file.startswith("_indices/"):
            yield from (path.relative_to(table).as_posix() for path in (table / file).glob("*"))
        elif file.startswith("_deletions/"):
            yield from (path.relative_to(table).as_posix() for path in table.glob(f"{file}.*"))
        else:
            yield file


@contextmanager
def rolled_back(place: Place) -> Iterator[None]:
    """Do something for which one has the gallery alone; where it fails, what it left cut short goes again.

    LanceDB commits files that were cut short where a disk is full, and nobody could read or write beside them.
    """
    try:
        yield
    except (GalleryError, RuntimeError, OSError):
        for table in place.tables():
            roll_back(table, Checksums(place).read())
        raise
