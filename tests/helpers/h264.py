"""H.264 as cameras send it: scenes with a number in them, encoded as they come, in RTP packets (RFC 6184)."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import count

import av
import cv2
import numpy as np

from tests.helpers.camera_scenes import scene

Size = tuple[int, int]
"""Width and height."""

_BIT = 8
"""Pixels, each way, of a square that stands for a bit."""

_BITS = 12


def numbered(number: int, size: Size) -> np.ndarray:
    """The scene of a number's last digit, large, in the upper left corner of grey; below it the number, bit by bit.

    Args:
        number: Below 4096.
        size: At least 96 x 72.
    """
    width, height = size
    image = np.full((height, width, 3), 60, np.uint8)
    image[:64, :96] = scene(number % 8)
    for bit in range(_BITS):
        image[-_BIT:, bit * _BIT : (bit + 1) * _BIT] = 255 * (number >> bit & 1)
    return image


def enlarged(number: int, size: Size) -> np.ndarray:
    """The scene of a number's last digit alone, as large as the picture."""
    return cv2.resize(scene(number % 8), size, interpolation=cv2.INTER_NEAREST)


def number_of(image: np.ndarray) -> int:
    """The number in a picture, however well it was decoded."""
    middle = image[-_BIT // 2, _BIT // 2 : _BITS * _BIT : _BIT].mean(-1)
    return sum(int(value > 128) << bit for bit, value in enumerate(middle))


class Encoder:
    """H.264 of pictures of one size, with its parameters in band before each key frame.

    Args:
        size: Of the pictures, even.
        rate: Frames a second.
        key: From one key frame to the next, in frames.
    """

    def __init__(self, size: Size, rate: float, key: int) -> None:
        self._codec = av.CodecContext.create("libx264", "w")
        self._codec.width, self._codec.height, self._codec.pix_fmt = *size, "yuv420p"
        self._codec.framerate = Fraction(rate).limit_denominator(1000)
        self._codec.time_base = 1 / self._codec.framerate
        self._codec.gop_size, self._codec.thread_count = key, 1
        self._codec.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "8", "scenecut": "0"}
        self._count = count()

    def units(self, image: np.ndarray) -> list[bytes]:
        """The NAL units of the next picture, uint8 [H, W, 3], RGB."""
        frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
        frame.pts = next(self._count)
        data = b"".join(bytes(packet) for packet in self._codec.encode(frame))
        return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.rstrip(b"\0")]


def parameters(size: Size, rate: float) -> tuple[bytes, bytes]:
    """Sequence and picture parameter set (SPS, PPS) of an encoder."""
    units = Encoder(size, rate, 1).units(np.zeros((size[1], size[0], 3), np.uint8))
    return next(unit for unit in units if unit[0] & 31 == 7), next(unit for unit in units if unit[0] & 31 == 8)


class RtpPackets:
    """RTP packets of NAL units: whole where they fit, else in fragments (FU-A)."""

    _LARGEST = 400
    """Bytes of a unit in one packet: small, so that even small pictures come in fragments."""

    def __init__(self) -> None:
        self._sequence = count(7)

    def of(self, units: list[bytes], seconds: float) -> Iterator[bytes]:
        """The packets of one picture, shown at so many seconds."""
        payloads = [payload for unit in units for payload in self._fragments(unit)]
        for place, payload in enumerate(payloads, 1):
            kind = 96 | (place == len(payloads)) << 7
            head = bytes([0x80, kind]) + (next(self._sequence) & 0xFFFF).to_bytes(2, "big")
            yield head + (int(seconds * 90_000) & 0xFFFFFFFF).to_bytes(4, "big") + b"cam1" + payload

    def _fragments(self, unit: bytes) -> Iterator[bytes]:
        if len(unit) <= self._LARGEST:
            yield unit
            return
        indicator, kind, body = unit[0] & 0xE0 | 28, unit[0] & 31, unit[1:]
        for start in range(0, len(body), self._LARGEST):
            first, last = start == 0, start + self._LARGEST >= len(body)
            yield bytes([indicator, kind | first << 7 | last << 6]) + body[start : start + self._LARGEST]
