"""The frame somebody was seen in, read again from its source, where that is still there and still the same."""

import os
import stat
import threading
from pathlib import Path
from typing import NamedTuple

import cv2

from mgts_trt._typing import Image
from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.sources import is_video
from mgts_trt.gallery.indexing.video import opened_video, retrieve, video_frames
from mgts_trt.gallery.tables import Person
from mgts_trt.machine.files import file_sha256
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.cuda.picture import on_host

_REMEMBERED = 1000
"""Files whose digests are kept."""
_LEAD = 2.0
"""Seconds of a video decoded before the frame that is wanted: seeking lands within them."""


class Scene(NamedTuple):
    """A picture, or one frame of a video."""

    image: Image
    """uint8 [H, W, 3], RGB."""
    number: int
    """Of the frame, from 0; 0 of a picture."""
    seconds: float | None
    """From the video's start; None for a picture."""


class SceneReader:
    """Reads scenes of this machine's files. Any number of threads may.

    A file is read if its content is what was indexed, by its SHA-256, and whatever its name: so nobody who writes names
    into a gallery comes to see a file that he does not have already.
    """

    def __init__(self) -> None:
        self._digests: dict[tuple[str, int, int, int], str] = {}
        self._changing = threading.Lock()

    def read(self, person: Person, offset: int = 0) -> Scene:
        """The picture a person was seen in, or a frame of the video.

        Args:
            person: Who.
            offset: Of a video, frames after the one they were seen in; below 0, before it.

        Raises:
            SourceError: The source is gone, changed, a live stream, on other storage, or has no such frame.
            ImageError: The picture cannot be read any more.
        """
        path = self._unchanged(person)
        if is_video(person.source):
            return _video_scene(path, person, offset)
        if offset:
            raise SourceError(f"{person.source} is a picture, and has one frame only. Leave out the offset.")
        return Scene(read_image(path), 0, None)

    def _unchanged(self, person: Person) -> Path:
        source = person.source
        if not person.sha256:
            raise SourceError(
                f"{source} is a live stream: its frames are not kept, only a small picture of each person. Look into "
                "the camera's own recordings."
            )
        if "://" in source:
            raise SourceError(
                f"{source} lies on other storage; scenes are read from this machine's files alone. Fetch it from there."
            )
        path = Path(source)
        gone = SourceError(
            f"There is no file {source} on the service's machine any more: it was moved or removed, or sent over HTTP, "
            "which keeps a small picture of each person alone. Index files from a place where they stay."
        )
        if not path.is_absolute():
            raise gone
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode) or not about.st_size:  # no device, no pipe, none of /proc
                raise gone
            digest = self._sha256(path, about)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise gone from None
        except OSError as error:
            raise SourceError(f"Cannot read {source}: {error.strerror}. Check its permissions.") from error
        if digest != person.sha256:
            raise SourceError(
                f"{source} has another content than when it was indexed, so what was seen in it cannot be shown. Index "
                "it again."
            )
        return path

    def _sha256(self, path: Path, about: os.stat_result) -> str:
        key = (str(path), about.st_ino, about.st_size, about.st_mtime_ns)
        with self._changing:
            if digest := self._digests.get(key):
                return digest
        digest = file_sha256(path)
        with self._changing:
            if len(self._digests) >= _REMEMBERED:
                del self._digests[next(iter(self._digests))]
            self._digests[key] = digest
        return digest


def _video_scene(path: Path, person: Person, offset: int) -> Scene:
    number = person.number + offset
    if number >= 0:
        if person.time is not None and (found := _seek(path, person.time, offset)) is not None:
            return Scene(found[0], number, found[1])
        for frame in video_frames(str(path), lambda each: each == number):
            return Scene(on_host(frame.image), frame.number, frame.seconds)
    raise SourceError(f"The video {person.source} has no frame {number}. Name an offset nearer to 0.")


def _seek(path: Path, seconds: float, offset: int) -> tuple[Image, float] | None:
    """The frame that lies `offset` frames from the one at a time; None where seeking does not find that one for sure.

    Seeking lands on other frames in some containers. So the frame is told by its time, which indexing has stored: those
    from somewhat before it on are counted up to it, and counted again up to the one that is wanted.
    """
    with opened_video(str(path)) as capture:
        rate = capture.get(cv2.CAP_PROP_FPS)
        start = seconds - _LEAD - max(0, -offset) / rate if rate > 0 else 0.0
        if start <= 0:
            return None  # the start is near: decoding from there is as quick
        times: list[float] = []
        _start_at(capture, start)
        while (not times or times[-1] <= seconds) and capture.grab():
            times.append(_time(capture))
        wanted = times.index(seconds) + offset if times.count(seconds) == 1 else -1
        if wanted < 0:
            return None
        _start_at(capture, start)
        if not all(capture.grab() for _ in range(wanted + 1)):
            return None
        image = retrieve(capture)
        return None if image is None else (image, _time(capture))


def _start_at(capture: cv2.VideoCapture, seconds: float) -> None:
    capture.set(cv2.CAP_PROP_POS_MSEC, seconds * 1e3)


def _time(capture: cv2.VideoCapture) -> float:
    """Of the frame that was grabbed, rounded as indexing does."""
    return round(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3, 3)
