"""Frames of video files and live streams, through OpenCV's FFmpeg."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np

from mgts_trt._typing import Image
from mgts_trt.errors import SourceError
from mgts_trt.pictures.image import silent_opencv

_TIMEOUT = 10_000
"""Milliseconds to wait for a stream to open, or for its next frame."""

_CUT_SHORT = 0.95
"""Of the frames a container announces; some announce a few too many."""


class VideoFrame(NamedTuple):
    """One frame."""

    number: int
    """From 0; in a live stream, since it was opened."""
    seconds: float
    """From the start, by the container."""
    image: Image
    """uint8 [H, W, 3], RGB."""


def count_frames(path: str) -> int:
    """The frames a video file announces, none of which is decoded; 0 where it does not tell, or is no video."""
    with _opened(path) as capture:
        return _announced(capture)


def video_frames(path: str, wanted: Callable[[int], bool]) -> Iterator[VideoFrame]:
    """The wanted frames of a video file, in order.

    All frames are decoded, since seeking lands on other frames in some containers.

    Args:
        path: The file.
        wanted: Whether to give the frame of a number.

    Raises:
        SourceError: It is no video, or it ends long before the last frame it announces: then after its last one.
    """
    with _opened(path) as capture:
        number, announced = 0, _announced(capture)
        while capture.grab():
            if wanted(number) and (image := _retrieve(capture)) is not None:
                # Rounded, so that it is the same on all machines.
                yield VideoFrame(number, round(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3, 3), image)
            number += 1
        if not number:
            raise SourceError(
                f"{path} is not a video OpenCV can read: it is damaged, or in another format. Convert it to H.264 in "
                "MP4 (ffmpeg -i VIDEO out.mp4)."
            )
        if number < announced * _CUT_SHORT:
            raise SourceError(
                f"{path} is cut short or damaged: it announces {announced:,} frames, and {number:,} could be decoded. "
                "Fetch or copy it again."
            )


def stream_frames(url: str) -> Iterator[VideoFrame]:
    """Frames of a stream as they come, until it breaks or ends, or none comes in ten seconds.

    The iterator's end does not tell why; a stream that cannot be opened has no frame.

    Raises:
        SourceError: What is there is a recording.
    """
    with _opened(url) as capture:
        number = 0
        if announced := _announced(capture):
            raise SourceError(
                f"A recording of {announced:,} frames is there, not a live stream. Download it, and name the file."
            )
        while capture.grab():
            if (image := _retrieve(capture)) is not None:
                yield VideoFrame(number, capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3, image)
            number += 1


@contextmanager
def _opened(location: str) -> Iterator[cv2.VideoCapture]:
    # What FFmpeg prints of its own accord is raised as errors here; -8 is its AV_LOG_QUIET.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT]
    with silent_opencv():
        capture = cv2.VideoCapture(location, cv2.CAP_FFMPEG, timeouts)
    try:
        yield capture
    finally:
        capture.release()


def _announced(capture: cv2.VideoCapture) -> int:
    return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) if capture.isOpened() else 0


def _retrieve(capture: cv2.VideoCapture) -> Image | None:
    ok, bgr = capture.retrieve()
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8) if ok else None
