"""Videos as cameras and phones write them: H.264 and its kin, with B-frames, colours of all standards, turned."""

import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

TURNED = {0: (1, 0, 0, 1), 1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}
"""Quarters, clockwise → the first two rows of an MP4's matrix."""


def write_coded(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    *,
    pixels: str = "yuv420p",
    space: int | None = None,
    full: bool = False,
    turns: int = 0,
    rate: int = 10,
) -> Path:
    """Write frames, uint8 [H, W, 3], RGB, all of one size.

    Args:
        path: In a container that holds the codec.
        frames: The frames.
        codec: FFmpeg's encoder.
        pixels: FFmpeg's pixel format.
        space: FFmpeg's `AVColorSpace`, written into the video; by default nothing is.
        full: Whether colours use 0 … 255.
        turns: Quarters a player turns it by, clockwise; of an MP4.
        rate: Frames a second.
    """
    options = {"libx264": {"crf": "10", "bf": "2", "g": "10"}, "libx265": {"x265-params": "log-level=none"}}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options.get(codec, {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if codec.startswith("libvpx"):
            stream.bit_rate = 2_000_000
        if space is not None:
            stream.codec_context.colorspace = space
            stream.codec_context.color_range = 2 if full else 1
        for image in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace=space, dst_color_range=2 if full else 1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if turns:
        data = bytearray(path.read_bytes())
        at = data.index(b"tkhd") + 44
        a, b, c, d = (value * 0x10000 for value in TURNED[turns])
        data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
        path.write_bytes(data)
    return path
