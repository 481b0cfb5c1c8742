"""Files with secrets in them: nobody but their owner may read or write them."""

import os
import stat
from pathlib import Path

from mgts_trt.errors import AccessError


def require_private(path: Path, status: os.stat_result, what: str) -> None:
    """Refuse a file that others may read or write, or that belongs to another user than this one or root.

    Root may hand a file to a service by its group, as secrets of containers and of systemd are: such a one may be read
    by a group that this process, if it is not root's, is in.

    Args:
        path: Of the file.
        status: Of the file as it was opened.
        what: It holds, as in `the keys`.

    Raises:
        AccessError: It says what to do.
    """
    mode = stat.S_IMODE(status.st_mode)
    if mode & (0o037 if _handed_by_root(path, status) else 0o077):
        raise AccessError(
            f"Others on this machine may read or write {what} in {path} (mode {mode:04o}, expected 0600). Keep them "
            f"out: chmod 600 {path}"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise AccessError(
            f"{path} with {what} belongs to another user of this machine (number {status.st_uid}), who could change "
            f"what is in it. Take it over: chown {os.geteuid()} {path}"
        )


def _handed_by_root(path: Path, status: os.stat_result) -> bool:
    """Whether it is root's, and for this process: by its group, or by an access list, which systemd's credentials have.

    Of the latter the group's bits are the list's mask, and tell nothing of the group.
    """
    if status.st_uid != 0 or os.geteuid() == 0:
        return False
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return status.st_gid in {os.getegid(), *os.getgroups()} or (
        bool(credentials) and path.parent.resolve() == Path(str(credentials)).resolve()
    )
