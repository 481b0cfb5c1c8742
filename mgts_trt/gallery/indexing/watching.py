"""Live streams, watched: opened again when they break, for ever, and left when they end."""

import hashlib
import http.client
import math
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from mgts_trt.errors import SourceError
from mgts_trt.gallery.frame import Frame
from mgts_trt.gallery.indexing.cameras import Camera, Cameras
from mgts_trt.gallery.indexing.channel import Channel
from mgts_trt.gallery.indexing.diagnosis import Silence
from mgts_trt.gallery.indexing.live_stream import (
    LiveFrame,
    Stalled,
    StreamDecoder,
    StreamEnd,
    frames_on_cpu,
    stream_frames,
)
from mgts_trt.gallery.indexing.reading import Failure, LiveOptions, Note, Picture, Read
from mgts_trt.gallery.indexing.sources import Source
from mgts_trt.gallery.indexing.stream_clock import StreamClock
from mgts_trt.runtime.cuda.picture import on_host

_COMPARED = 32
"""Frames of an opening that are compared with those of the one before."""

_REPEATS = 2
"""Times a stream begins anew with the same frames until it is taken for a recording."""

_UNCHANGED = 5
"""Times a picture on a web server is the same when it is opened again until it is taken for one that stays."""

_PATIENCE = 5.0
"""Seconds to wait for a web server to tell whether it has a recording."""


def read_stream(
    source: Source,
    channel: Channel[Read],
    *,
    every: int,
    live: LiveOptions,
    camera: Camera | None = None,
    room: int = 1,
    decode: StreamDecoder = frames_on_cpu,
) -> None:
    """Watch a live stream; one that breaks, stalls or cannot be opened is tried again, as often as it takes.

    One that never took the login it was given is given up at once: many cameras lock out who goes on with a wrong
    password. One that took it before is tried again, but seldom.

    A picture on a web server that is the same at every attempt, and a recording that has been played, are at their end,
    which is noted. It never waits for room: a new frame takes the place of the oldest that still waits, so that what is
    searched is always recent. Frames are numbered through all openings, and their times never go back, see
    `StreamClock`.

    Args:
        source: A stream.
        channel: Takes what is read; watching ends when it does.
        every: Every n-th frame is taken.
        live: When to stop.
        camera: Is told how the stream is doing.
        room: Most frames of it that wait to be searched.
        decode: What decodes it. One that it does not take is given up.

    Raises:
        BackendError: The GPU decodes, and fails.
    """
    camera = camera or Cameras().add(source)
    watch = _Watch(source, channel, every, live, camera, room, decode)
    try:
        watch.run()
    except SourceError as error:
        camera.ended(str(error))
        channel.tell(Note(f"{source.name} is given up"))
        channel.tell(Failure(source.name, error))
    else:
        camera.ended(watch.end)


class _Watch:
    """One stream, from its first attempt to its end.

    Attributes:
        end: Why it is at its end; None where it was told to stop.
    """

    def __init__(
        self,
        source: Source,
        channel: Channel[Read],
        every: int,
        live: LiveOptions,
        camera: Camera,
        room: int,
        decode: StreamDecoder,
    ) -> None:
        self.end: str | None = None
        self._source, self._channel, self._every, self._live = source, channel, every, live
        self._camera, self._room, self._decode = camera, room, decode
        self._start, self._clock, self._seen = time.monotonic(), StreamClock(), _Openings(_on_web(source.location))
        self._taken = self._frames = 0
        self._brought = self._new = 0  # frames of this opening, and those that are not the picture of the last one

    def run(self) -> None:
        """Watch. Raises `SourceError` where it is given up, or what is there is a recording of known length."""
        seen, live, pauses = self._seen, self._live, self._live.pauses
        attempt = failed = unchanged = 0
        while not self._channel.ended:
            end = self._read_opening()
            if end is None:
                return
            seen.end()
            if self._new and (seen.repeats == _REPEATS or (seen.openings == 1 and _has_length(self._source.location))):
                self._note_end("is a recording, and has ended. Download it to index it as a video.")
                return
            failed = 0 if self._brought else failed + 1
            unchanged = 0 if self._new else unchanged + bool(self._brought)
            attempt = 0 if self._new else attempt
            if unchanged == _UNCHANGED:
                self._note_end("shows one picture, which does not change: it is taken for its end.")
                return
            what = self._what_happened(end)
            self._camera.down(f"It {what}.")
            if failed == live.attempts:
                raise _lost(self._source.name, seen.frames, failed, what)
            refused = isinstance(end, Silence) and end.refused
            if refused and not seen.frames:
                raise _locked_out(self._source.name, what)
            pause = pauses[-1 if refused else min(attempt, len(pauses) - 1)]
            if attempt < len(pauses):
                rhythm = "every" if refused or 0 < attempt == len(pauses) - 1 else "in"
                self._channel.tell(Note(f"{self._source.name} {what}; trying again {rhythm} {pause:g} s"))
            left = math.inf if live.duration is None else max(self._start + live.duration - time.monotonic(), 0.0)
            if self._channel.pause(min(pause, left)):
                return
            if self._is_over():
                if not seen.frames:
                    raise _lost(self._source.name, 0, failed, what)
                return
            attempt += 1

    def _read_opening(self) -> StreamEnd | None:
        """Take frames until the stream breaks, and tell why it did; None where nothing more is to be read."""
        self._brought = self._new = 0
        frames = stream_frames(
            self._source.location,
            self._live.patience,
            self._live.transport,
            self._decode,
            self._source.name,
            lambda text: self._channel.tell(Note(text)),
        )
        with closing(frames):
            while True:
                try:
                    frame = next(frames)
                except StopIteration as end:
                    return cast(StreamEnd, end.value)
                self._brought += 1
                if self._channel.ended or self._is_over():
                    return None
                if self._seen.add(frame) and not self._take(frame):
                    return None

    def _take(self, brought: LiveFrame) -> bool:
        """Hand on a frame, if it is one of those wanted; False where no more is to be read."""
        now = self._clock.now()
        before = self._camera.up(now)
        if before.standing == "down" and before.last_frame is not None and not self._new:
            self._channel.tell(Note(f"{self._source.name} is back after {now - before.last_frame:,.0f} s"))
        self._new += 1
        number, self._frames = self._frames, self._frames + 1
        if number % self._every:
            return True
        frame = Frame(self._source.name, number, time=now, camera=self._source.camera)
        gone = self._channel.put_newest(Picture(frame, brought.image), self._source.location, self._room)
        if gone is None:
            return False
        self._taken += 1 - gone
        self._camera.took(1 - gone, gone)
        return self._live.limit is None or self._taken < self._live.limit

    def _what_happened(self, end: StreamEnd) -> str:
        if isinstance(end, Silence):
            return f"cannot be opened: {end.why}"
        if self._brought and not self._new:
            return "shows the same picture"
        if isinstance(end, Stalled):
            return f"brought no frame for {self._live.patience:g} s"
        return f"broke after {self._new:,} frames" if self._new else "sent no picture that can be read"

    def _note_end(self, why: str) -> None:
        self.end = f"It {why}"
        self._channel.tell(Note(f"{self._source.name} {why}"))

    def _is_over(self) -> bool:
        return self._live.duration is not None and time.monotonic() - self._start >= self._live.duration


class _Openings:
    """What a stream brought each time it was opened: a source that always begins anew is told from one that goes on.

    Args:
        web: Whether it may be a picture on a web server. A camera of another kind that shows one picture all the time
            looks into the dark.

    Attributes:
        frames: Of all openings.
        openings: With frames, that have ended.
        repeats: How often in a row an opening brought the frames of the one before.
    """

    def __init__(self, web: bool) -> None:
        self.frames = self.openings = self.repeats = 0
        self._web = web
        self._before, self._now = _Opening(), _Opening()

    def add(self, frame: LiveFrame) -> bool:
        """Take note of a frame; False if there is but one picture, in this opening so far as in the last one."""
        self.frames += 1
        self._now.add(frame)
        one = self._web and self._now.still and self._before.still and self._now.first[:1] == self._before.first[:1]
        return not one or self._now.frames > self._before.frames

    def end(self) -> None:
        """The stream broke, or could not be opened."""
        if not self._now.frames:
            return
        self.openings += 1
        same = self._now == self._before and (self._web or not self._now.still)
        self.repeats = self.repeats + 1 if same else 0
        self._before, self._now = self._now, _Opening()


@dataclass
class _Opening:
    """What came from one opening of a stream to its end; the same as another if as many frames began with the same."""

    frames: int = 0
    first: list[bytes] = field(default_factory=list)
    """Digests of the first frames."""
    still: bool = True
    """Whether all frames are one picture."""

    def add(self, frame: LiveFrame) -> None:
        self.frames += 1
        if self.frames > _COMPARED and not self.still:
            return
        digest = hashlib.blake2b(np.ascontiguousarray(on_host(frame.image)).data, digest_size=16).digest()
        if self.frames <= _COMPARED:
            self.first.append(digest)
        self.still = self.still and digest == self.first[0]


def _on_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _has_length(url: str) -> bool:
    """Whether a web server tells how long the video there is, as it does of a file and not of a stream."""
    if not _on_web(url):
        return False
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            kind = answer.headers.get_content_type()
            return answer.headers["Content-Length"] is not None and kind.startswith(("video/", "application/octet-"))
    except (OSError, ValueError, http.client.HTTPException):  # a password is needed, or it has gone
        return False


def _locked_out(name: str, what: str) -> SourceError:
    return SourceError(
        f"The stream {name} {what}. It is not tried again, since many cameras lock out who goes on with a wrong one. "
        "Write rtsp://USER:PASSWORD@HOST/PATH, with %40 for @, %3A for : and %2F for / in user name and password."
    )


def _lost(name: str, frames: int, attempts: int, what: str) -> SourceError:
    tried = f"{attempts} {'attempt' if attempts == 1 else 'attempts'}"
    if frames:
        return SourceError(
            f"The stream {name} broke after {frames:,} frames in all, and could not be opened again in {tried}: it "
            f"{what}. Check the camera and the network, and run the command again."
        )
    opening, _, reason = what.partition("cannot be opened: ")
    reason = f"it {what}" if opening else reason
    return SourceError(f"The stream {name} cannot be opened ({tried}): {reason}. Check the URL in a player.")
