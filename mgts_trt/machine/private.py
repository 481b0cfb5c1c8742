"""Folders that are their owner's alone, whatever the umask and whoever writes into them.

A folder's default access control list stands in for the umask: what is made below gets the list, and what LanceDB's
threads write, or another process, is no more open than what we write. The umask itself belongs to the whole process, in
which other threads write what a user asked for.
"""

import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

_LIST = "system.posix_acl_default"
_OWNER_ALONE = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", who, may, 0xFFFFFFFF) for who, may in ((0x01, 7), (0x04, 0), (0x20, 0))
)
"""Version 2 of the kernel's form: the owner may read, write and enter, group and others nothing."""


def make_private(folder: Path) -> None:
    """Make a folder that is its owner's alone, if it is not there; and keep it private: see `keep_private`.

    Raises:
        OSError: It cannot be made.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)  # a file in its place is an error, and stays as it is
    keep_private(folder)


def keep_private(folder: Path) -> None:
    """Take from others what they may do with a folder and all in it: folders get the mode 0700, files 0600.

    What is made in it later is private as well, where the file system has access control lists; elsewhere nobody but
    the owner comes past the folder. What belongs to another user, or lies on a disk that is read only, stays as it is.

    Args:
        folder: Or a single file. Links in it are left alone; a link in its place is followed.
    """
    if _is_private(folder):
        return
    with suppress(OSError):
        if folder.stat().st_uid != os.geteuid():
            return
        if not folder.is_dir():
            folder.chmod(0o600)
            return
        folder.chmod(0o700)  # first: from then on nobody else comes in
        for parent, _, files in os.walk(folder):
            for name in files:
                path = Path(parent, name)
                with suppress(OSError):  # it may be gone meanwhile
                    if stat.S_ISREG(path.lstat().st_mode):
                        path.chmod(0o600)
            if parent != str(folder):
                _close(Path(parent))
        _close(folder)  # last: it says that all in it is done


def _is_private(folder: Path) -> bool:
    try:
        return stat.S_IMODE(folder.stat().st_mode) == 0o700 and os.getxattr(folder, _LIST) == _OWNER_ALONE
    except OSError:
        return False


def _close(folder: Path) -> None:
    with suppress(OSError):
        folder.chmod(0o700)
        os.setxattr(folder, _LIST, _OWNER_ALONE)
