"""Where a gallery's log of who did what lies."""

import hashlib
import os
import pwd
from pathlib import Path

from mgts_trt.access.audit_log import AuditLog
from mgts_trt.gallery.lance import is_local, locate
from mgts_trt.gallery.privacy import AUDIT
from mgts_trt.urls import without_login


def audit_log(url: str | Path) -> AuditLog:
    """A gallery's log: a folder in it, or for one in a bucket, which cannot be appended to, a folder of this machine.

    Args:
        url: Of the gallery: see `Gallery.open`.

    Raises:
        GalleryError: See `locate`.
    """
    location = locate(url)
    if is_local(location):
        return AuditLog(Path(location) / AUDIT)
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = hashlib.sha256(without_login(location).encode()).hexdigest()[:16]
    return AuditLog(state / "mgts-trt" / "audit" / name)


def this_user() -> dict[str, str]:
    """Who runs this process, as logs have it; of an administrator, also who they were before."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    before = os.environ.get("SUDO_USER")
    return {"by": "user", "name": name, **({"sudo": before} if before and not number else {})}
