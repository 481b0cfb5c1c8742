"""What stays out of a gallery because it was forgotten: keyed hashes of names and contents, and nothing in clear.

The key lies beside them. It keeps the hashes of one gallery from being looked up in another, or in tables made
beforehand; who has the gallery's folder can still try a name they suspect.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.steps import reached
from mgts_trt.machine.files import replace_file

T = TypeVar("T")

_NAME = "forgotten"


@dataclass(frozen=True)
class Tombstone:
    """One source that was forgotten, or people of whom a process that is indexing may still have more to tell.

    Attributes:
        name: Keyed hash of its name; empty where that is no address, but what a client called a picture.
        contents: Of the SHA-256 of each content that it had; none of a live stream.
        sightings: Of the id of each sighting that was forgotten while it went on.
    """

    name: str
    contents: tuple[str, ...] = ()
    sightings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Held:
    key: bytes
    stones: tuple[Tombstone, ...] = ()

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(each.name for each in self.stones)

    @cached_property
    def contents(self) -> frozenset[str]:
        return frozenset(content for each in self.stones for content in each.contents)

    @cached_property
    def sightings(self) -> frozenset[str]:
        return frozenset(sighting for each in self.stones for sighting in each.sightings)


class Tombstones:
    """Those of one gallery, as they are on the disk now; other processes may add some at any moment.

    Args:
        folder: Where they lie. None is a gallery that is no folder: it remembers nobody.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _NAME
        self._read: tuple[tuple[int, int, int] | None, _Held] | None = None

    def __len__(self) -> int:
        return len(self._now().stones)

    def make(self, source: str, contents: Iterable[str], sightings: Iterable[str] = ()) -> Tombstone | None:
        """The tombstone of a source, which `add` puts up; None where none are kept.

        Args:
            source: Its name in the gallery; empty where it may be indexed again.
            contents: SHA-256 of its files, in hexadecimal; an empty one is of a live stream, and left out.
            sightings: Ids of sightings that may be going on.

        Raises:
            OSError: The key cannot be written.
        """
        if self._path is None:
            return None
        held = self._now()
        if not self._path.exists():
            self._write(held)
        hashes = sorted({_hash(held.key, "content", each) for each in contents if each})
        seen = sorted({_hash(held.key, "sighting", each) for each in sightings})
        return Tombstone(_hash(held.key, "name", source) if _is_address(source) else "", tuple(hashes), tuple(seen))

    def add(self, *stones: Tombstone) -> None:
        """Put them up. For who has the gallery alone; again, it changes nothing.

        Raises:
            OSError: It cannot be written.
        """
        held = self._now()
        if new := [each for each in dict.fromkeys(stones) if each not in set(held.stones)]:
            self._write(replace(held, stones=(*held.stones, *new)))

    def lift(self, source: str, content: str = "") -> int:
        """Take down those of a source, or of a content; returns how many. For who has the gallery alone.

        Raises:
            OSError: It cannot be written.
        """
        held = self._now()
        name, of_content = _hash(held.key, "name", source), _hash(held.key, "content", content) if content else None
        left = tuple(each for each in held.stones if each.name != name and of_content not in each.contents)
        if len(left) < len(held.stones):
            self._write(replace(held, stones=left))
        return len(held.stones) - len(left)

    def cover(self, source: str, sha256: str = "", sighting: str | None = None) -> bool:
        """Whether a source, the content of a file, or a sighting while it went on, was forgotten."""
        held = self._now()
        if not held.stones:
            return False
        if self.cover_sighting(sighting):
            return True
        return _hash(held.key, "name", source) in held.names or (
            bool(sha256) and _hash(held.key, "content", sha256) in held.contents
        )

    def cover_sighting(self, sighting: str | None) -> bool:
        """Whether a sighting was forgotten while it went on."""
        held = self._now()
        return sighting is not None and bool(held.sightings) and _hash(held.key, "sighting", sighting) in held.sightings

    def let_in(self, items: Sequence[T], told: Callable[[T], tuple[str, str] | tuple[str, str, str]]) -> Sequence[T]:
        """Those whose source and content, and sighting if it is told, were not forgotten."""
        if not len(self):
            return items
        out = {each for each in set(map(told, items)) if self.cover(*each)}
        return [item for item in items if told(item) not in out]

    def _now(self) -> _Held:
        if self._path is None:
            return _Held(b"")
        try:
            about = self._path.stat()
            stamp = (about.st_ino, about.st_mtime_ns, about.st_size)
        except OSError:
            stamp = None
        if self._read is None or self._read[0] != stamp:
            self._read = stamp, _Held(secrets.token_bytes(32)) if stamp is None else self._load()
        return self._read[1]

    def _load(self) -> _Held:
        assert self._path is not None
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))
            return _Held(bytes.fromhex(told["key"]), tuple(map(read_tombstone, told["stones"])))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise GalleryError(
                f"The file {self._path}, which tells what was forgotten and stays out, cannot be read. Bring it back "
                "from a copy; without it, what was forgotten may be indexed again."
            ) from error

    def _write(self, held: _Held) -> None:
        assert self._path is not None
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        stones = [asdict(each) for each in held.stones]
        with replace_file(self._path, sync=True) as temporary:
            temporary.touch(0o600, exist_ok=False)
            temporary.write_text(json.dumps({"key": held.key.hex(), "stones": stones}), encoding="utf-8")
            reached("put the tombstones in place")
        self._read = None


def read_tombstone(told: Any) -> Tombstone:
    """From JSON; what an older version wrote tells of no sightings.

    Raises:
        KeyError, TypeError: It is none.
    """
    return Tombstone(str(told["name"]), tuple(told["contents"]), tuple(told.get("sightings", ())))


def _is_address(source: str) -> bool:
    """Whether what has this name is always the same: many pictures that come over HTTP are called `image.jpg`."""
    return os.path.isabs(source) or "://" in source


def _hash(key: bytes, what: str, text: str) -> str:
    return hmac.new(key, f"{what}\0{text}".encode(), hashlib.sha256).hexdigest()
