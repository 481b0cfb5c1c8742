"""Whether a video file is all there, by the structure of its container alone; nothing is decoded.

How many frames and seconds a container announces are estimates, and often wrong in files that are whole. Its structure
is not: it consists of parts that begin with their sizes, and in a file cut short the last part is longer than what is
left.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_LISTS = (b"RIFF", b"LIST")


class Structure(NamedTuple):
    """What a container's structure tells."""

    ends: bool
    """Whether its last part ends in the file; True where the format tells no sizes."""
    unbroken: bool
    """Whether there is a part wherever one should begin."""


def read_structure(path: str | Path) -> Structure:
    """Follow the parts of an MP4, MOV, AVI, Matroska, WebM or ASF file; any other is taken for whole.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        length, head = os.fstat(file.fileno()).st_size, file.read(16)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
            parts = _boxes(file, length)
        elif head[:4] == b"RIFF":
            parts = _chunks(file, length)
        elif head[:4] == _EBML:
            parts = _elements(file, length)
        elif head == _ASF_HEADER:
            parts = _objects(file, length)
        else:
            return Structure(ends=True, unbroken=True)
        for end in parts:
            if end is None:
                return Structure(ends=True, unbroken=False)
            if end > length:
                return Structure(ends=False, unbroken=True)
    return Structure(ends=True, unbroken=True)


def _boxes(file: BinaryIO, length: int) -> Iterator[int | None]:
    """Where each box of an MP4 or MOV file ends (ISO/IEC 14496-12, 4.2); None where there is none."""
    at = 0
    while head := _read(file, at, 16, length):
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        if not _is_name(name):
            return  # what some cameras append
        if size == 0:  # to the end
            return
        at += int.from_bytes(head[8:], "big") if size == 1 else size
        yield at if size > 7 or size == 1 else None


def _chunks(file: BinaryIO, length: int) -> Iterator[int | None]:
    """The same of the chunks of an AVI file, those in its lists included."""
    at = 0
    while head := _read(file, at, 8, length):
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if not _is_name(name):
            yield None
            return
        if name == b"RIFF" and size == 0:  # never closed
            return
        if name in _LISTS:
            yield at + 8 + size
            at += 12
        else:
            yield at + 8 + size
            at += 8 + size + size % 2


def _elements(file: BinaryIO, length: int) -> Iterator[int | None]:
    """The same of the elements of a Matroska file (RFC 8794), those in its segment and clusters included."""
    at = 0
    while head := _read(file, at, 12, length):
        name = _width(head[0])
        size = _width(head[name]) if 0 < name <= 4 else 0
        if not size:
            yield None
            return
        value = int.from_bytes(head[name : name + size], "big") & ((1 << 7 * size) - 1)
        at += name + size
        unknown = value == (1 << 7 * size) - 1
        if head[:name] in (_SEGMENT, _CLUSTER):  # what was muxed live tells no size of these
            if not unknown:
                yield at + value
            if not unknown and head[:name] == _SEGMENT:
                length = min(length, at + value)
        else:
            yield None if unknown else at + value
            at += value


def _objects(file: BinaryIO, length: int) -> Iterator[int | None]:
    """The same of the objects of an ASF file (WMV)."""
    at = 0
    while head := _read(file, at, 24, length):
        size = int.from_bytes(head[16:], "little")
        if size < 24:  # broadcast: none is told
            return
        at += size
        yield at


def _is_name(name: bytes) -> bool:
    """Whether it can be a part's type: four printable characters, of which Apple's may begin with a ©."""
    return all(32 <= sign < 127 for sign in name.removeprefix(b"\xa9"))


def _read(file: BinaryIO, at: int, count: int, length: int) -> bytes:
    """Bytes at a place, with zeros behind the end of the file; none at the end."""
    if at >= length:
        return b""
    file.seek(at)
    return file.read(count).ljust(count, b"\0")


def _width(first: int) -> int:
    """Bytes of a number of EBML, by its first one; 0 where it is none."""
    return 9 - first.bit_length() if first else 0
