"""An MP4 of annotated frames, each shown when it was seen."""

from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np

from mgts_trt._typing import Image
from mgts_trt.errors import MgtsError

_ENCODERS = ("libx264", "libopenh264", "h264_nvenc", "mpeg4")
"""The first that FFmpeg has and that opens is taken. All but the last write H.264, which browsers play."""

_TICKS = 90_000
"""Parts of a second that times are told in: MPEG's."""

_FRAGMENT = 50
"""Frames that are in a file only together: those after the last such are lost if the process is killed."""

_GAP = 1 / 25
"""Seconds between frames whose times do not tell."""


class Recording:
    """An MP4 that is written frame by frame, of constant or variable rate.

    All along it is fragmented, and so playable whatever becomes of the process; `close` makes a plain MP4 of it. Its
    size is that of its first frame, a pixel more where a side is odd, which H.264's colours do not allow: that repeats
    the edge. Frames of other sizes, as after a camera was set anew, are fitted in.

    Args:
        path: The file, which is replaced.
        image_hw: Height and width of the first frame, pixels.

    Attributes:
        frames: How many it has.

    Raises:
        MgtsError: The file cannot be written, or nothing here encodes such frames.
    """

    def __init__(self, path: Path, image_hw: tuple[int, int]) -> None:
        self._path, self._hw = path, image_hw
        self.frames = 0
        self._clock = _Clock()
        height, width = (side + side % 2 for side in image_hw)
        encoder = _find_encoder(height, width)
        try:
            if encoder is None:
                raise ValueError("no encoder here takes frames of this size")
            options = {"movflags": "hybrid_fragmented+frag_keyframe", "flush_packets": "1"}
            self._container = av.open(str(path), "w", format="mp4", options=options)
            stream = self._container.add_stream(encoder)
            assert isinstance(stream, av.VideoStream)
            self._stream = stream
            _set_up(self._stream.codec_context, height, width)
            self._stream.time_base = self._stream.codec_context.time_base
            self._container.start_encoding()
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise self._failed(error) from error

    def add(self, seconds: float, image: Image) -> None:
        """Show a frame, uint8 [H, W, 3], RGB, from this time on: seconds of any origin, the same for all frames.

        Raises:
            MgtsError: It cannot be written.
        """
        frame = av.VideoFrame.from_ndarray(_fit(image, self._hw), format="rgb24")
        frame.pts, frame.time_base = round(self._clock.at(seconds) * _TICKS), Fraction(1, _TICKS)
        self._write(frame)
        self.frames += 1

    def close(self) -> None:
        """Write what is left.

        Raises:
            MgtsError: It cannot be written.
        """
        self._write(None)
        try:
            self._container.close()
        except (OSError, av.error.FFmpegError) as error:
            raise self._failed(error) from error

    def _write(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                packet.duration = round(self._clock.gap * _TICKS)  # counts for the last one; others last until the next
                self._container.mux(packet)
        except (OSError, av.error.FFmpegError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> MgtsError:
        height, width = self._hw
        told = getattr(error, "strerror", None) or str(error)
        return MgtsError(f"Cannot write {self._path}, a video of {width}×{height} pixels: {told}.")


def _find_encoder(height: int, width: int) -> str | None:
    """The first encoder that is there and takes frames of this size."""
    for name in _ENCODERS:
        try:
            context = av.CodecContext.create(name, "w")
            assert isinstance(context, av.VideoCodecContext)
            _set_up(context, height, width)
            context.open()
        except (OSError, ValueError, av.error.FFmpegError):
            continue
        return name
    return None


def _set_up(context: av.VideoCodecContext, height: int, width: int) -> None:
    context.height, context.width, context.pix_fmt = height, width, "yuv420p"
    context.time_base, context.framerate = Fraction(1, _TICKS), Fraction(25)
    context.gop_size, context.max_b_frames = _FRAGMENT, 0
    context.thread_count = 2  # the others are the networks'
    if context.name == "libx264":
        context.options = {"preset": "veryfast"}


class _Clock:
    """Times from 0 that always go on, of times that mostly do.

    Attributes:
        gap: Seconds between the last two times that went on.
    """

    def __init__(self) -> None:
        self.gap = _GAP
        self._told: float | None = None
        self._start = 0.0

    def at(self, seconds: float) -> float:
        """When to show a frame of this time: as long after the first as it tells.

        Where the time stays or goes back, the frame comes as long after the one before as that came after its own, and
        those that follow are moved with it.
        """
        if self._told is None:
            self._start = seconds
        elif seconds > self._told:
            self.gap = seconds - self._told
        else:
            self._start -= self._told + self.gap - seconds
        self._told = seconds
        return seconds - self._start


def _fit(image: Image, image_hw: tuple[int, int]) -> Image:
    """A frame in the recording's size: as it is, or scaled into it, in the middle of black; both sides even."""
    height, width = image_hw
    if image.shape[:2] != image_hw:
        scale = min(height / image.shape[0], width / image.shape[1])
        inside = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        small = cv2.resize(image, inside, interpolation=cv2.INTER_AREA)
        top, left = (height - inside[1]) // 2, (width - inside[0]) // 2
        image = np.zeros((height, width, 3), np.uint8)
        image[top : top + inside[1], left : left + inside[0]] = small
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return np.ascontiguousarray(image)
