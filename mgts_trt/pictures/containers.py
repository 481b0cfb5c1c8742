"""What picture files are made of: the segments of a JPEG, the chunks of a PNG or WebP, the boxes of an AVIF.

Each walk ends where the data does, and at the first length that cannot be; what it gave until then is whole.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

JPEG, PNG, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"
"""How files begin."""

JPEG_SCAN, JPEG_END = 0xDA, 0xD9
# A marker that opens a segment: not byte stuffing (FF 00) and not a restart inside the entropy-coded data (FF D0-D7).
_JPEG_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")


class Part(NamedTuple):
    """A segment, chunk or box.

    Attributes:
        kind: A JPEG marker's second byte, or a chunk's or box's four letters.
        start: Where its content starts in the file.
        end: Where its content ends.
    """

    kind: bytes
    start: int
    end: int


def is_webp(data: bytes) -> bool:
    """Whether a file's content is a WebP."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def jpeg_segments(data: bytes) -> Iterator[Part]:
    """The segments up to the end marker, which is the last; one inside a segment belongs to an embedded thumbnail."""
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        start = marker.end()
        if data[start - 1] == JPEG_END:
            yield Part(marker[1], start, start)
            return
        position = start + _number(data, start, 2)
        yield Part(marker[1], start + 2, position)


def png_chunks(data: bytes) -> Iterator[Part]:
    """The chunks up to `IEND`, whose four bytes of checksum follow their content."""
    position = len(PNG)
    while position + 12 <= len(data):
        part = Part(data[position + 4 : position + 8], position + 8, position + 8 + _number(data, position, 4))
        if part.end + 4 > len(data):
            return
        yield part
        if part.kind == b"IEND":
            return
        position = part.end + 4


def webp_chunks(data: bytes) -> Iterator[Part]:
    """The chunks of a WebP's RIFF."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        yield Part(data[position : position + 4], position + 8, position + 8 + length)
        position += 8 + length + length % 2


def boxes(data: bytes, start: int, end: int) -> Iterator[Part]:
    """The boxes of an ISO base media file (ISO/IEC 14496-12) between two places."""
    while start + 8 <= end:
        length, header = _number(data, start, 4), 8
        if length == 1:
            length, header = _number(data, start + 8, 8), 16
        stop = start + length if length else end
        if stop < start + header or stop > end:
            return
        yield Part(data[start + 4 : start + 8], start + header, stop)
        start = stop


def _number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "big")
