"""Every format that says how it is to be turned, in every kind of pixels it has, turned in each of the eight ways."""

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from mgts_trt.pictures.decoding import decode_image
from mgts_trt.pictures.orientation import stored_orientation, upright

PIL = pytest.importorskip("PIL.Image", reason="Pillow writes the pictures")

UPRIGHT = np.zeros((48, 32, 3), np.uint8)
"""Four blocks of as many colours and greys: no turn and no reflection leaves it as it is."""
UPRIGHT[:24, :16], UPRIGHT[:24, 16:], UPRIGHT[24:, :16], UPRIGHT[24:, 16:] = (
    (200, 30, 30),
    (30, 200, 30),
    (30, 30, 130),
    (240, 240, 240),
)

AS_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF 2.32, table 6: what a camera held so stores
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, 1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image, -1),
}


def as_channels(channels: str) -> np.ndarray:
    """`UPRIGHT`, with a green corner that is transparent where there is transparency."""
    grey = UPRIGHT.mean(2).astype(np.uint8)
    alpha = np.where((UPRIGHT == (30, 200, 30)).all(2), 0, 255).astype(np.uint8)
    pixels = {
        "grey": grey,
        "RGB": UPRIGHT,
        "RGBA": np.dstack([UPRIGHT, alpha]),
        "grey + alpha": np.dstack([grey, alpha]),
    }[channels.removesuffix(", 16 bits")]
    return pixels.astype(np.uint16) * 257 if channels.endswith("16 bits") else pixels


def expected(channels: str) -> np.ndarray:
    """uint8 [48, 32, 3], RGB, over white."""
    pixels = as_channels(channels.removesuffix(", 16 bits"))
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = np.where(pixels[..., -1:] == 0, 255, pixels[..., :-1])
    return np.broadcast_to(pixels if pixels.ndim == 3 else pixels[..., None], UPRIGHT.shape)


def exif(orientation: int, order: str = ">", wide: bool = False) -> bytes:
    """A TIFF block with one tag, 0x0112, as 16 bits or `wide`, as 32."""
    value = struct.pack(order + "I", orientation) if wide else struct.pack(order + "HH", orientation, 0)
    start = b"MM\0*" if order == ">" else b"II*\0"
    return start + struct.pack(order + "IHHHI", 8, 1, 0x0112, 4 if wide else 3, 1) + value + bytes(4)


def by_pillow(pixels: np.ndarray, orientation: int, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    data = PIL.Exif()
    data[0x0112] = orientation
    PIL.fromarray(np.ascontiguousarray(pixels)).save(file, kind, exif=data, **options)
    return file.getvalue()


def jpeg(pixels: np.ndarray, orientation: int) -> bytes:
    return by_pillow(pixels, orientation, "JPEG", quality=100)


def webp(pixels: np.ndarray, orientation: int) -> bytes:
    return by_pillow(pixels, orientation, "WEBP", lossless=True)


def avif(pixels: np.ndarray, orientation: int) -> bytes:
    return by_pillow(pixels, orientation, "AVIF", quality=100, subsampling="4:4:4")


def png(pixels: np.ndarray, orientation: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.size // (height * width)]
    header = struct.pack(">IIBBBBB", width, height, pixels.itemsize * 8, colour, 0, 0, 0)
    rows = pixels.reshape(height, -1).astype(pixels.dtype.newbyteorder(">"))
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = (b"IHDR", header), (b"eXIf", exif(orientation)), (b"IDAT", lines), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(pixels: np.ndarray, orientation: int) -> bytes:
    height, width = pixels.shape[:2]
    channels = pixels.size // (height * width)
    tags = {
        256: width,
        257: height,
        258: 8 * pixels.itemsize,
        259: 1,
        262: 2 if channels > 2 else 1,
        273: 8,
        274: orientation,
        277: channels,
        278: height,
        279: pixels.nbytes,
    }
    bits = [8 * pixels.itemsize] * channels
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes() + struct.pack(f"<{channels}H", *bits)
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    if channels > 2:
        entries[2] = struct.pack("<HHII", 258, 3, channels, 8 + pixels.nbytes)
    if channels == 4:
        entries.append(struct.pack("<HHII", 338, 3, 1, 2))  # the fourth channel is transparency, unassociated
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


CASES = [
    *((jpeg, channels) for channels in ("grey", "RGB")),
    *((png, channels + depth) for channels in ("grey", "grey + alpha", "RGB", "RGBA") for depth in ("", ", 16 bits")),
    *((webp, channels) for channels in ("RGB", "RGBA")),
    *((tiff, channels + depth) for channels in ("grey", "RGB", "RGBA") for depth in ("", ", 16 bits")),
    *((avif, channels) for channels in ("grey", "RGB", "RGBA")),
]


@pytest.mark.parametrize("orientation", AS_STORED)
@pytest.mark.parametrize(("write", "channels"), CASES, ids=[f"{write.__name__} {name}" for write, name in CASES])
def test_people_stand_upright(write: Callable[[np.ndarray, int], bytes], channels: str, orientation: int) -> None:
    content = write(AS_STORED[orientation](as_channels(channels)), orientation)
    image = decode_image(content, "picture")
    assert image.shape == UPRIGHT.shape
    assert image.flags.c_contiguous
    centres = (slice(8, None, 24), slice(8, None, 16))  # away from the edges, which lossy formats blur
    np.testing.assert_allclose(image[centres].astype(int), expected(channels)[centres], atol=8)


def test_the_four_inks_of_a_tiff_are_no_transparency() -> None:
    file = io.BytesIO()
    PIL.fromarray(UPRIGHT).convert("CMYK").save(file, "TIFF")
    np.testing.assert_allclose(decode_image(file.getvalue(), "picture").astype(int), UPRIGHT, atol=2)


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("value", range(10))
def test_exif_in_both_byte_orders_and_widths(order: str, wide: bool, value: int) -> None:
    block = b"Exif\0\0" + exif(value, order, wide)
    content = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    assert stored_orientation(content) == (value if 1 <= value <= 8 else 1)


def test_the_turn_undoes_what_the_camera_did() -> None:
    for orientation, store in AS_STORED.items():
        np.testing.assert_array_equal(upright(np.ascontiguousarray(store(UPRIGHT)), orientation), UPRIGHT)


@pytest.mark.parametrize("write", [jpeg, png, webp, avif])
def test_damage_never_keeps_the_orientation_from_being_told(write: Callable[[np.ndarray, int], bytes]) -> None:
    whole, dice = write(AS_STORED[6](UPRIGHT), 6), random.Random(0)
    assert stored_orientation(whole) == 6
    for _ in range(500):
        damaged = bytearray(whole[: dice.randrange(len(whole))])
        for _ in range(min(len(damaged), 8)):
            damaged[dice.randrange(min(len(damaged), 400))] = dice.choice((0, 1, 255, dice.randrange(256)))
        assert stored_orientation(bytes(damaged)) in range(1, 9)
