"""What commands do with a gallery is recorded in its log."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgts_trt.cli.console import warn
from mgts_trt.errors import AuditError

if TYPE_CHECKING:
    from mgts_trt.access.audit_log import AuditLog


@dataclass
class Done:
    """What a command tells of itself.

    Attributes:
        rows: How many people or sightings it gave, added or erased.
    """

    rows: int | None = None


@contextmanager
def recorded(
    url: str,
    what: str,
    *,
    changes: bool = False,
    subjects: Mapping[str, Sequence[str]] | None = None,
    probes: Sequence[Path] = (),
    more: Mapping[str, object] | None = None,
) -> Iterator[Done]:
    """Do something with a gallery, and record it: what changes it before it is begun, and everything once it is done.

    Where it cannot be recorded, that is told, and the command goes on: whoever runs it can read the gallery's files
    without it.

    Args:
        url: Of the gallery, which is there.
        what: A word for it.
        changes: Whether it changes the gallery.
        subjects: See `AuditLog.record`.
        probes: Photos of the probe.
        more: What else is told, in clear.
    """
    from mgts_trt.gallery.audit_place import audit_log

    log, done = audit_log(url), Done()
    hashes = [sha for each in probes if (sha := _sha256(each))]
    told: dict[str, Any] = {**(more or {}), "subjects": subjects, "probes": hashes or None}
    if changes:
        _record(log, what, stage="begun", **told)
    try:
        yield done
    except BaseException:
        if changes:
            _record(log, what, stage="failed", rows=done.rows, **told)
        raise
    _record(log, what, stage="done" if changes else None, rows=done.rows, **told)


def _record(log: "AuditLog", what: str, **told: Any) -> None:
    from mgts_trt.gallery.audit_place import this_user

    try:
        log.record(this_user(), what, sync=True, **told)
    except AuditError as error:
        warn(f"not recorded: {error}")


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
