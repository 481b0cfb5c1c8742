"""The keys that a running service knows: those of a file, as it is now, and one that it was given."""

import hashlib
import hmac
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mgts_trt.access.key_file import ROLES, Role, StoredKey, read_keys
from mgts_trt.access.key_hash import id_of, is_key
from mgts_trt.errors import AccessError

GIVEN = "(given)"
"""What the key is called that a service was started with: no key of a file can have this name."""
_REMEMBERED = 1024

logger = logging.getLogger("mgts_trt.service")


class Caller(NamedTuple):
    """Whose request it is."""

    name: str
    """Of the key."""
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        """Whether the key has a role, or is an admin's."""
        return role in self.roles or "admin" in self.roles


class KeyRing:
    """Tells whose a key is. Threads may share it.

    The file is looked at with each question, by its status alone: a key that was revoked or has expired is none from
    the next question on. A file that is gone, damaged or open to others holds no key until it is mended, and the log
    says so.

    Args:
        given: A key whose bearer is an admin, or None.
        path: A file of keys, or None.
        clock: Seconds since 1970.

    Raises:
        AccessError: See `read_keys`; or there is no key at all.
    """

    def __init__(
        self, given: str | None = None, path: Path | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._given = None if given is None else _digest(given)
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._seen = None if path is None else _status(path)
        self._keys = {} if path is None else {key.id: key for key in read_keys(path)}
        self._verified: dict[bytes, StoredKey] = {}
        self.on_change: Callable[[tuple[StoredKey, ...]], None] = lambda keys: None
        """Called with the keys of the file after it has changed."""
        if given is None and not self._keys:
            raise AccessError(f"There is no key in {path}. Make one with: mgts-trt keys add NAME --role search")

    @property
    def keys(self) -> tuple[StoredKey, ...]:
        """The keys of the file, as it is now."""
        with self._lock:
            self._refresh()
            return tuple(self._keys.values())

    def given(self, key: str) -> Caller | None:
        """Whether a key is the one that was given."""
        right = self._given is not None and hmac.compare_digest(_digest(key), self._given)
        return Caller(GIVEN, frozenset(ROLES)) if right else None

    def stored(self, key: str) -> StoredKey | None:
        """The key of the file that a text claims to be, by its id; it may yet be a wrong one."""
        identity = id_of(key)
        if identity is None:
            return None
        with self._lock:
            self._refresh()
            found = self._keys.get(identity)
        return None if found is None or found.expired(self._clock()) else found

    def remembered(self, key: str) -> Caller | None:
        """Whose a key of the file is, if it was verified before; quick."""
        found, digest = self.stored(key), _digest(key)
        with self._lock:
            return _caller(found) if found and self._verified.get(digest) == found else None

    def verify(self, key: str) -> Caller | None:
        """Whose a key of the file is; takes about ten milliseconds."""
        found = self.stored(key)
        if found is None or not is_key(key, found.salt, found.hash):
            return None
        with self._lock:
            if len(self._verified) >= _REMEMBERED:
                self._verified.clear()
            self._verified[_digest(key)] = found
        return _caller(found)

    def _refresh(self) -> None:
        if self._path is None or (seen := _status(self._path)) == self._seen:
            return
        self._seen = seen
        try:
            self._keys = {key.id: key for key in read_keys(self._path)}
        except AccessError as error:
            self._keys = {}
            logger.error("No key of the file is valid until it is mended: %s", error)
        self._verified.clear()
        self.on_change(tuple(self._keys.values()))


def _caller(key: StoredKey) -> Caller:
    return Caller(key.name, frozenset(key.roles))


def _status(path: Path) -> tuple[int, ...] | None:
    """What differs once a file was replaced, written, or given other permissions."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(key: str) -> bytes:
    # Of one length whatever the key's, which is all that a comparison in constant time would tell.
    return hashlib.sha256(key.encode()).digest()
