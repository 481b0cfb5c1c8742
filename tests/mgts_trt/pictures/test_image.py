import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.errors import ImageError
from mgts_trt.pictures.image import as_image, read_image, write_image


def quadrants(height: int = 48, width: int = 32) -> np.ndarray:
    """Red, green / blue, white: no rotation or reflection leaves it as it is."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = 255
    return image


def encode(suffix: str, rgb: np.ndarray) -> bytes:
    return cv2.imencode(suffix, rgb[..., ::-1])[1].tobytes()


def with_exif(jpeg: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    """Insert an APP1 segment with one TIFF tag, 0x0112 Orientation, after the start marker."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    payload = b"Exif\0\0" + tiff + thumbnail
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def png(width: int, height: int, depth: int, colour_type: int, raw: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


# read_image -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".ppm"])
def test_read_gives_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(encode(suffix, quadrants()))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, quadrants())


def test_read_takes_a_string_and_goes_by_content(tmp_path: Path) -> None:
    path = tmp_path / "really_a.jpg"
    path.write_bytes(encode(".png", quadrants()))
    np.testing.assert_array_equal(read_image(str(path)), quadrants())


def test_read_one_pixel(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        path = tmp_path / f"pixel{suffix}"
        path.write_bytes(encode(suffix, np.full((1, 1, 3), 77, np.uint8)))
        np.testing.assert_array_equal(read_image(path), np.full((1, 1, 3), 77))


def test_read_very_large_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(cv2.imencode(".jpg", np.full((9_000, 12_000), 90, np.uint8))[1].tobytes())
    image = read_image(path)
    assert image.shape == (9_000, 12_000, 3)
    np.testing.assert_array_equal(image[::4_000, ::4_000], 90)


UPRIGHT = quadrants()
STORED = {  # orientation → how the camera stored the upright picture
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: np.rot90(UPRIGHT, 2).transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_read_applies_exif_orientation(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.jpg"
    jpeg = cv2.imencode(".jpg", STORED[orientation][..., ::-1].copy(), [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    path.write_bytes(with_exif(jpeg, orientation))
    image = read_image(path)
    assert image.shape == UPRIGHT.shape
    centres = (slice(8, None, 24), slice(8, None, 16))  # away from the edges, which JPEG blurs
    np.testing.assert_allclose(image[centres].astype(int), UPRIGHT[centres], atol=8)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([[0, 128, 255]], np.uint8), [[0] * 3, [128] * 3, [255] * 3]),
        (np.array([[0, 128 * 257, 65535]], np.uint16), [[0] * 3, [128] * 3, [255] * 3]),
        (np.array([[[0, 100, 300]]], np.uint16) * np.uint16(200), [[233, 78, 0]]),
        (
            np.array([[[9, 8, 7, 255], [9, 8, 7, 0], [0, 100, 200, 51]]], np.uint8),
            [[7, 8, 9], [255] * 3, [244, 224, 204]],
        ),
        (np.array([[[0, 0, 65535, 65535], [0, 0, 0, 0]]], np.uint16), [[255, 0, 0], [255] * 3]),
    ],
    ids=["grey", "grey16", "rgb16", "rgba", "rgba16"],
)
def test_read_png_kinds(tmp_path: Path, stored: np.ndarray, expected: list[list[int]]) -> None:
    path = tmp_path / "kind.png"
    path.write_bytes(cv2.imencode(".png", stored)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), [expected])


def test_read_grey_with_alpha(tmp_path: Path) -> None:
    path = tmp_path / "grey_alpha.png"
    path.write_bytes(png(2, 1, 8, 4, bytes([0, 100, 255, 100, 0])))
    np.testing.assert_array_equal(read_image(path), [[[100] * 3, [255] * 3]])


def test_read_grey_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "grey.jpg"
    path.write_bytes(cv2.imencode(".jpg", np.full((16, 16), 50, np.uint8))[1].tobytes())
    np.testing.assert_array_equal(read_image(path), np.full((16, 16, 3), 50))


JPEG = encode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
PNG = encode(".png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (JPEG[:-1], "cut short"),
        (JPEG[: len(JPEG) // 2], "cut short"),
        (JPEG[:20], "cut short"),
        (with_exif(JPEG[:-100], 1, thumbnail=JPEG), "cut short"),
        (PNG[:-1], "cut short"),
        (PNG[: len(PNG) // 2], "cut short"),
        (PNG[:500] + bytes([PNG[500] ^ 1]) + PNG[501:], "checksum"),
        (b"This is no picture at all.", "not a picture OpenCV can read"),
        (b"\0" * 64, "not a picture OpenCV can read"),
        (encode(".bmp", quadrants())[:-50], "not a picture OpenCV can read"),
        (encode(".tiff", quadrants())[:-50], "not a picture OpenCV can read"),
        (encode(".webp", quadrants())[:-5], "not a picture OpenCV can read"),
        (cv2.imencode(".tiff", np.zeros((4, 4, 3), np.float32))[1].tobytes(), "float32"),
        (png(40_000, 40_000, 8, 0, b"\0"), "too large"),
    ],
    ids=[
        "empty",
        "jpeg without its last byte",
        "half a jpeg",
        "jpeg header only",
        "cut jpeg with a whole thumbnail",
        "png without its last byte",
        "half a png",
        "png with a flipped bit",
        "text",
        "zeros",
        "cut bmp",
        "cut tiff",
        "cut webp",
        "float",
        "too large",
    ],
)
def test_read_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, message: str) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_read_tolerates_bytes_after_the_end(tmp_path: Path) -> None:
    for name, content in (("a.jpg", JPEG), ("a.png", PNG)):
        (tmp_path / name).write_bytes(content + b"\0" * 100)
        assert read_image(tmp_path / name).shape == (64, 64, 3)


def test_read_progressive_jpeg(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1]
    path = tmp_path / "progressive.jpg"
    path.write_bytes(content.tobytes())
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(content.tobytes()[:-2])
    with pytest.raises(ImageError, match="cut short"):
        read_image(path)


def test_read_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no file .*nowhere\.jpg"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="Not a directory"):
        read_image(tmp_path / "file" / "below.jpg")


def test_read_leaves_the_log_level_of_opencv(tmp_path: Path) -> None:
    path = tmp_path / "bad.bmp"
    path.write_bytes(encode(".bmp", quadrants())[:-50])
    before = cv2.utils.logging.getLogLevel()

    def fails() -> bool:
        with pytest.raises(ImageError):
            read_image(path)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: fails(), range(64)))
    assert cv2.utils.logging.getLogLevel() == before


# as_image -------------------------------------------------------------------------------------------------------


class Interface:
    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__
        self.array = array


class Dlpack:
    def __init__(self, array: np.ndarray, device: tuple[int, int] = (1, 0)) -> None:
        self.array, self.device = array, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__()


class OnGpu:
    def __init__(self) -> None:
        self.__cuda_array_interface__ = {"shape": (4, 4, 3), "typestr": "|u1", "data": (0, False), "version": 3}


@pytest.mark.parametrize("wrap", [np.asarray, Interface, Dlpack])
def test_as_image_views_host_memory(wrap: Callable[[np.ndarray], object]) -> None:
    array = quadrants()
    image = as_image(wrap(array))
    np.testing.assert_array_equal(image, array)
    assert np.shares_memory(image, array)


def test_as_image_makes_rows_contiguous() -> None:
    image = as_image(quadrants()[::2, ::-1, ::-1])
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, quadrants()[::2, ::-1, ::-1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"uint8 \[4, 5\] is a grey picture.*np\.stack"),
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\] is not 8-bit.*255"),
        (np.zeros((4, 5, 3), np.uint16), r"uint16.*257"),
        (np.zeros((4, 5, 3), np.int64), r"int64.*astype"),
        (np.zeros((4, 5, 4), np.uint8), r"4 channels.*\[\.\.\., :3\]"),
        (np.zeros((4, 5, 1), np.uint8), r"1 channels.*np\.repeat"),
        (np.zeros((3, 4, 5), np.uint8), r"channels-first.*moveaxis"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"\[1, 4, 5, 3\].*batch"),
        (np.zeros((0, 5, 3), np.uint8), r"\[0, 5, 3\] is an empty picture"),
        (np.zeros((), np.uint8), r"\[\] is not a picture"),
        (None, "NoneType is not an image"),
        ("photo.jpg", r"str is not an image.*read_image"),
        ([[0, 0, 0]], "list is not an image"),
        (memoryview(quadrants()), "memoryview is not an image"),
        (OnGpu(), "OnGpu lies in GPU memory.*Copy it to the host"),
        (Dlpack(np.zeros((4, 4, 3), np.uint8), device=(2, 0)), r"DLPack device \(2, 0\).*Copy it to the host"),
    ],
)
def test_as_image_refuses(image: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        as_image(image)


@pytest.mark.parametrize(
    ("array", "fix"),
    [
        (np.full((4, 5), 9, np.uint8), lambda image: np.stack([image] * 3, axis=-1)),
        (np.full((4, 5, 1), 9, np.uint8), lambda image: np.repeat(image, 3, axis=-1)),
        (np.full((3, 4, 5), 9, np.uint8), lambda image: np.moveaxis(image, 0, -1)),
        (np.full((4, 5, 3), 9 / 255), lambda image: (image * 255).round().clip(0, 255).astype(np.uint8)),
        (np.full((4, 5, 3), 9 * 257, np.uint16), lambda image: (image // 257).astype(np.uint8)),
    ],
)
def test_as_image_accepts_what_its_messages_advise(array: np.ndarray, fix: Callable[[np.ndarray], np.ndarray]) -> None:
    np.testing.assert_array_equal(as_image(fix(array)), np.full((4, 5, 3), 9))


# write_image ----------------------------------------------------------------------------------------------------


def test_write_png_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "out.PNG"
    write_image(path, quadrants())
    np.testing.assert_array_equal(read_image(path), quadrants())
    assert os.listdir(tmp_path) == ["out.PNG"]


def test_write_jpeg_replaces(tmp_path: Path) -> None:
    path = tmp_path / "out.jpg"
    path.write_text("old")
    write_image(str(path), np.full((16, 16, 3), (200, 100, 50), np.uint8))
    np.testing.assert_allclose(read_image(path).astype(int), np.full((16, 16, 3), (200, 100, 50)), atol=4)


def test_write_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    cases: list[tuple[str, np.ndarray, str]] = [
        ("out.gif", quadrants(), r"'\.gif'"),
        ("out", quadrants(), "suffix is ''"),
        ("nowhere/out.png", quadrants(), "no folder"),
        ("out.png", np.zeros((4, 4), np.uint8), "grey"),
        ("out.jpg", np.zeros((1, 70_000, 3), np.uint8), "70000x1"),
        ("folder.png", quadrants(), "directory"),
    ]
    for name, image, message in cases:
        with pytest.raises(ImageError, match=message):
            write_image(tmp_path / name, image)
    assert os.listdir(tmp_path) == ["folder.png"]
