"""Frames of live streams, through PyAV: each in its own size, and at their end the reason for it."""

import math
import time
from collections.abc import Callable, Generator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mgts_trt._typing import Image
from mgts_trt.choices import Transport
from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.diagnosis import Silence, why_silent
from mgts_trt.runtime.cuda.picture import DevicePicture

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

LONGEST_WAIT = 10.0
"""Seconds to wait for a stream to open, or for its next frame: without one for so long, it counts as down."""

_RTSP = ("rtsp://", "rtsps://")


class Stalled(NamedTuple):
    """No frame came in time, though the connection stands."""


class Broken(NamedTuple):
    """The connection broke, or its server ended the stream."""


StreamEnd: TypeAlias = Stalled | Broken | Silence
"""Why a stream brings no more frames; `Silence` where it could not be opened."""


class LiveFrame:
    """A frame that was decoded and not yet fetched.

    Args:
        fetch: Fetches it.
    """

    def __init__(self, fetch: Callable[[], Image | DevicePicture]) -> None:
        self._fetch = fetch

    @cached_property
    def image(self) -> Image | DevicePicture:
        """uint8 [H, W, 3], RGB; to be asked for before the next frame is."""
        return self._fetch()


PacketFrames: TypeAlias = "Callable[[Packet[Any]], Sequence[LiveFrame]]"
"""Takes each packet of a stream, as it comes, and gives the frames that are ready then."""

StreamDecoder: TypeAlias = "Callable[[VideoStream, str, Callable[[str], object]], PacketFrames]"
"""Decodes a stream that was just opened; it is told its name, without user name and password, and whom to tell."""


def frames_on_cpu(stream: "VideoStream", name: str, on_note: Callable[[str], object]) -> PacketFrames:
    """Frames as FFmpeg decodes them, in host memory; see `StreamDecoder`."""
    import av.error

    def decode(packet: "Packet[Any]") -> Sequence[LiveFrame]:
        try:
            return [LiveFrame(partial(_upright, frame)) for frame in stream.decode(packet)]
        except (av.error.FFmpegError, ValueError):  # what cannot be decoded is passed over
            return []

    return decode


def _upright(frame: "VideoFrame") -> Image:
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def stream_frames(
    url: str,
    patience: float = LONGEST_WAIT,
    transport: Transport = "tcp",
    decode: StreamDecoder = frames_on_cpu,
    name: str = "",
    on_note: Callable[[str], object] = lambda _: None,
) -> Generator[LiveFrame, None, StreamEnd]:
    """Frames of a stream as they come, until it breaks or ends, or none comes for a while.

    A camera may change its resolution in mid-stream: each frame has the size it was sent in. Frames that cannot be
    decoded are passed over. The generator returns why there are no more.

    Args:
        url: Of the stream.
        patience: Seconds to wait for it to open, and for each frame.
        transport: How frames of RTSP come. `tcp` falls back to UDP where the camera knows no other.
        decode: What decodes it.
        name: What it is called there, without user name and password.
        on_note: Is told by it what the user may want to know.

    Raises:
        SourceError: What is there is a recording, or PyAV is not installed; or what decodes does not take it.
        BackendError: The GPU fails.
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
        stream = container.streams.video[0]
        frames_of = decode(stream, name, on_note)
        last = time.monotonic()
        packets = container.demux()  # of all kinds, so that time is looked at while sound goes on without pictures
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None
            if packet is None:
                return Stalled() if time.monotonic() - last >= 0.9 * patience else Broken()
            for frame in frames_of(packet) if packet.stream.index == stream.index else ():
                yield frame
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
