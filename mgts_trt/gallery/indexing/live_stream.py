"""Frames of live streams, through PyAV: each in its own size, and at their end the reason for it."""

import math
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from mgts_trt._typing import Image
from mgts_trt.choices import Transport
from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.diagnosis import Silence, why_silent

if TYPE_CHECKING:
    from av.container import InputContainer

LONGEST_WAIT = 10.0
"""Seconds to wait for a stream to open, or for its next frame: without one for so long, it counts as down."""

_RTSP = ("rtsp://", "rtsps://")


class Stalled(NamedTuple):
    """No frame came in time, though the connection stands."""


class Broken(NamedTuple):
    """The connection broke, or its server ended the stream."""


StreamEnd: TypeAlias = Stalled | Broken | Silence
"""Why a stream brings no more frames; `Silence` where it could not be opened."""


def stream_frames(
    url: str, patience: float = LONGEST_WAIT, transport: Transport = "tcp"
) -> Generator[Image, None, StreamEnd]:
    """Frames of a stream as they come, uint8 [H, W, 3], RGB, until it breaks or ends, or none comes for a while.

    A camera may change its resolution in mid-stream: each frame has the size it was sent in. Frames that cannot be
    decoded are passed over. The generator returns why there are no more.

    Args:
        url: Of the stream.
        patience: Seconds to wait for it to open, and for each frame.
        transport: How frames of RTSP come. `tcp` falls back to UDP where the camera knows no other.

    Raises:
        SourceError: What is there is a recording, or PyAV is not installed.
    """
    try:
        import av
        import av.error
    except ImportError as error:
        raise SourceError(f"{url} is a live stream, which PyAV reads. Run pip install 'mgts-trt[video]'.") from error
    try:
        container = av.open(url, options=_options(url, transport), timeout=patience)
    except (av.error.FFmpegError, ValueError) as error:
        return why_silent(url, error)
    with container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            return Silence("there is no video in it that can be read")
        _refuse_recordings(container, url)
        index, last = container.streams.video[0].index, time.monotonic()
        packets = container.demux()  # of all kinds, so that time is looked at while sound goes on without pictures
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None
            if packet is None:
                return Stalled() if time.monotonic() - last >= 0.9 * patience else Broken()
            try:
                frames = packet.decode() if packet.stream.index == index else []
            except (av.error.FFmpegError, ValueError):
                frames = []
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                last = time.monotonic()
            if time.monotonic() - last >= patience:
                return Stalled()


def _options(url: str, transport: Transport) -> dict[str, str]:
    """Options of FFmpeg's reader.

    RTSP tells in its description what comes. Left alone, FFmpeg would still look at some thirty frames before it gave
    the first, which takes a camera of two frames a second beyond any patience.
    """
    if not url.startswith(_RTSP):
        return {}
    over = {"rtsp_flags": "prefer_tcp"} if transport == "tcp" else {"rtsp_transport": "udp"}
    return {"allowed_media_types": "video", "probesize": "32", **over}


def _refuse_recordings(container: "InputContainer", url: str) -> None:
    """Raise where the container tells a length; that of one frame is a picture, and may be another next time."""
    stream = container.streams.video[0]
    seconds = (container.duration or 0) / 1e6
    frames = stream.frames or math.floor(seconds * float(stream.average_rate or 25) + 0.5)
    if frames > 1:
        raise SourceError(
            f"{url} is a recording of {frames:,} frames, not a live stream. Download it, and name the file."
        )
