"""A video, frame by frame, with the people drawn on it; on a GPU several frames are in flight at once.

Run: python docs/examples/03_a_video.py VIDEO [OUT] [BUNDLE]
"""

import sys
from collections.abc import Iterator
from itertools import tee
from pathlib import Path

import cv2
import numpy as np

from mgts_trt import PersonSearch


def frames_of(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Its frames as a search wants them, uint8 [H, W, 3], RGB; OpenCV's are BGR."""
    while (read := capture.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)


def main(video: str, out: str = "out", bundle: str = "bundle") -> None:
    """Write the video anew, with a box around everybody."""
    capture = cv2.VideoCapture(video)
    if not capture.isOpened():
        sys.exit(f"{video} is not a video that OpenCV can read.")
    Path(out).mkdir(parents=True, exist_ok=True)
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(f"{out}/people.mp4", cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size)

    with PersonSearch.open(bundle, mode="box") as search:
        frames, to_draw = tee(frames_of(capture))  # the stream reads ahead of what is drawn
        for people, frame in zip(search.stream(frames), to_draw, strict=True):
            writer.write(cv2.cvtColor(people.draw(frame), cv2.COLOR_RGB2BGR))
    writer.release()


main(*sys.argv[1:])
