"""One process at a time, told by a file that the operating system unlocks when its holder ends, however it ends."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a folder's lock, a file `.lock` in it, which stays.

    Args:
        folder: Exists, and may be written in.
        on_wait: Called once if another process, or thread, holds the lock, before waiting for it.

    Raises:
        OSError: The file cannot be written, or its file system knows no locks.
    """
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
