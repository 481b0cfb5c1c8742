import os
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import ImageError, SourceError
from mgts_trt.gallery.indexing import scene
from mgts_trt.gallery.indexing.scene import SceneReader
from mgts_trt.gallery.indexing.video import video_frames
from mgts_trt.gallery.tables import Person
from mgts_trt.machine.files import file_sha256
from mgts_trt.pictures.image import read_image
from tests.helpers.camera_scenes import write_scenes, write_video

FRAMES = 60


def person_of(path: Path | str, number: int = 0, time: float | None = None, sha256: str | None = None) -> Person:
    digest = file_sha256(Path(path)) if sha256 is None else sha256
    return Person("id-0", None, str(path), number, time, None, digest, np.float32([0, 0, 9, 9]), 0.9, b"")


@pytest.fixture(scope="module", params=["MJPG .avi", "mp4v .mp4"])
def video(request, tmp_path_factory) -> Path:
    """Of frames alone, and with frames that refer to others."""
    codec, suffix = request.param.split()
    path = tmp_path_factory.mktemp("video") / f"video{suffix}"
    write_video(path, range(FRAMES), codec)
    return path


@pytest.mark.parametrize("sought", [True, False])
def test_every_frame_is_the_one_that_was_indexed(video: Path, sought: bool, monkeypatch) -> None:
    """Whether seeking finds it, or does not."""
    found = []
    seek = scene._seek
    monkeypatch.setattr(scene, "_seek", lambda *about: found.append(seek(*about)) or found[-1] if sought else None)
    frames, reader = list(video_frames(str(video), lambda _: True)), SceneReader()
    assert len(frames) == FRAMES
    for frame in frames[::7]:
        for offset in (0, 1, -1, 12, -25):
            if not 0 <= frame.number + offset < FRAMES:
                continue
            seen = reader.read(person_of(video, frame.number, frame.seconds), offset)
            wanted = frames[frame.number + offset]
            assert (seen.number, seen.seconds) == (wanted.number, wanted.seconds)
            assert np.array_equal(seen.image, wanted.image)
    assert any(each is not None for each in found) is sought


def test_seeking_that_lands_elsewhere_is_noticed(video: Path, monkeypatch) -> None:
    """A container whose times are not those of the frames."""
    time = scene._time
    monkeypatch.setattr(scene, "_time", lambda capture: time(capture) + 0.01)
    frames = list(video_frames(str(video), lambda _: True))
    seen = SceneReader().read(person_of(video, 50, frames[50].seconds))
    assert np.array_equal(seen.image, frames[50].image)


@pytest.mark.parametrize("offset", [-51, -(10**6), 10, 10**6])
def test_no_such_frame(video: Path, offset: int) -> None:
    with pytest.raises(SourceError, match=f"no frame {50 + offset}"):
        SceneReader().read(person_of(video, 50, 5.0), offset)


def test_a_picture(tmp_path: Path) -> None:
    path, *_ = write_scenes(tmp_path, range(1))
    seen = SceneReader().read(person_of(path))
    assert np.array_equal(seen.image, read_image(path))
    assert (seen.number, seen.seconds) == (0, None)
    with pytest.raises(SourceError, match="one frame only"):
        SceneReader().read(person_of(path), 1)


def test_a_file_that_changes_is_noticed_at_once(tmp_path: Path) -> None:
    path, other = write_scenes(tmp_path, range(2))
    reader, person = SceneReader(), person_of(path)
    reader.read(person)
    path.write_bytes(other.read_bytes())
    with pytest.raises(SourceError, match="another content"):
        reader.read(person)
    path.unlink()
    with pytest.raises(SourceError, match="no file"):
        reader.read(person)


@pytest.mark.parametrize(
    ("source", "sha256", "sentence"),
    [
        ("rtsp://camera/1", "", "live stream"),
        ("/a/picture.jpg", "", "live stream"),
        ("s3://bucket/a.jpg", "5" * 64, "other storage"),
        ("http://169.254.169.254/latest", "5" * 64, "other storage"),
        ("door", "5" * 64, "no file door"),
        ("/etc", "5" * 64, "no file /etc"),
        ("/etc/hostname/x", "5" * 64, "no file"),
        ("/etc/hostname", "5" * 64, "another content"),
        ("/dev/zero", "5" * 64, "no file"),
        ("/proc/self/environ", "5" * 64, "no file"),
        ("/a\0b", "5" * 64, "no file"),
        ("/" + "a" * 5000, "5" * 64, "Cannot read"),
    ],
)
def test_what_cannot_be_shown_says_why(source: str, sha256: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        SceneReader().read(person_of(source, sha256=sha256))


def test_a_pipe_does_not_hold_up_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(SourceError, match="no file"):
        SceneReader().read(person_of(tmp_path / "pipe.png", sha256="5" * 64))


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("text")
    with pytest.raises(ImageError):
        SceneReader().read(person_of(path))


def test_few_digests_are_remembered(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(scene, "_REMEMBERED", 2)
    reader = SceneReader()
    for path in write_scenes(tmp_path, range(4)):
        reader.read(person_of(path))
    assert len(reader._digests) == 2
