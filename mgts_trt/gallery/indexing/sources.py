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
from mgts_trt.machine.files import place_kind
from mgts_trt.pictures.folders import Found, look_into
from mgts_trt.pictures.kinds import VIDEO_SUFFIXES
from mgts_trt.urls import file_path, url_fault, without_login

Kind: TypeAlias = Literal["picture", "video", "stream"]

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
        """What the gallery knows it by, and messages call it.

        The location; of a URL without user name and password; of a path that is no UTF-8, which no gallery can hold,
        its `file://` URL.
        """
        try:
            self.location.encode("utf-8")
        except UnicodeEncodeError:
            return Path(self.location).as_uri()
        return without_login(self.location)

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {self.kind!r}, {self.camera!r})"


def from_lists(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the lines of FILE in the place of `@FILE`: what is in a command every user of a machine sees.

    Empty lines, and those that begin with `#`, are passed over. A file whose own name begins with `@` is itself.

    Raises:
        SourceError: A list cannot be read, or names nothing.
    """
    named: list[str] = []
    for argument in arguments:
        if not argument.startswith("@") or place_kind(Path(argument)) is not None:
            named.append(argument)
            continue
        try:
            lines = [line.strip() for line in Path(argument[1:]).read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise SourceError(
                f"Cannot read the list of sources {argument[1:]}: {why}. Behind @ name a file with a source a line."
            ) from error
        listed = [line for line in lines if line and not line.startswith("#")]
        if not listed:
            raise SourceError(f"The list {argument[1:]} names no source. Write one a line.")
        named += listed
    return named


def find_sources(
    arguments: Sequence[str],
    *,
    camera: str | None = None,
    camera_pattern: str | None = None,
    beside: Found | None = None,
) -> list[Source]:
    """Everything to index, in the order named; of a folder all pictures and videos below it, sorted.

    Hidden files and folders are passed over. What is named twice is there once.

    Args:
        arguments: Files, folders, patterns such as `shop/**/*.jpg`, or URLs: `file://`, of a live stream,
            or of pictures on storage that fsspec knows (`s3://`, `gs://` …).
        camera: Name of the camera of all of them.
        camera_pattern: A regular expression: where it is found in a path or URL, its first group names the camera.
        beside: Takes what else is in folders: files that are passed over, and what cannot be looked into.

    Raises:
        SourceError: A path does not exist, there is nothing at all, or the pattern or a URL cannot be used.
    """
    if camera is not None and any(0xD800 <= ord(letter) < 0xE000 for letter in camera):
        raise SourceError(
            f"The camera's name {camera!r} is not written in UTF-8, and a gallery holds no other. Rename it."
        )
    pattern = _camera_pattern(camera_pattern)
    found: dict[str, Source] = {}
    beside = Found() if beside is None else beside
    for argument in arguments:
        for location, kind in _expand(argument, beside):
            match = pattern.search(without_login(location)) if pattern else None
            found.setdefault(location, Source(location, kind, match[1] if match else camera))
    if not found:
        what = f" ({'; '.join(beside.told[:3])})" if beside.told else ""
        raise SourceError(
            f"Nothing to index in {', '.join(arguments)}: neither picture nor video{what}. Name photos, videos, "
            "folders of them, or the URL of a stream."
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


def _expand(argument: str, beside: Found) -> list[tuple[str, Kind]]:
    scheme, separator, _ = argument.partition("://")
    if separator and place_kind(Path(argument)) is None:
        if scheme == "file":
            return _files(Path(file_path(argument)), beside)
        if fault := url_fault(argument):
            raise SourceError(f"{without_login(argument)} cannot be read. {fault}")
        if scheme in STREAM_SCHEMES:
            return [(argument, "stream")]
        return [(url, "picture") for url in find_remote(argument)]
    path = Path(argument)
    if not glob.has_magic(argument) or place_kind(path) is not None:
        return _files(path, beside)
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise SourceError(f"Nothing matches {argument}. Check the pattern; ** stands for folders within folders.")
    return [pair for match in matches for pair in _files(Path(match), beside, named=False)]


def _files(path: Path, beside: Found, *, named: bool = True) -> list[tuple[str, Kind]]:
    """A file that was named, whatever it is; of a folder, or where a pattern found it, pictures and videos."""
    if place_kind(path) is None:
        raise SourceError(f"There is no {path}. Name photos, videos, folders of them, or the URL of a stream.")
    found = look_into(path, ("picture", "video"), named=named)
    beside.add(found)
    return [(os.path.abspath(file), kind) for file, kind in found.files]
