"""Frames of video files, through OpenCV's FFmpeg."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np

from mgts_trt._typing import Image
from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.container import read_structure
from mgts_trt.pictures.decoding import silent_opencv
from mgts_trt.runtime.cuda.picture import DevicePicture
from mgts_trt.tracking.cuts import Look

_LOST = 0.95
"""Of the frames a container announces: with fewer, a gap in its structure is taken for the reason."""


class VideoFrame(NamedTuple):
    """One frame."""

    number: int
    """From 0."""
    seconds: float
    """From the start, by the container."""
    image: Image | DevicePicture
    """uint8 [H, W, 3], RGB; in the GPU's memory where it was decoded there."""
    cut: bool = False
    """Whether another scene began since the frame given before; not told of frames in the GPU's memory."""


class Decoded(NamedTuple):
    """One frame, decoded and not yet fetched."""

    seconds: float
    """From the start, by the container."""
    image: Callable[[], Image | DevicePicture | None]
    """Fetches it, before the next frame is asked for; None where it cannot be decoded."""


Decoder: TypeAlias = Callable[[cv2.VideoCapture, str], Iterator[Decoded]]
"""All frames of a capture that was just opened, in order; it is told the path."""


def decode_on_cpu(capture: cv2.VideoCapture, path: str) -> Iterator[Decoded]:
    """Frames as FFmpeg decodes them, in host memory; see `Decoder`."""
    while capture.grab():
        yield Decoded(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3, partial(retrieve, capture))


def count_frames(path: str) -> int:
    """The frames a video file announces, none of which is decoded; 0 where it does not tell, or is no video.

    Few containers count frames. Others tell a duration, of sound too, from which those of videos with a variable rate
    do not follow: good for a progress bar.
    """
    with opened_video(path) as capture:
        return _announced(capture)


def video_frames(
    path: str, wanted: Callable[[int], bool], decode: Decoder = decode_on_cpu
) -> Generator[VideoFrame, None, int]:
    """The wanted frames of a video file, in order; the generator returns how many there are, wanted or not.

    All frames are decoded, since seeking lands on other frames in some containers. The video ends where the decoder
    says so, whatever was announced.

    Args:
        path: The file.
        wanted: Whether to give the frame of a number.
        decode: What decodes it.

    Raises:
        SourceError: It is no video; or, after its last frame, the file is cut short or has gaps.
    """
    with opened_video(path) as capture:
        number, announced = 0, _announced(capture)
        look: Look | None = None
        for found in decode(capture, path):
            if wanted(number) and (image := found.image()) is not None:
                before, look = look, None if isinstance(image, DevicePicture) else Look(image)
                cut = look is not None and before is not None and look.is_cut_from(before)
                # Rounded, so that it is the same on all machines.
                yield VideoFrame(number, round(found.seconds, 3), image, cut)
            number += 1
        structure = read_structure(path)
        if not number and structure.ends:
            raise SourceError(
                f"{path} is not a video OpenCV can read: it is damaged, or in another format. Convert it to H.264 in "
                "MP4 (ffmpeg -i VIDEO out.mp4)."
            )
        if not structure.ends or (not structure.unbroken and number < announced * _LOST):
            told = "its last part is longer than the file" if not structure.ends else f"{announced:,} were announced"
            raise SourceError(
                f"{path} is cut short or damaged: {number:,} frames could be decoded, and {told}. Fetch or copy it "
                "again; what could be decoded is indexed."
            )
        return number


@contextmanager
def opened_video(path: str) -> Iterator[cv2.VideoCapture]:
    """A video file, for as long as the block lasts; whether it could be opened shows with its first frame."""
    # What FFmpeg prints of its own accord is raised as errors here; -8 is its AV_LOG_QUIET.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Where nothing moves some videos have no frames for a while, only sound; after 4096 packets of it OpenCV would take
    # the video for ended.
    os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", str(2**31 - 1))
    # Without limit: a file on a slow disk has not ended.
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 0, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 0]
    with silent_opencv():
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, timeouts)
    try:
        yield capture
    finally:
        capture.release()


def _announced(capture: cv2.VideoCapture) -> int:
    return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) if capture.isOpened() else 0


def retrieve(capture: cv2.VideoCapture) -> Image | None:
    """The frame that was grabbed, uint8 [H, W, 3], RGB; None where it cannot be decoded."""
    ok, bgr = capture.retrieve()
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8) if ok else None
