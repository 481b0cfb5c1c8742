"""Which live streams are being indexed into a gallery, and how they are doing: told beside its tables.

Each process that indexes streams keeps a file of their states, and holds a lock while it lives: one at work is told
from one that was killed.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgts_trt.gallery.lance import is_local, locate
from mgts_trt.machine.files import replace_file
from mgts_trt.machine.locks import locked
from mgts_trt.machine.repeating import repeating

_FOLDER = "watched"
_EVERY = 2.0
"""Seconds between two writings."""


@dataclass(frozen=True)
class Watched:
    """A live stream of a process that indexes it, or did until it was killed.

    Attributes:
        state: As it was told last: fields of a `CameraState`, `source` among them.
        running: Whether the process is at work.
        process: Its number on the machine it runs on.
    """

    state: dict[str, Any]
    running: bool
    process: int


@contextmanager
def told_beside(gallery: str | Path, states: Callable[[], list[dict[str, Any]]]) -> Iterator[None]:
    """Tell how live streams are doing for as long as the block lasts; of a gallery in a bucket, nothing is told.

    What processes left that were killed is removed.

    Args:
        gallery: A path or URL; it exists.
        states: Gives a state of each, as `Watched` has it. Without one, nothing is written.
    """
    location = locate(gallery)
    if not is_local(location):
        yield
        return
    folder = Path(location) / _FOLDER
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    lock, file = folder / f"{name}.lock", folder / f"{name}.json"

    def write() -> None:
        if told := states():
            with replace_file(file) as temporary:
                temporary.write_text(json.dumps(told))

    folder.mkdir(exist_ok=True)
    with locked(folder, name=lock.name):
        forget_killed(location)
        try:
            with repeating(write, _EVERY, "tell of streams"):
                yield
        finally:
            file.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def watched(gallery: str | Path) -> list[Watched]:
    """The live streams of all processes that index into a gallery, and of those that were killed; by source."""
    found = [Watched(state, _is_held(file), _process(file)) for file in _files(gallery) for state in _states(file)]
    return sorted(found, key=lambda each: (each.state["source"], each.process))


def is_watched(gallery: str | Path, source: str) -> bool:
    """Whether a process is indexing a live stream."""
    return any(each.running and each.state["source"] == source for each in watched(gallery))


def forget_killed(gallery: str | Path) -> None:
    """Remove what is told of streams of processes that were killed."""
    for file in _files(gallery):
        if not _is_held(file):
            file.unlink(missing_ok=True)
            file.with_suffix(".lock").unlink(missing_ok=True)


def _files(gallery: str | Path) -> list[Path]:
    location = locate(gallery)
    return sorted((Path(location) / _FOLDER).glob("*.json")) if is_local(location) else []


def _process(file: Path) -> int:
    return int(file.stem.partition("-")[0])


def _is_held(file: Path) -> bool:
    try:
        with file.with_suffix(".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it has ended meanwhile
        return False
    return False


def _states(file: Path) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError):  # it has ended meanwhile
        return [state for state in json.loads(file.read_text()) if "source" in state]
    return []
