"""Live streams, watched: opened again when they break, and left when they end."""

import hashlib
import http.client
import math
import time
import urllib.request
from dataclasses import dataclass, field

import numpy as np

from mgts_trt._typing import Image
from mgts_trt.errors import SourceError
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.reading import Dropped, Failure, LiveOptions, Note, Picture, Read
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.gallery.indexing.video import stream_frames

_COMPARED = 32
"""Frames of an opening that are compared with those of the one before."""

_REPEATS = 2
"""Times a stream begins anew with the same frames until it is taken for a recording."""

_PATIENCE = 5.0
"""Seconds to wait for a web server to tell whether it has a recording."""


def read_stream(source: Source, channel: Channel[Read], *, every: int, live: LiveOptions) -> None:
    """Watch a live stream; one that breaks is opened again, and given up after some attempts that bring no frame.

    A picture that is the same at every attempt, and a recording that has been played, are at their end, which is noted.
    It never waits for room: a frame there is no room for is dropped, so that what is read is always recent.

    Args:
        source: A stream.
        channel: Takes what is read; watching ends when it does.
        every: Every n-th frame is taken.
        live: When to stop.
    """
    try:
        _watch(source, channel, every, live)
    except SourceError as error:
        channel.put(Failure(source.name, error))


def _watch(source: Source, channel: Channel[Read], every: int, live: LiveOptions) -> None:
    start, seen, taken, attempt = time.monotonic(), _Openings(), 0, 0
    while not channel.ended:
        brought = new = 0
        for found in stream_frames(source.location):
            brought += 1
            if channel.ended or _over(start, live):
                return
            if not seen.add(found.image):
                continue
            new += 1
            if found.number % every:
                continue
            frame = Frame(source.name, found.number, time=round(time.time(), 3), camera=source.camera)
            if not channel.put(Picture(frame, found.image), wait=False):
                channel.put(Dropped(1))
                continue
            taken += 1
            if live.limit is not None and taken >= live.limit:
                return
        seen.end()
        if new and (seen.repeats == _REPEATS or (seen.openings == 1 and _has_length(source.location))):
            channel.put(Note(f"{source.name} is a recording, and has ended. Download it to index it as a video."))
            return
        attempt = 0 if new else attempt
        if attempt == len(live.pauses):
            if not brought:
                raise _lost(source.name, seen.frames, attempt)
            channel.put(Note(f"{source.name} shows one picture, which does not change: it is taken for its end."))
            return
        what = f"broke after {brought:,} frames" if new else "shows the same picture" if brought else "cannot be opened"
        channel.put(Note(f"{source.name} {what}; trying again in {live.pauses[attempt]:g} s"))
        left = math.inf if live.duration is None else max(start + live.duration - time.monotonic(), 0.0)
        if channel.pause(min(live.pauses[attempt], left)):
            return
        if _over(start, live):
            if not seen.frames:
                raise _lost(source.name, 0, attempt)
            return
        attempt += 1


class _Openings:
    """What a stream brought each time it was opened: a source that always begins anew is told from one that goes on.

    Attributes:
        frames: Of all openings.
        openings: With frames, that have ended.
        repeats: How often in a row an opening brought the frames of the one before.
    """

    def __init__(self) -> None:
        self.frames = self.openings = self.repeats = 0
        self._before, self._now = _Opening(), _Opening()

    def add(self, image: Image) -> bool:
        """Take note of a frame; False if there is but one picture, in this opening so far as in the last one."""
        self.frames += 1
        self._now.add(image)
        one = self._now.still and self._before.still and self._now.first[:1] == self._before.first[:1]
        return not one or self._now.frames > self._before.frames

    def end(self) -> None:
        """The stream broke, or could not be opened."""
        if not self._now.frames:
            return
        self.openings += 1
        self.repeats = self.repeats + 1 if self._now == self._before else 0
        self._before, self._now = self._now, _Opening()


@dataclass
class _Opening:
    """What came from one opening of a stream to its end; the same as another if as many frames began with the same."""

    frames: int = 0
    first: list[bytes] = field(default_factory=list)
    """Digests of the first frames."""
    still: bool = True
    """Whether all frames are one picture."""

    def add(self, image: Image) -> None:
        self.frames += 1
        if self.frames > _COMPARED and not self.still:
            return
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        if self.frames <= _COMPARED:
            self.first.append(digest)
        self.still = self.still and digest == self.first[0]


def _has_length(url: str) -> bool:
    """Whether a web server tells how long the video there is, as it does of a file and not of a stream."""
    if not url.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            kind = answer.headers.get_content_type()
            return answer.headers["Content-Length"] is not None and kind.startswith(("video/", "application/octet-"))
    except (OSError, ValueError, http.client.HTTPException):  # a password is needed, or it has gone
        return False


def _over(start: float, live: LiveOptions) -> bool:
    return live.duration is not None and time.monotonic() - start >= live.duration


def _lost(name: str, frames: int, attempts: int) -> SourceError:
    if frames:
        return SourceError(
            f"The stream {name} broke after {frames:,} frames in all, and could not be opened again. Check the camera "
            "and the network, and run the command again."
        )
    return SourceError(
        f"The stream {name} cannot be opened ({attempts + 1} attempts): nobody answers there, the user name or "
        "password is wrong, or it is no video. Check the URL in a player."
    )
