"""What stays out of a gallery because it was forgotten: keyed hashes of names and contents, and nothing in clear.

The key lies beside them. It keeps the hashes of one gallery from being looked up in another, or in tables made
beforehand; who has the gallery's folder can still try a name they suspect.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.notes import Notes

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
    """Those of one gallery, as they are kept now; other processes may add some at any moment.

    Args:
        notes: Where they are kept. None is nowhere: nobody is remembered.
    """

    def __init__(self, notes: Notes | None) -> None:
        self._notes = notes
        self._read: tuple[Hashable, _Held] | None = None

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
        if self._notes is None:
            return None
        if self._notes.read(_NAME) is None:
            self._change(lambda held: held)  # which gives it its key
        held = self._now()
        hashes = sorted({_hash(held.key, "content", each) for each in contents if each})
        seen = sorted({_hash(held.key, "sighting", each) for each in sightings})
        return Tombstone(_hash(held.key, "name", source) if _is_address(source) else "", tuple(hashes), tuple(seen))

    def add(self, *stones: Tombstone) -> None:
        """Put them up. For who has the gallery alone; again, it changes nothing.

        Raises:
            OSError: It cannot be written.
        """
        if set(stones) - set(self._now().stones):
            self._change(lambda held: replace(held, stones=tuple(dict.fromkeys((*held.stones, *stones)))))

    def lift(self, source: str, content: str = "") -> int:
        """Take down those of a source, or of a content; returns how many. For who has the gallery alone.

        Raises:
            OSError: It cannot be written.
        """
        before = self._now()
        name, of_content = _hash(before.key, "name", source), _hash(before.key, "content", content) if content else None

        def without(held: _Held) -> _Held:
            left = tuple(each for each in held.stones if each.name != name and of_content not in each.contents)
            return replace(held, stones=left)

        if lifted := len(before.stones) - len(without(before).stones):
            self._change(without)
        return lifted

    def cover(self, source: str, sha256: str = "", sighting: str | None = None) -> bool:
        """Whether a source, the content of a file, or a sighting while it went on, was forgotten."""
        return _covers(self._now(), source, sha256, sighting)

    def cover_sighting(self, sighting: str | None) -> bool:
        """Whether a sighting was forgotten while it went on."""
        return _covers_sighting(self._now(), sighting)

    def let_in(self, items: Sequence[T], told: Callable[[T], tuple[str, str] | tuple[str, str, str]]) -> Sequence[T]:
        """Those whose source and content, and sighting if it is told, were not forgotten."""
        held = self._now()  # once for all: in a bucket, each look is a request
        if not held.stones:
            return items
        out = {each for each in set(map(told, items)) if _covers(held, *each)}
        return [item for item in items if told(item) not in out]

    def _now(self) -> _Held:
        if self._notes is None:
            return _Held(b"")
        stamp = self._notes.stamp(_NAME)
        if self._read is None or self._read[0] != stamp:
            try:
                text = self._notes.read(_NAME)
            except OSError as error:
                raise _unreadable() from error
            self._read = stamp, _held(text)
        return self._read[1]

    def _change(self, how: Callable[[_Held], _Held]) -> None:
        """Keep what becomes of what is held."""
        if self._notes is not None:
            self._notes.change(_NAME, lambda text: _text(how(_held(text))), step="put the tombstones in place")
            self._read = None


def _held(text: str | None) -> _Held:
    if text is None:
        return _Held(secrets.token_bytes(32))
    try:
        told = json.loads(text)
        return _Held(bytes.fromhex(told["key"]), tuple(map(read_tombstone, told["stones"])))
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable() from error


def _unreadable() -> GalleryError:
    return GalleryError(
        f"What tells who was forgotten and stays out (`{_NAME}`, which the gallery keeps beside its tables) cannot be "
        "read. Bring it back from a copy; without it, what was forgotten may be indexed again."
    )


def _text(held: _Held) -> str:
    return json.dumps({"key": held.key.hex(), "stones": [asdict(each) for each in held.stones]})


def _covers(held: _Held, source: str, sha256: str, sighting: str | None = None) -> bool:
    if not held.stones:
        return False
    if _covers_sighting(held, sighting) or _hash(held.key, "name", source) in held.names:
        return True
    return bool(sha256) and _hash(held.key, "content", sha256) in held.contents


def _covers_sighting(held: _Held, sighting: str | None) -> bool:
    return sighting is not None and bool(held.sightings) and _hash(held.key, "sighting", sighting) in held.sightings


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
