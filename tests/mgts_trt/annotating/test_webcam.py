import numpy as np
import pytest

from mgts_trt.annotating import webcam
from mgts_trt.annotating.webcam import webcam_frames
from mgts_trt.errors import SourceError


def test_frames_until_it_is_unplugged(webcam_of) -> None:
    opened = webcam_of([np.full((4, 6, 3), (1, 2, 3), np.uint8)] * 3)
    frames = webcam_frames("/dev/video7")
    assert [next(frames)[0, 0].tolist() for _ in range(3)] == [[3, 2, 1]] * 3
    with pytest.raises(SourceError, match="/dev/video7 gives no more frames, after 3"):
        next(frames)
    frames = webcam_frames("/dev/video7")
    next(frames)
    frames.close()
    assert [(capture.device, capture.released) for capture in opened] == [(7, True)] * 2


def test_a_webcam_that_is_not_there(monkeypatch) -> None:
    with pytest.raises(SourceError, match=r"There is no webcam /dev/video99. Name one that is there"):
        next(webcam_frames("/dev/video99"))
    monkeypatch.setattr(webcam.sys, "platform", "darwin")
    with pytest.raises(SourceError, match="cannot be opened: another program has it"):
        next(webcam_frames("/dev/video99"))
