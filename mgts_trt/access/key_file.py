"""The file of keys: names, roles and hashes; never a key."""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgts_trt.access.key_hash import hash_of, id_of, new_key, new_salt
from mgts_trt.access.private_file import require_private
from mgts_trt.errors import AccessError, first_fault
from mgts_trt.machine.files import replace_file
from mgts_trt.machine.locks import locked

Role = Literal["search", "index", "forget", "admin"]
"""`search` finds and looks, `index` adds, `forget` erases; `admin` may do all of it."""
ROLES: tuple[Role, ...] = get_args(Role)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HEX32 = "[0-9a-f]{32}"


class StoredKey(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{_NAME.pattern}$")
    """Whom the key was given to; what logs call its bearer."""
    id: str = Field(pattern="^[0-9a-f]{16}$")
    roles: tuple[Role, ...] = Field(min_length=1)
    salt: str = Field(pattern=f"^{_HEX32}$")
    hash: str = Field(pattern=f"^{_HEX32}{_HEX32}$")
    made: float
    """Seconds since 1970."""
    expires: float | None = None
    """Seconds since 1970, from when on it is no longer valid; None: never."""

    def expired(self, now: float) -> bool:
        """Whether it is past its time."""
        return self.expires is not None and now >= self.expires


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    keys: tuple[StoredKey, ...]


def read_keys(path: Path) -> tuple[StoredKey, ...]:
    """The keys of a file, in the order they were made.

    Raises:
        AccessError: It cannot be read, is none, or others may read or write it.
    """
    try:
        with path.open("rb") as file:
            require_private(path, os.fstat(file.fileno()), "the keys")
            text = file.read()
    except FileNotFoundError as error:
        raise AccessError(
            f"There is no file of keys {path}. Make one with: mgts-trt keys add NAME --role search --keys {path}"
        ) from error
    except OSError as error:
        raise AccessError(
            f"Cannot read the keys in {path}: {error.strerror}. Check the path and its permissions."
        ) from error
    try:
        return _Content.model_validate_json(text).keys
    except ValidationError as error:
        raise AccessError(
            f"{path} is no file of keys: {first_fault(error)}. Name one that mgts-trt keys add has made."
        ) from error


def add_key(path: Path, name: str, roles: Sequence[Role], *, expires: float | None = None) -> str:
    """Make a key and keep its hash; returns the key, which nobody can tell afterwards.

    Args:
        path: The file, made if it is not there.
        name: Letters, digits and `. _ @ -`, at most 64; no other key has it.
        roles: One or several.
        expires: See `StoredKey`.

    Raises:
        AccessError: The name is taken or none, there is no role, or the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise AccessError(
            f"{name[:100]!r} is no name of a key: expected are up to 64 letters, digits and . _ @ -, a letter or digit "
            "first."
        )
    if not roles:
        raise AccessError(f"The key {name} has no role. Give one or several of: {', '.join(ROLES)}.")
    key, salt = new_key(), new_salt()
    identity = id_of(key)
    assert identity is not None
    ordered = tuple(role for role in ROLES if role in roles)
    stored = StoredKey(
        name=name, id=identity, roles=ordered, salt=salt, hash=hash_of(key, salt), made=time.time(), expires=expires
    )
    with _Change(path, missing=()) as change:
        if any(each.name == name for each in change.keys):
            raise AccessError(
                f"There is a key named {name} already. Choose another name, or end that one first: "
                f"mgts-trt keys revoke {name} --keys {path}"
            )
        change.write((*change.keys, stored))
    return key


def revoke_key(path: Path, name: str) -> None:
    """End a key. Services that use the file notice at their next request.

    Raises:
        AccessError: There is none of this name, or the file cannot be read or written.
    """
    with _Change(path) as change:
        left = tuple(each for each in change.keys if each.name != name)
        if len(left) == len(change.keys):
            names = ", ".join(each.name for each in left) or "none"
            raise AccessError(f"There is no key named {name[:100]!r} in {path}. Its keys are: {names}.")
        change.write(left)


class _Change:
    """The keys of a file, kept from others until they have been replaced."""

    def __init__(self, path: Path, missing: tuple[StoredKey, ...] | None = None) -> None:
        self._path, self._missing = path, missing
        self.keys: tuple[StoredKey, ...] = ()

    def __enter__(self) -> "_Change":
        try:
            self._lock = locked(self._path.parent, name=f".{self._path.name}.lock")
            self._lock.__enter__()
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self.keys = (
                self._missing if self._missing is not None and not self._path.exists() else read_keys(self._path)
            )
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.__exit__(None, None, None)

    def write(self, keys: tuple[StoredKey, ...]) -> None:
        text = _Content(format=1, keys=keys).model_dump_json(indent=2) + "\n"
        try:
            with replace_file(self._path, sync=True) as temporary:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    os.fchmod(descriptor, 0o600)  # whatever the umask is
                    file.write(text)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> AccessError:
        return AccessError(
            f"Cannot write the keys {self._path}: {error.strerror}. Name a file in a folder that exists and is yours."
        )
