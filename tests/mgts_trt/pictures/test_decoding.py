"""What became of damaged files, against libjpeg and OpenCV as they are."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from mgts_trt.errors import ImageError
from mgts_trt.pictures.decoding import decode_image, decode_picture

PIL = pytest.importorskip("PIL.Image", reason="Pillow writes the pictures")


def scene() -> np.ndarray:
    """uint8 [96, 144, 3]: smooth, with noise, so that each block has something to lose."""
    rows, columns = np.mgrid[:96, :144]
    smooth = np.dstack([rows * 2, columns, rows + columns // 2])
    return (smooth + np.random.default_rng(0).integers(0, 20, smooth.shape)).astype(np.uint8)


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    PIL.fromarray(scene()).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def by_opencv(data: bytes) -> np.ndarray:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)[..., ::-1]


JPEGS = {
    "4:2:0": jpeg(),
    "4:2:2": jpeg(subsampling=1),
    "4:4:4": jpeg(subsampling=0),
    "progressive": jpeg(progressive=True),
    "restarts": jpeg(restart_marker_blocks=4),
    "grey": jpeg("L"),
    "CMYK": jpeg("CMYK"),
}


def with_a_hole(data: bytes) -> bytes:
    return data[: len(data) // 2] + data[len(data) // 2 + len(data) // 8 :]


def overwritten(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(len(data) // 4) + data[len(data) // 2 + len(data) // 4 :]


def ended_early(data: bytes) -> bytes:
    return data[: len(data) // 2] + b"\xff\xd9"


def with_junk_in_the_header(data: bytes) -> bytes:
    tables = data.index(b"\xff\xdb")
    return data[:tables] + bytes(30) + data[tables:]


DAMAGES = [with_a_hole, overwritten, ended_early, with_junk_in_the_header]


@pytest.mark.parametrize("kind", JPEGS)
def test_a_whole_jpeg_has_opencvs_pixels_and_no_damage(kind: str) -> None:
    pixels, damage = decode_picture(JPEGS[kind], "whole.jpg")
    assert damage is None
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, by_opencv(JPEGS[kind]))


@pytest.mark.parametrize("harm", DAMAGES)
@pytest.mark.parametrize("kind", JPEGS)
def test_a_damaged_jpeg_is_told(kind: str, harm: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]) -> None:
    data = harm(JPEGS[kind])
    pixels, damage = decode_picture(data, "shop/harmed.jpg")
    assert capfd.readouterr() == ("", "")
    assert damage is not None
    assert damage.startswith("shop/harmed.jpg is damaged")
    assert "orrupt JPEG data" in damage
    np.testing.assert_array_equal(pixels, by_opencv(data))


def test_photos_have_opencvs_pixels_and_no_damage(public_photos: list[Path]) -> None:
    for path in public_photos:
        pixels, damage = decode_picture(path.read_bytes(), path)
        assert damage is None
        np.testing.assert_array_equal(pixels, by_opencv(path.read_bytes()))


def test_a_name_keeps_its_address() -> None:
    damage = decode_picture(ended_early(JPEGS["4:2:0"]), "s3://shop/a.jpg").damage
    assert damage is not None
    assert damage.startswith("s3://shop/a.jpg is")


def test_a_jpeg_turbojpeg_has_no_name_for_is_opencvs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("tjDecompressHeader3(): Could not determine subsampling level of JPEG image")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    np.testing.assert_array_equal(decode_image(JPEGS["4:2:0"], "odd.jpg"), by_opencv(JPEGS["4:2:0"]))
    with pytest.raises(ImageError, match=r"odd\.jpg is a JPEG that cannot be decoded"):
        decode_image(with_junk_in_the_header(JPEGS["4:2:0"]), "odd.jpg")


def test_a_jpeg_that_states_too_many_pixels_takes_no_memory(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(JPEGS["4:4:4"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(ImageError, match="too large"):
        decode_image(bytes(data), "huge.jpg")
    assert capfd.readouterr() == ("", "")


def test_no_byte_of_a_header_ends_in_more_than_a_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    """Each byte of the header altered, in three ways: pixels, with or without damage, or an `ImageError`."""
    whole, outcomes = jpeg(subsampling=0, quality=20), set()
    for place in range(3, whole.index(b"\xff\xda") + 14):
        for value in (0, 0xFF, whole[place] ^ 0x10):
            data = whole[:place] + bytes([value]) + whole[place + 1 :]
            try:
                pixels, damage = decode_picture(data, "header.jpg")
            except ImageError as error:
                outcomes.add(str(error).partition(":")[0])
            else:
                assert pixels.dtype == np.uint8
                outcomes.add("damage" if damage else "whole")
    assert {"damage", "whole"} < outcomes


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile")),
        chunk(b"sRGB", b"\0") * 2,
        chunk(b"zTXt", b"x\0\0no text"),
        chunk(b"tIME", bytes(7)),
        chunk(b"eXIf", b"no EXIF"),
        chunk(b"pHYs", bytes(3)),
        chunk(b"sBIT", b"\x20\x20\x20"),
        chunk(b"bKGD", b"\5" * 6),
        chunk(b"acTL", b"\0"),
        chunk(b"PLTE", bytes(4)),
    ],
    ids=lambda extra: extra[4:8].decode(),
)
def test_what_libpng_complains_of_in_print_is_kept_from_it(extra: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    plain = cv2.imencode(".png", scene()[..., ::-1])[1].tobytes()
    pixels, damage = decode_picture(plain[:33] + extra + plain[33:], "extras.png")
    assert capfd.readouterr() == ("", "")
    assert damage is None
    np.testing.assert_array_equal(pixels, scene())


def test_a_png_with_a_chunk_of_its_makers_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    plain = cv2.imencode(".png", scene())[1].tobytes()
    with pytest.raises(ImageError, match="without its chunk 'CgBI'"):
        decode_image(plain[:8] + chunk(b"CgBI", bytes(4)) + plain[8:], "phone.png")
    assert capfd.readouterr() == ("", "")


def test_the_first_picture_of_an_animated_png(tmp_path: Path) -> None:
    file = io.BytesIO()
    first, second = PIL.fromarray(scene()), PIL.fromarray(255 - scene())
    first.save(file, "PNG", save_all=True, append_images=[second])
    assert b"acTL" in file.getvalue()
    np.testing.assert_array_equal(decode_image(file.getvalue(), "animated.png"), scene())


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_an_avif_of_any_depth_is_as_bright(bits: int) -> None:
    grey = np.array([0, 64, 128, 255]) / 255
    pixels = np.rint(np.tile(np.repeat(grey, 32), (32, 1)) * (2**bits - 1))
    pixels = pixels.astype(np.uint8 if bits == 8 else np.uint16)
    expected = np.rint(grey * 255)
    opaque = np.full_like(pixels, 2**bits - 1)
    for alpha in ([], [opaque], [opaque // 2]):
        stored = np.dstack([pixels] * 3 + alpha)
        options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
        image = decode_image(cv2.imencode(".avif", stored, options)[1].tobytes(), "deep.avif")
        half = (expected + 255) / 2 if alpha and alpha[0] is not opaque else expected
        np.testing.assert_allclose(image[16, 16::32].astype(int), np.repeat(half[:, None], 3, 1), atol=3)
