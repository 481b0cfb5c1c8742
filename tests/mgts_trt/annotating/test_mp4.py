import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.gallery.indexing.video import VideoFrame, video_frames
from mgts_trt.pictures.image import read_image
from tests.helpers.paths import SAMPLES

av = pytest.importorskip("av")

from mgts_trt.annotating.mp4 import Recording  # noqa: E402  # needs av

CONSTANT = tuple(number / 10 for number in range(8))
VARIABLE = (0.0, 0.04, 0.08, 0.5, 0.75, 3.0, 3.001, 3.04)


def pan(height: int, width: int, frames: int = 8) -> list[np.ndarray]:
    """A photo, looked at through a window that moves."""
    photo = cv2.resize(read_image(sorted(SAMPLES.glob("*.jpg"))[0]), (3 * width + 32, 2 * height + 32))
    return [np.ascontiguousarray(photo[4 * n : 4 * n + height, 4 * n : 4 * n + width]) for n in range(frames)]


def read_back(path: Path) -> list[VideoFrame]:
    return list(video_frames(str(path), lambda number: True))


@pytest.mark.parametrize("start", [0.0, 1_764_370_000.25, -3.0])
@pytest.mark.parametrize("times", [CONSTANT, VARIABLE])
@pytest.mark.parametrize("size", [(64, 96), (63, 95), (64, 97), (2, 2)])
def test_frames_sizes_and_times_are_kept(tmp_path: Path, size: tuple[int, int], times, start: float) -> None:
    frames = pan(*size)
    recording = Recording(tmp_path / "it.mp4", size)
    for seconds, image in zip(times, frames, strict=True):
        recording.add(start + seconds, image)
    recording.close()
    found = read_back(tmp_path / "it.mp4")
    assert recording.frames == len(found) == len(frames)
    assert [frame.seconds for frame in found] == pytest.approx(times, abs=1.1e-3)
    even = tuple(side + side % 2 for side in size)
    for frame, image in zip(found, frames, strict=True):
        assert frame.image.shape[:2] == even
        shown = frame.image[: size[0], : size[1]].astype(float)
        assert np.abs(shown - image).mean() < 16
    with av.open(str(tmp_path / "it.mp4")) as container:
        video = container.streams.video[0]
        assert video.codec.name in ("h264", "mpeg4")
        assert float(video.duration * video.time_base) == pytest.approx(2 * times[-1] - times[-2], abs=2e-3)


def test_times_that_stand_still_or_go_back_go_on(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "it.mp4", (32, 32))
    for seconds in (5.0, 5.1, 5.1, 2.0, 2.2):
        recording.add(seconds, np.zeros((32, 32, 3), np.uint8))
    recording.close()
    times = [frame.seconds for frame in read_back(tmp_path / "it.mp4")]
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.5], abs=1.1e-3)


def test_frames_of_another_size_are_fitted_in(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "it.mp4", (64, 96))
    for number, size in enumerate([(64, 96), (128, 64), (30, 600)]):
        recording.add(number / 5, np.full((*size, 3), 200, np.uint8))
    recording.close()
    whole, upright, flat = (frame.image.astype(int) for frame in read_back(tmp_path / "it.mp4"))
    assert abs(whole - 200).max() < 12
    for image, rows, columns in ((upright, slice(4, 60), slice(36, 60)), (flat, slice(31, 33), slice(8, 88))):
        assert abs(image[rows, columns] - 200).mean() < 40
        assert image[:4, :4].max() < 40
        assert image[-4:, -4:].max() < 40


def test_what_is_not_closed_plays_all_the_same(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "it.mp4", (48, 64))
    for number in range(160):
        recording.add(number / 10, np.full((48, 64, 3), number, np.uint8))
    shutil.copy(tmp_path / "it.mp4", tmp_path / "killed.mp4")
    recording.close()
    # Two fragments of 50 frames are full, and the third may wait in the encoder.
    assert len(read_back(tmp_path / "killed.mp4")) >= 100
    assert len(read_back(tmp_path / "it.mp4")) == 160


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(MgtsError, match=r"Cannot write .*it\.mp4, a video of 64×48 pixels: No such file"):
        Recording(tmp_path / "nowhere" / "it.mp4", (48, 64))
    with pytest.raises(MgtsError, match=r"a video of 70000×48 pixels: no encoder here takes frames"):
        Recording(tmp_path / "it.mp4", (48, 70_000))
