"""Frames of a webcam."""

import sys
from collections.abc import Generator
from pathlib import Path

import cv2

from mgts_trt._typing import Image
from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.video import retrieve
from mgts_trt.pictures.decoding import silent_opencv


def webcam_frames(device: str) -> Generator[Image, None, None]:
    """Frames of a webcam as they come, uint8 [H, W, 3], RGB; those that nobody takes are the driver's to drop.

    Args:
        device: `/dev/videoN`; where devices have no such files, OpenCV's N-th camera.

    Raises:
        SourceError: It cannot be opened, or gives no more frames.
    """
    with silent_opencv():
        capture = cv2.VideoCapture(int(device.removeprefix("/dev/video")))
    try:
        if not capture.isOpened():
            raise SourceError(_refused(device))
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver can, so that a frame is recent
        count = 0
        while capture.grab():
            if (image := retrieve(capture)) is not None:
                count += 1
                yield image
        raise SourceError(
            f"The webcam {device} gives no more frames, after {count:,}. Check its cable, and run the command again."
        )
    finally:
        capture.release()


def _refused(device: str) -> str:
    if sys.platform == "linux" and not Path(device).exists():
        there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "there is none on this machine"
        return f"There is no webcam {device}. Name one that is there: {there}."
    return (
        f"The webcam {device} cannot be opened: another program has it, it is not yours to read, or it gives no "
        "pictures. Close what uses it, join the group video, or name another."
    )
