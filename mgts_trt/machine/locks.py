"""One process at a time, told by a file that the operating system unlocks when its holder ends, however it ends."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None] = lambda: None, *, name: str = LOCK) -> Iterator[None]:
    """Hold a folder's lock, a file in it, which stays.

    Args:
        folder: Exists, and may be written in.
        on_wait: Called once if another process, or thread, holds the lock, before waiting for it.
        name: Of the file: what has another name is another lock.

    Raises:
        OSError: The file cannot be written, or its file system knows no locks.
    """
    with (folder / name).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
