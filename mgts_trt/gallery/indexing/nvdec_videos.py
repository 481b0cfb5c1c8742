"""Video files through NVDEC.

FFmpeg, through OpenCV, opens files and splits them into packets, as for the CPU: so numbers and times are the same, and
a broken file is told the same way.
"""

import threading
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.nvdec import TAKEN, Nvdec, NvdecFrame, PacketDecoder, UnsuitedError, look_at
from mgts_trt.gallery.indexing.video import Decoded, decode_on_cpu, opened_video

_CODECS = {"h264": "h264", "hevc": "hevc", "vp80": "vp8", "vp90": "vp9"}
"""What OpenCV calls a codec → FFmpeg's name."""


class VideosOnGpu:
    """NVDEC, as a `Decoder`. Any number of threads may decode with it.

    Args:
        nvdec: Of the GPU on which the pipeline runs.
        strict: Whether what NVDEC does not take is an error; otherwise the CPU decodes it, which is told once for each
            file.
        on_note: Is told so.
    """

    def __init__(self, nvdec: Nvdec, *, strict: bool, on_note: Callable[[str], None] = lambda _: None) -> None:
        self._nvdec, self._strict, self._on_note = nvdec, strict, on_note
        self._lock, self._told = threading.Lock(), set[str]()

    def __call__(self, capture: cv2.VideoCapture, path: str) -> Iterator[Decoded]:
        """See `Decoder`: pictures are `DevicePicture`s.

        Raises:
            SourceError: NVDEC does not take it, and is asked for strictly; or fails at it.
            BackendError: The GPU fails.
        """
        begun, packets = False, False
        try:
            name = _fourcc(capture)
            if not capture.isOpened():
                return
            if name not in _CODECS:
                raise UnsuitedError(f"its codec is {name.strip() or 'unknown'}, and {TAKEN}")
            turns = round(capture.get(cv2.CAP_PROP_ORIENTATION_META) / 90) % 4
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # it would turn the packets' bytes
            packets = capture.set(cv2.CAP_PROP_FORMAT, -1)
            if not packets:
                raise UnsuitedError("this OpenCV does not give its packets")
            for decoded in self._decode(capture, _CODECS[name], turns):
                begun = True
                yield decoded
            return
        except UnsuitedError as error:
            why = str(error)
        if begun or self._strict:
            raise SourceError(
                f"{path} cannot be decoded on the GPU: {why}. Decode it with --decode {'cpu' if begun else 'auto'}."
            )
        with self._lock:
            new = path not in self._told
            self._told.add(path)
        if new:
            self._on_note(f"{path} is decoded on the CPU: {why}.")
        if not packets:
            yield from decode_on_cpu(capture, path)
        else:  # its first packets are gone
            with opened_video(path) as again:
                yield from decode_on_cpu(again, path)

    def _decode(self, capture: cv2.VideoCapture, codec: str, turns: int) -> Iterator[Decoded]:
        decoder: PacketDecoder | None = None
        times: dict[int, float] = {}
        while capture.grab():
            ok, data = capture.retrieve()
            if not ok or not data.size:
                continue
            packet = np.ascontiguousarray(data).reshape(-1)
            if decoder is None:
                look = look_at(codec, packet)
                if look is None:  # what comes before the first key frame needs frames that are not there
                    continue
                decoder = self._nvdec.open(codec, look._replace(turns=turns))
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            stamp = round(seconds * 1e6)
            times[stamp] = seconds
            yield from _timed(decoder.decode(packet, stamp), times)
        if decoder is not None:
            yield from _timed(decoder.decode(None), times)


def _timed(frames: list[NvdecFrame], times: dict[int, float]) -> Iterator[Decoded]:
    """Frames with the seconds of their packets, by stamp; those that are past are taken out."""
    for frame in frames:
        shown = frame.stamp
        seconds = times.pop(shown, shown / 1e6)
        for passed in [other for other in times if other < shown]:  # of packets without a frame
            del times[passed]
        yield Decoded(seconds, frame.picture)


def _fourcc(capture: cv2.VideoCapture) -> str:
    return (int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1").lower()
