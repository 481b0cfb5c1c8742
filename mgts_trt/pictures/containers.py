"""What picture files are made of: the segments of a JPEG, the chunks of a PNG or WebP, the boxes of an AVIF.

Each walk ends where the data does, and at the first length that cannot be; what it gave until then is whole.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

JPEG, PNG, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"
"""How files begin."""

JPEG_SCAN, JPEG_END = 0xDA, 0xD9
_NO_FRAME = (b"\xc4", b"\xc8", b"\xcc")  # among the frame headers' markers, but tables or reserved
_ADOBE, _COMMENT = b"\xee", b"\xfe"  # the first tells which colours the channels are
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


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width, as the first frame header states them; (0, 0) without one."""
    for kind, start, _ in jpeg_segments(data):
        if 0xC0 <= kind[0] <= 0xCF and kind not in _NO_FRAME:
            return _number(data, start + 1, 2), _number(data, start + 3, 2)
    return 0, 0


def jpeg_header_is_whole(data: bytes) -> bool:
    """Whether one segment follows the other up to the first scan, with nothing but fill bytes between them."""
    position = 2
    for kind, start, end in jpeg_segments(data):
        if data[position : start - 4].strip(b"\xff"):
            return False
        if kind[0] == JPEG_SCAN:
            return True
        position = end
    return False


def jpeg_without_extras(data: bytes) -> bytes:
    """A JPEG whose header holds what its pixels are made of, and nothing between the segments.

    Of a header that is damaged elsewhere a decoder can make the picture then.
    """
    kept = [data[:2]]
    for kind, start, end in jpeg_segments(data):
        if kind[0] == JPEG_SCAN:
            return b"".join((*kept, data[start - 4 :]))
        if kind == _ADOBE or not (0xE0 <= kind[0] <= 0xEF or kind == _COMMENT):
            kept.append(data[start - 4 : end])
    return data


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


def png_without_extras(data: bytes) -> bytes:
    """A PNG with nothing but what its pixels are made of: libpng prints of everything else what it finds fault with.

    Colour profiles, times and texts go, as do the further frames of an animation; OpenCV uses none of them.

    Args:
        data: A PNG whose chunks are all there.
    """
    palette = data[25] == 3  # in others it is a proposal

    def needed(kind: bytes) -> bool:
        return kind == b"tRNS" or (kind[:1].isupper() and (kind != b"PLTE" or palette))

    return PNG + b"".join(data[part.start - 8 : part.end + 4] for part in png_chunks(data) if needed(part.kind))


def webp_chunks(data: bytes) -> Iterator[Part]:
    """The chunks of a WebP's RIFF."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        yield Part(data[position : position + 4], position + 8, position + 8 + length)
        position += 8 + length + length % 2


def is_avif(data: bytes) -> bool:
    """Whether a file's content is an AVIF, or another file of boxes."""
    return data[4:8] == b"ftyp"


def avif_properties(data: bytes) -> list[Part]:
    """The properties of an AVIF's primary item (ISO/IEC 23008-12), none of them empty."""
    # "Full" boxes begin with a byte of version and three of flags.
    top = _inside(data, 0, len(data))
    meta = _inside(data, top[b"meta"][0] + 4, top[b"meta"][1]) if b"meta" in top else {}
    iprp = _inside(data, *meta[b"iprp"]) if b"iprp" in meta else {}
    if b"pitm" not in meta or not {b"ipco", b"ipma"} <= iprp.keys():
        return []
    start = meta[b"pitm"][0]
    primary = _number(data, start + 4, 4 if _number(data, start, 1) else 2)
    properties = list(_boxes(data, *iprp[b"ipco"]))
    indices = _associated(data, *iprp[b"ipma"], primary)
    found = [properties[index - 1] for index in indices if 0 < index <= len(properties)]
    return [part for part in found if part.start < part.end]


def _boxes(data: bytes, start: int, end: int) -> Iterator[Part]:
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


def _inside(data: bytes, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    return {kind: (first, last) for kind, first, last in _boxes(data, start, end)}


def _associated(data: bytes, start: int, end: int, item: int) -> list[int]:
    """The numbers, from 1, of an item's properties: what the box `ipma` between two places says of it."""
    id_size, index_size = (4 if _number(data, start, 1) else 2), (2 if _number(data, start + 3, 1) & 1 else 1)
    position = start + 8
    while position < end:
        name, count = _number(data, position, id_size), _number(data, position + id_size, 1)
        position += id_size + 1
        if name == item:
            # The highest bit says whether a reader must understand the property.
            mask = (1 << (8 * index_size - 1)) - 1
            return [_number(data, position + i * index_size, index_size) & mask for i in range(count)]
        position += count * index_size
    return []


def _number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "big")
