"""What has been told already, on disk, so that a restart does not tell it again."""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from mgts_trt.errors import MgtsError
from mgts_trt.machine.files import replace_file

_KEPT = 100_000
"""Alarms, and places, that are remembered: the newest."""

_FIRST = {"journal": "alarms of mgts-trt", "version": 1}


class AlarmJournal:
    """Which alarms were raised, and when the last one was for each person and place.

    A file of JSON lines, in which ids and places are digests: it tells nobody who was watched for, or where. Each alarm
    appends a line that reaches the disk before `note` returns; a line that a crash tore is passed over. It is written
    anew, without what is outdated, when it is opened. One process at a time has it.

    Args:
        path: Its file, made with its folder where it is not there; None keeps everything in memory.

    Raises:
        MgtsError: The file is there and is no such journal, or cannot be written, or another process has it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._told: dict[str, None] = {}
        self._last: dict[str, float] = {}
        self._file: IO[str] | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._lock = path.with_name(f".{path.name}.lock").open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MgtsError(
                    f"Another process keeps its alarms in {path}: it watches for the same people in the same sources. "
                    "End it, or name another file with --state."
                ) from None
            if path.exists():
                self._read(path)
            self._write(path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from error

    def was_told(self, alarm: str) -> bool:
        """Whether an alarm has been raised, by its id."""
        return alarm in self._told

    def last(self, place: str) -> float | None:
        """When the last alarm was raised for a person and place, seconds by the clock of the place."""
        return self._last.get(_digest(place))

    def note(self, alarm: str, place: str, time: float) -> None:
        """Keep that an alarm was raised, by its id, for a person and place.

        Raises:
            MgtsError: The journal cannot be written.
        """
        place = _digest(place)
        self._take(alarm, place, time)
        if self._file is None:
            return
        try:
            self._file.write(_line({"told": alarm, "place": place, "time": time}))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Let another process have it."""
        if self._file is not None:
            self._file.close()
            self._lock.close()
            self._file = None

    def _take(self, alarm: str | None, place: str | None, time: float) -> None:
        if alarm is not None:
            self._told[alarm] = None
        if place is not None:
            self._last.pop(place, None)  # the newest stand last
            self._last[place] = time
        for kept in (self._told, self._last):
            while len(kept) > _KEPT:
                del kept[next(iter(kept))]

    def _read(self, path: Path) -> None:
        try:
            first, *lines = path.read_text(encoding="utf-8").split("\n")
            if json.loads(first) != _FIRST:
                raise ValueError("its first line is another")
            for line in lines[:-1]:  # after the last line break stands nothing, or a line that a crash tore
                told = json.loads(line)
                self._take(told.get("told"), told.get("place"), float(told.get("time", 0)))
        except (ValueError, TypeError, AttributeError) as error:
            raise MgtsError(f"{path} is no journal of alarms: {error}. Name another file, or remove it.") from error

    def _write(self, path: Path) -> None:
        lines: Iterable[str] = (
            _line(_FIRST),
            *(_line({"told": alarm}) for alarm in self._told),
            *(_line({"place": place, "time": time}) for place, time in self._last.items()),
        )
        with replace_file(path, sync=True) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")

    def _unwritable(self, error: OSError) -> MgtsError:
        return MgtsError(
            f"Cannot write the journal of alarms {self._path}: {error.strerror}. Name another file with --state, or "
            "off."
        )


def _digest(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def _line(fields: dict[str, object]) -> str:
    return json.dumps(fields) + "\n"
