"""A folder that appears under its final name whole or not at all, whatever interrupts its making."""

import errno
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mgts_trt.errors import BuildError

_PREFIX = ".building"


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent` (made if need be) that is removed at the end unless `publish` has renamed it.

    What processes of this machine that no longer live left in `parent` is removed first.

    Raises:
        BuildError: The disk refuses.
    """
    folder = parent / f"{_PREFIX}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with disk_errors(parent):
        parent.mkdir(exist_ok=True)
        _remove_stale(parent)
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, final: Path, *, keep: Callable[[], bool]) -> None:
    """Rename `folder` to `final`, beside it; what lies there makes room, unless `keep()` says that it is wanted.

    Raises:
        BuildError: Other processes put something new there again and again.
        OSError: The disk refuses.
    """
    for _ in range(10):
        try:
            folder.rename(final)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if keep():
            return
        # Renamed before it is removed, so that nobody ever sees half of it.
        aside = folder.with_name(f"{folder.name}-old")
        with suppress(FileNotFoundError):
            final.rename(aside)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
    raise BuildError(f"{final} is replaced over and over by other processes. Stop them and build again.")


@contextmanager
def disk_errors(folder: Path, what: str = "the plan") -> Iterator[None]:
    """Turn what the operating system refuses to write into `folder` into a `BuildError` with advice."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = f"Free some space on the disk that holds {folder}, and build again."
        else:
            advice = "Copy the bundle to a folder you may write in, and build there."
        raise BuildError(f"Cannot write {what} into {folder}: {error.strerror or error}. {advice}") from error


def _remove_stale(parent: Path) -> None:
    mine = f"{_PREFIX}-{socket.gethostname()}-"
    for path in parent.glob(f"{mine}*"):
        process = path.name.removeprefix(mine).partition("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
