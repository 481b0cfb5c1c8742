"""Who writes to a gallery: many at once, or one alone; told by locks that the system takes from whoever ends."""

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_held = threading.local()


class Guard:
    """The locks of one gallery, between threads and between processes.

    Writers share it, each for the time of a commit. Who erases has it alone: then no file is in the making, and what no
    version names belongs to nobody. Whoever waits to be alone is not overtaken by new writers.

    Args:
        folder: Where the lock files lie; made when first needed. None is a gallery that is no folder: everybody may do
            everything at once.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Write beside others. A thread that has it, or is alone, may take it again.

        Where the file system knows no locks it holds nobody off.

        Raises:
            OSError: The lock's file cannot be made.
        """
        if self._folder is None or self._depth():
            yield
            return
        with self._open("gate") as gate, self._open("lock") as lock:
            try:
                fcntl.flock(gate, fcntl.LOCK_SH)
                fcntl.flock(lock, fcntl.LOCK_SH)
                fcntl.flock(gate, fcntl.LOCK_UN)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            with self._deeper():
                yield

    @contextmanager
    def alone(self, *, wait: bool = True) -> Iterator[bool]:
        """Be the only one; yields whether that is so.

        Args:
            wait: For those who write now; else it yields False where somebody does.

        Raises:
            OSError: The lock's file cannot be made, or the file system knows no locks.
        """
        if self._folder is None or self._depth() < 0:
            yield True
            return
        if self._depth():
            raise RuntimeError("A thread that writes to a gallery beside others cannot have it alone.")
        with self._open("gate") as gate, self._open("lock") as lock:
            try:
                for file in (gate, lock):
                    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            with self._deeper(alone=True):
                yield True

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        assert self._folder is not None
        self._folder.mkdir(mode=0o700, exist_ok=True)
        file = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield file
        finally:
            os.close(file)  # which ends its lock

    @property
    def held(self) -> bool:
        """Whether this thread has it, shared or alone."""
        return bool(self._depth())

    def _depth(self) -> int:
        """1 where this thread shares it, −1 where it is alone, else 0."""
        return int(getattr(_held, "depths", {}).get(self._folder, 0))

    @contextmanager
    def _deeper(self, *, alone: bool = False) -> Iterator[None]:
        depths: dict[Path | None, int] = _held.__dict__.setdefault("depths", {})
        depths[self._folder] = -1 if alone else 1
        try:
            yield
        finally:
            depths[self._folder] = 0
