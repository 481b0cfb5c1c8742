import cv2
import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra serve")

from mgts_trt.errors import ImageError, TooLargeError
from mgts_trt.pictures.bounded import decode_bounded

SUFFIXES = (".bmp", ".jpg", ".png", ".tiff", ".webp")


def encoded(suffix: str, height: int = 30, width: int = 50) -> bytes:
    return cv2.imencode(suffix, np.full((height, width, 3), (10, 20, 200), np.uint8))[1].tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_picture_as_large_as_allowed(suffix: str) -> None:
    image = decode_bounded(encoded(suffix), "name", 30 * 50)
    assert image.shape == (30, 50, 3)
    assert image[15, 25].tolist() == pytest.approx([200, 20, 10], abs=8)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_pixel_too_many_is_seen_before_it_is_decoded(suffix: str, monkeypatch) -> None:
    monkeypatch.setattr("mgts_trt.pictures.bounded.decode_image", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(TooLargeError, match="50×30 pixels"):
        decode_bounded(encoded(suffix), "name", 30 * 50 - 1)


@pytest.mark.parametrize(
    "data",
    [b"", b"no picture", b"GIF89a" + bytes(100), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
     b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP"],
)  # fmt: skip
def test_what_is_no_picture_of_these_kinds(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^name is"):
        decode_bounded(data, "name", 10**6)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_anywhere_it_is_an_error_or_a_picture(suffix: str) -> None:
    whole = encoded(suffix)
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        try:
            image = decode_bounded(whole[:length], "name", 10**6)
        except ImageError:
            continue
        assert image.shape == (30, 50, 3)
