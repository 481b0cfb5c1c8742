"""What has been told already, on disk, so that a restart does not tell it again."""

import json
from pathlib import Path

from mgts_trt.errors import MgtsError
from mgts_trt.machine.files import replace_file

_KEPT = 100_000
"""Alarms of files that are remembered, the newest."""


class AlarmJournal:
    """Which alarms were raised for files, and when the last one was for each person and live camera.

    Args:
        path: Its file, made at the first alarm; None keeps everything in memory.

    Raises:
        MgtsError: The file is there and is no such journal.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._told: dict[str, None] = {}
        self._last: dict[str, float] = {}
        if path is None or not path.exists():
            return
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._told = {str(each): None for each in kept["told"]}
            self._last = {str(key): float(time) for key, time in kept["last"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MgtsError(
                f"{path} is no journal of alarms, or cannot be read: {error}. Name another file, or remove it."
            ) from error

    def was_told(self, alarm: str) -> bool:
        """Whether an alarm about a file has been raised, by its id."""
        return alarm in self._told

    def last(self, place: str) -> float | None:
        """When the last alarm was raised for a person and live camera, Unix seconds."""
        return self._last.get(place)

    def note(self, *, alarm: str | None = None, place: str | None = None, time: float = 0.0) -> None:
        """Keep that an alarm was raised: by its id for a file, by person, camera and time for a live stream.

        Raises:
            MgtsError: The journal cannot be written.
        """
        if alarm is not None:
            self._told[alarm] = None
            while len(self._told) > _KEPT:
                del self._told[next(iter(self._told))]
        if place is not None:
            self._last[place] = time
        if self._path is None:
            return
        try:
            with replace_file(self._path, sync=True) as temporary:
                temporary.write_text(json.dumps({"told": list(self._told), "last": self._last}), encoding="utf-8")
        except OSError as error:
            raise MgtsError(
                f"Cannot write the journal {self._path}: {error.strerror}. Name a file in a folder that exists."
            ) from error
