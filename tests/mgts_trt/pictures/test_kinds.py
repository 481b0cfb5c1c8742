from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.pictures.kinds import HEAD, PICTURE_SUFFIXES, VIDEO_SUFFIXES, kind_of

PIXELS = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
WRITABLE = ".avif .bmp .dib .gif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .ppm .ras .tif .webp".split()  # noqa: SIM905
CODES = {
    ".avi": "MJPG", ".mp4": "mp4v", ".mkv": "MJPG", ".mov": "mp4v", ".flv": "FLV1", ".ts": "mpg2", ".mpg": "mpg1",
    ".wmv": "WMV2", ".3gp": "mp4v", ".webm": "VP80", ".asf": "MJPG",
}  # fmt: skip


@pytest.mark.parametrize("suffix", WRITABLE)
def test_what_opencv_writes_is_a_picture_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    try:
        done, data = cv2.imencode(suffix, PIXELS[..., 0] if suffix in (".pbm", ".pgm") else PIXELS)
    except cv2.error:
        done = False
    if not done:
        pytest.skip(f"this OpenCV writes no {suffix}")
    head = data.tobytes()[:HEAD]
    assert {kind_of(head, name) for name in ("x", f"x{suffix}", "x.mp4", "x.ts", "x.txt")} == {"picture"}


@pytest.mark.parametrize(("suffix", "code"), list(CODES.items()))
def test_what_opencv_writes_is_a_video_whatever_its_name(tmp_path: Path, suffix: str, code: str) -> None:
    file = tmp_path / f"v{suffix}"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*code), 25, (64, 48))
    for _ in range(30):
        writer.write(PIXELS)
    writer.release()
    if not file.exists() or file.stat().st_size < 200:
        pytest.skip(f"this OpenCV writes no {suffix}")
    head = file.read_bytes()[:HEAD]
    assert {kind_of(head, name) for name in ("x", f"x{suffix}", "x.jpg", "x.txt")} == {"video"}


@pytest.mark.parametrize(
    ("head", "name", "kind"),
    [
        (b"", "x.jpg", "picture"),  # broken, and to be told of
        (b"", "x.MP4", "video"),
        (b"", "x.txt", None),
        (b"import cv2\n", "x.py", None),
        (b"export const a = 1;\n", "x.ts", None),
        (b"a photo, once", "x.jpg", "picture"),
        (b"\x00\x01garbage", "x.dav", "video"),
        (b"DHAV\xfd\x00", "x", "video"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "x.jpg", "picture"),
        (b"\x00\x00\x00\x18ftyp3gp4\x00\x00\x00\x00isom3gp4", "x.jpg", "video"),
        (b"BM and a text", "x", None),
        (b"P5 is a game console", "x", "picture"),  # as PGM begins; reading it says what it is
        (b"RIFF\x00\x00\x00\x00WAVE", "x", None),
        (b"%PDF-1.7", "x.pdf", None),
    ],
)
def test_by_content_first(head: bytes, name: str, kind: str | None) -> None:
    assert kind_of(head, name) == kind


def test_no_suffix_is_both() -> None:
    assert not PICTURE_SUFFIXES & VIDEO_SUFFIXES
