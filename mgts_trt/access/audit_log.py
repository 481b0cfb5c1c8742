"""The log of who did what: lines of JSON, each with the hash of the one before it, appended by several processes."""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from mgts_trt.errors import AuditError
from mgts_trt.machine.private import make_private

MOST_BYTES = 16 << 20
"""Of a file; the next entry begins another."""
FIRST = "0" * 64
"""What the first entry has for the hash of the one before."""
RECOVERED = "recovered"
"""What an entry is called that tells what a killed writer, or somebody else, left."""

_HEAD, _LOCK, _SECRET = "head", "lock", "secret"
_HEAD_BYTES = 256
_SUFFIX = ".jsonl"
_TAIL = len(',"hash":""}') + 64


class Head(NamedTuple):
    """The last entry there was, kept beside the log: it tells when the log's end is gone."""

    number: int
    hash: str
    file: str
    """Which has it."""
    size: int
    """Of the file, in bytes, with it."""


class Entry(NamedTuple):
    """A line of the log that is whole."""

    number: int
    """From 1."""
    hash: str
    before: str
    """Hash of the entry before."""
    fields: dict[str, Any]


class AuditLog:
    """Appends entries. Threads and processes may do so at once.

    Args:
        folder: Made with the first entry, its owner's alone.
        most_bytes: See `MOST_BYTES`.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self._most_bytes = folder, most_bytes
        self._thread = threading.Lock()
        self._key: bytes | None = None

    def record(
        self,
        who: Mapping[str, str],
        what: str,
        *,
        subjects: Mapping[str, Sequence[str]] | None = None,
        sync: bool = False,
        **more: Any,
    ) -> int:
        """Append an entry, whole or not at all; returns its number.

        Args:
            who: Who did it.
            what: A word for it.
            subjects: Names that could be personal, by what they are; the log has marks of them: see `mark`.
            sync: Wait until it is on the disk, for a power cut; a killed process loses nothing either way.
            more: Further fields; None is left out.

        Raises:
            AuditError: It cannot be written.
        """
        try:
            with self._locked():
                fields: dict[str, Any] = {"who": dict(who), "what": what}
                fields |= {name: value for name, value in more.items() if value is not None}
                if marks := {
                    name: [self._mark(each) for each in each_of] for name, each_of in (subjects or {}).items()
                }:
                    fields["marks"] = marks
                return self._append(self._end(), fields, sync).number
        except OSError as error:
            raise AuditError(
                f"What is done cannot be recorded in {self.folder}: {error.strerror}. Check the permissions and the "
                "free space."
            ) from error

    def mark(self, text: str) -> str:
        """What the log has in place of a name: a keyed hash, 32 hexadecimal digits.

        Whoever has the log's folder can tell whether a name they know is in it, and whoever has the lines alone cannot.

        Raises:
            AuditError: There is no log.
        """
        try:
            return self._mark(text, make=False)
        except OSError as error:
            raise AuditError(f"Cannot read the log in {self.folder}: {error.strerror}. Is it one?") from error

    def _mark(self, text: str, *, make: bool = True) -> str:
        if self._key is None:
            path = self.folder / _SECRET
            if make and not path.exists():
                new = path.with_suffix(".new")  # alone under the lock
                new.write_bytes(secrets.token_bytes(32))
                new.replace(path)
            self._key = path.read_bytes()
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:32]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread:
            make_private(self.folder)
            descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _end(self) -> Head:
        """Where the next entry goes; what a killed writer left is told in an entry of its own before."""
        head = read_head(self.folder)
        if (
            head is not None
            and _size(self.folder / head.file) == head.size
            and not _size(self.folder / file_name(head.number + 1))  # a file that was begun, and the head not written
        ):
            return head
        return self._recover(head)

    def _recover(self, head: Head | None) -> Head:
        files = log_files(self.folder)
        if not files and head is None:
            return Head(0, FIRST, file_name(1), 0)
        entry, rest = None, b""
        for path in reversed(files):
            data = path.read_bytes()
            entry, whole = _last_whole(data)
            if path == files[-1]:
                rest, size = data[whole:], len(data)
            if entry:
                break
        number, digest = (entry.number, entry.hash) if entry else (0, FIRST)
        last = Head(number, digest, files[-1].name, size) if files else Head(0, FIRST, file_name(1), 0)
        told: dict[str, Any] = {}
        if rest:
            with _appending(self.folder / last.file) as descriptor:
                if not rest.endswith(b"\n"):
                    _write(descriptor, b"\n")
                    last = last._replace(size=last.size + 1)
            rest = rest.removesuffix(b"\n")
        if rest and (entry := read_entry(rest)):  # whole but for the end of its line
            last = last._replace(number=entry.number, hash=entry.hash)
        elif rest:
            told |= {"torn": len(rest), "torn_sha256": hashlib.sha256(rest).hexdigest()}
        if head is None:
            told["head"] = "was missing or damaged"
        elif head.number > last.number:  # entries are gone: the chain goes on from what the head tells
            told["lost"] = [last.number + 1, head.number]
            last = last._replace(number=head.number, hash=head.hash)
        if not told:
            return last  # killed between an entry and the head, which the next entry brings up to date
        return self._append(last, {"who": {"by": "log"}, "what": RECOVERED, **told}, sync=True)

    def _append(self, end: Head, fields: dict[str, Any], sync: bool) -> Head:
        number = end.number + 1
        name, size = (file_name(number), 0) if end.size >= self._most_bytes else (end.file, end.size)
        now = datetime.fromtimestamp(time.time(), timezone.utc).isoformat(timespec="milliseconds")
        told = {"n": number, "time": now, **fields, "before": end.hash}
        body = json.dumps(told, separators=(",", ":")).encode()[:-1]
        digest = hashlib.sha256(body).hexdigest()
        line = body + b',"hash":"' + digest.encode() + b'"}\n'
        with _appending(self.folder / name) as descriptor:
            try:
                _write(descriptor, line)
            except OSError:
                with suppress(OSError):  # what does not fit leaves nothing behind
                    os.ftruncate(descriptor, size)
                raise
            if sync:
                os.fdatasync(descriptor)
        head = Head(number, digest, name, size + len(line))
        self._write_head(head)
        return head

    def _write_head(self, head: Head) -> None:
        text = json.dumps(head._asdict(), separators=(",", ":")).encode()
        descriptor = os.open(self.folder / _HEAD, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            # In place and of one length: a full disk has room for it, once it is there.
            os.pwrite(descriptor, text.ljust(_HEAD_BYTES - 1) + b"\n", 0)
        finally:
            os.close(descriptor)


def read_head(folder: Path) -> Head | None:
    """What a log's head tells; None if there is none, or it is damaged."""
    try:
        told = json.loads((folder / _HEAD).read_bytes())
        head = Head(int(told["number"]), str(told["hash"]), str(told["file"]), int(told["size"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return head if file_number(head.file) is not None else None


def read_entry(line: bytes) -> Entry | None:
    """An entry from its line, without the line's end; None if it is not whole, or its hash is another."""
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if tail[:9] != b',"hash":"' or tail[-2:] != b'"}' or hashlib.sha256(body).hexdigest().encode() != tail[9:-2]:
        return None
    try:
        fields = json.loads(line)
        return Entry(int(fields["n"]), fields["hash"], str(fields["before"]), fields)
    except (ValueError, KeyError, TypeError):
        return None


def log_files(folder: Path) -> list[Path]:
    """A log's files, the oldest first."""
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if file_number(path.name) is not None)


def file_name(number: int) -> str:
    """Of the file whose first entry has a number."""
    return f"{number:012}{_SUFFIX}"


def file_number(name: str) -> int | None:
    """The number of the first entry of a file with a name; None if it is none of a log."""
    number = name.removesuffix(_SUFFIX)
    return int(number) if len(number) == 12 and number.isdecimal() and name.endswith(_SUFFIX) else None


@contextmanager
def snapshot(folder: Path) -> Iterator[tuple[Head | None, list[tuple[Path, int]]]]:
    """The head, and the files with their sizes, as they are between two entries.

    Raises:
        OSError: They cannot be read.
    """
    with suppress(FileNotFoundError):
        descriptor = os.open(folder / _LOCK, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            found = read_head(folder), [(path, path.stat().st_size) for path in log_files(folder)]
        finally:
            os.close(descriptor)
        yield found
        return
    yield read_head(folder), [(path, path.stat().st_size) for path in log_files(folder)]


def _last_whole(data: bytes) -> tuple[Entry | None, int]:
    """The last entry of a file that is whole, and where it ends."""
    end = len(data)
    while end > 0:
        newline = data.rfind(b"\n", 0, end)
        if newline < 0:
            break
        start = data.rfind(b"\n", 0, newline) + 1
        if entry := read_entry(data[start:newline]):
            return entry, newline + 1
        end = newline
    return None, 0


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
