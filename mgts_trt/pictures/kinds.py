"""Whether a file is a picture or a video: by its content; its name is a hint where the content says nothing."""

from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["picture", "video"]

# fmt: off
PICTURE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".dib", ".exr", ".gif", ".hdr", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".jxl", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".ras", ".sr", ".tif", ".tiff", ".webp",
})
"""What names of pictures end in, lower case. Not all can be read: a HEIC in a folder is named, not passed over."""

VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".dav", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2ts", ".m4v",
    ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".rm", ".ts", ".vob", ".webm",
    ".wmv", ".y4m",
})
"""What names of videos end in, lower case."""
# fmt: on

HEAD = 2048
"""Bytes at a file's beginning that `kind_of` looks at."""

_PICTURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",  # TIFF
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
    b"\x76\x2f\x31\x01",  # OpenEXR
    b"#?RADIANCE",
    b"#?RGBE",
    b"\x59\xa6\x6a\x95",  # Sun raster
    b"\0\0\0\x0cJXL ",
)
_VIDEOS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"\0\0\x01\xba",  # MPEG programme stream
    b"\0\0\x01\xb3",  # MPEG elementary stream
    b"0&\xb2u\x8ef\xcf\x11",  # ASF, WMV
    b"OggS",
    b"DHAV",  # Dahua's recorders
    b"DKIF",  # IVF
    b"\x06\x0e+4",  # MXF
    b".RMF",
    b"YUV4MPEG2",
    b"nut/multimedia container",
)
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_PROGRAMS = (".ts", ".mts")
"""Suffixes that programs in TypeScript have, too."""

_TRANSPORT = 0x47
"""What each packet of an MPEG transport stream begins with."""


def kind_of(head: bytes, name: str) -> Kind | None:
    """What a file is, or None if it is neither.

    Args:
        head: Its first `HEAD` bytes, or all there are.
        name: Its name, which decides where the content is none that is known.
    """
    if kind := _by_content(head):
        return kind
    suffix = Path(name).suffix.lower()
    hint: Kind | None = "picture" if suffix in PICTURE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None
    return None if suffix in _PROGRAMS and _is_text(head) else hint


def _by_content(head: bytes) -> Kind | None:
    if head.startswith(_PICTURES):
        return "picture"
    if head.startswith(_VIDEOS):
        return "video"
    if head[:4] == b"RIFF":
        return "picture" if head[8:12] == b"WEBP" else "video" if head[8:11] == b"AVI" else None
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(int.from_bytes(head[:4], "big"), 64), 4))]
        return "picture" if brands[0] in _PICTURE_BRANDS else "video"
    if head[4:8] in _QUICKTIME:
        return "video"
    if head[:1] == b"P" and head[1:2] in b"1234567Ff" and head[2:3].isspace():  # PBM, PGM, PPM, PAM, PFM
        return "picture"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "picture"
    if any(
        len(head) > start + 3 * step and {head[start + i * step] for i in range(4)} == {_TRANSPORT}
        for start, step in ((0, 188), (4, 192))
    ):
        return "video"
    return None


def _is_text(head: bytes) -> bool:
    """Whether it is written in letters."""
    return bool(head) and b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
