"""Whether a log of who did what is whole."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mgts_trt.access.audit_log import FIRST, RECOVERED, Entry, Head, read_entry, snapshot
from mgts_trt.errors import AuditError


@dataclass
class Report:
    """What was found.

    Attributes:
        entries: How many are whole.
        files: How many files hold them.
        last: Number and hash of the last: noted elsewhere, they prove later that nothing before was changed.
        faults: What somebody changed or removed, or a disk lost.
        notes: What killed writers left, and the log itself has told.
    """

    entries: int = 0
    files: int = 0
    last: tuple[int, str] | None = None
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_log(folder: Path) -> Iterator[Entry]:
    """The entries of a log that are whole, the oldest first.

    Raises:
        AuditError: There is no log, or it cannot be read.
    """
    for _, _, line in _lines(folder, _Seen()):
        if entry := read_entry(line):
            yield entry


def check_log(folder: Path, *, begins: int = 1, expected: tuple[int, str] | None = None) -> Report:
    """Read all of a log, and compare each entry with the one before it.

    Args:
        folder: Of the log.
        begins: Number of the first entry that is expected to be there: files before it may have been removed.
        expected: Number and hash of an entry, as they were noted once.

    Raises:
        AuditError: See `read_log`.
    """
    report, seen, chain = Report(), _Seen(), _Chain(begins)
    for path, line_number, line in _lines(folder, seen):
        where = f"line {line_number} of {path.name}"
        entry = read_entry(line)
        if entry is None:
            chain.flush(report)
            chain.torn = (where, hashlib.sha256(line).hexdigest())
            continue
        chain.add(entry, where, report)
        if expected and entry.number == expected[0]:
            if entry.hash != expected[1]:
                report.faults.append(f"entry {entry.number} is another than was noted")
            expected = None
        report.entries += 1
        report.last = (entry.number, entry.hash)
    chain.flush(report, at_end=not seen.ended)
    report.files = seen.files
    if expected:
        report.faults.append(f"entry {expected[0]}, which was noted, is not there")
    _compare_with_head(report, seen.head)
    return report


class _Chain:
    """What the next entry must say."""

    def __init__(self, begins: int) -> None:
        self._next, self._hash = begins, FIRST if begins == 1 else None
        self.torn: tuple[str, str] | None = None
        """A line that is no entry, by its place and SHA-256, until the next entry tells of it."""

    def add(self, entry: Entry, where: str, report: Report) -> None:
        recovered = entry.fields.get("what") == RECOVERED
        if self.torn and recovered and entry.fields.get("torn_sha256") == self.torn[1]:
            report.notes.append(f"{self.torn[0]} was cut off by the end of its writer, as entry {entry.number} tells")
            self.torn = None
        self.flush(report)
        if entry.number != self._next:
            gone = (
                f"entries {self._next} to {entry.number - 1} are" if entry.number > self._next else "there are two of"
            )
            report.faults.append(
                f"{gone} missing before {where}" if entry.number > self._next else f"{gone} {entry.number}: {where}"
            )
        elif self._hash is not None and entry.before != self._hash:
            report.faults.append(f"entry {entry.number} does not follow from the one before it: {where}")
        if recovered and "head" in entry.fields:
            report.faults.append(f"before entry {entry.number}, the log's head was missing or damaged")
        self._next, self._hash = entry.number + 1, entry.hash

    def flush(self, report: Report, *, at_end: bool = False) -> None:
        """A line that is no entry, and nothing tells of it."""
        if self.torn and at_end:
            report.notes.append(f"{self.torn[0]} is cut off: its writer ended there. The next entry will tell of it")
        elif self.torn:
            report.faults.append(f"{self.torn[0]} was changed, or is damaged")
        self.torn = None


def _compare_with_head(report: Report, head: Head | None) -> None:
    last = report.last or (0, FIRST)
    if head is None:
        report.faults.append("the log's head is missing or damaged, so nothing tells whether its end is there")
    elif head.number > last[0]:
        report.faults.append(f"entries {last[0] + 1} to {head.number} are missing at the end")
    elif head.number == last[0] and head.hash != last[1]:
        report.faults.append(f"entry {last[0]} is another than the log's head tells")
    elif head.number + 1 < last[0]:
        report.faults.append(f"the log's head tells of entry {head.number} as the last, and {last[0]} is")


class _Seen:
    """What a reading of the lines found besides."""

    head: Head | None = None
    files = 0
    ended = True
    """Whether the last line has an end."""


def _lines(folder: Path, seen: _Seen) -> Iterator[tuple[Path, int, bytes]]:
    """All lines: file, number from 1, and text without its end."""
    try:
        with snapshot(folder) as (seen.head, files):
            if not files and seen.head is None:
                raise AuditError(f"There is no log in {folder}. It begins with what is first done with the gallery.")
            seen.files = len(files)
            for path, size in files:
                with path.open("rb") as file:
                    number = 0
                    while (left := size - file.tell()) > 0 and (line := file.readline(left)):
                        number += 1
                        seen.ended = line.endswith(b"\n")
                        yield path, number, line.removesuffix(b"\n")
    except OSError as error:
        raise AuditError(f"Cannot read the log in {folder}: {error.strerror}. Check its permissions.") from error
