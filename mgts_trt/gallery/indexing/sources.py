"""What there is to index: pictures, videos and live streams, by file, folder, pattern or URL."""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.remote import find_remote
from mgts_trt.pictures.image import IMAGE_SUFFIXES, find_images
from mgts_trt.urls import file_path, url_fault, without_login

Kind: TypeAlias = Literal["picture", "video", "stream"]

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"})
"""File names taken for videos, lower case."""

STREAM_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})
"""URLs taken for live streams."""


@dataclass(frozen=True)
class Source:
    """A picture, a video, or a live stream.

    Attributes:
        location: Absolute path, or URL.
        kind: Which of them it is.
        camera: A name of the camera, if there is one.
    """

    location: str
    kind: Kind
    camera: str | None = None

    @property
    def name(self) -> str:
        """What the gallery knows it by, and messages call it: the location, of a URL without user name and password."""
        return without_login(self.location)

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {self.kind!r}, {self.camera!r})"


def find_sources(
    arguments: Sequence[str], *, camera: str | None = None, camera_pattern: str | None = None
) -> list[Source]:
    """Everything to index, in the order named; of a folder all pictures and videos below it, sorted.

    Hidden files and folders are passed over. What is named twice is there once.

    Args:
        arguments: Files, folders, patterns such as `shop/**/*.jpg`, or URLs: `file://`, of a live stream,
            or of pictures on storage that fsspec knows (`s3://`, `gs://` …).
        camera: Name of the camera of all of them.
        camera_pattern: A regular expression: where it is found in a path or URL, its first group names the camera.

    Raises:
        SourceError: A path does not exist, there is nothing at all, or the pattern or a URL cannot be used.
    """
    pattern = _camera_pattern(camera_pattern)
    found: dict[str, Source] = {}
    for argument in arguments:
        for location, kind in _expand(argument):
            match = pattern.search(without_login(location)) if pattern else None
            found.setdefault(location, Source(location, kind, match[1] if match else camera))
    if not found:
        raise SourceError(
            f"Nothing to index in {', '.join(arguments)}: no picture ({_names(IMAGE_SUFFIXES)}) and no video "
            f"({_names(VIDEO_SUFFIXES)}). Name photos, videos, folders of them, or the URL of a stream."
        )
    return list(found.values())


def is_video(source: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES


def _camera_pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise SourceError(f"The camera pattern {text!r} is no regular expression: {error}.") from error
    if not pattern.groups:
        raise SourceError(
            f"The camera pattern {text!r} has no group. Put the part that names the camera into parentheses, as in "
            r"'_c(\d)s'."
        )
    return pattern


def _expand(argument: str) -> list[tuple[str, Kind]]:
    scheme, separator, _ = argument.partition("://")
    if separator and not Path(argument).exists():
        if scheme == "file":
            return _files(Path(file_path(argument)))
        if fault := url_fault(argument):
            raise SourceError(f"{without_login(argument)} cannot be read. {fault}")
        if scheme in STREAM_SCHEMES:
            return [(argument, "stream")]
        return [(url, "picture") for url in find_remote(argument)]
    path = Path(argument)
    if path.exists() or not glob.has_magic(argument):
        return _files(path)
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise SourceError(f"Nothing matches {argument}. Check the pattern; ** stands for folders within folders.")
    named = [Path(match) for match in matches]
    return [pair for path in named if path.is_dir() or _suffix_kind(path) for pair in _files(path)]


def _files(path: Path) -> list[tuple[str, Kind]]:
    """A file, whatever its name; of a folder what has the name of a picture or video."""
    if not path.exists():
        raise SourceError(f"There is no {path}. Name photos, videos, folders of them, or the URL of a stream.")
    suffixes = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    return [(os.path.abspath(file), _suffix_kind(file) or "picture") for file in find_images(path, suffixes)]


def _suffix_kind(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    return "picture" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None


def _names(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))
