"""Live streams through NVDEC.

FFmpeg, through PyAV, brings packets, as for the CPU. NVDEC gets them with start codes and, at its beginning, with the
parameter sets, which some senders tell beside the stream alone: in RTSP's description, or a container's head.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.live_stream import LiveFrame, PacketFrames, frames_on_cpu
from mgts_trt.gallery.indexing.nvdec import (
    CODECS,
    TAKEN,
    FailedError,
    Look,
    Nvdec,
    PacketDecoder,
    UnsuitedError,
    look_at,
    turns_of,
)

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

_FAILURES = 3
"""Times in a row NVDEC fails at a stream, without a frame between, until it is taken for one that it does not take."""

_FILTERS = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
"""Bitstream filters that write start codes where lengths stand; other packets they leave as they are."""

_START = b"\0\0\1"


class StreamsOnGpu:
    """NVDEC, as a `StreamDecoder`. Any number of threads may open streams with it.

    Args:
        nvdec: Of the GPU on which the pipeline runs.
        strict: Whether what NVDEC does not take is an error; otherwise the CPU decodes it, which is told once for each
            stream.
    """

    def __init__(self, nvdec: Nvdec, *, strict: bool) -> None:
        self._nvdec, self._strict = nvdec, strict
        self._lock, self._told = threading.Lock(), set[str]()
        self._failures: dict[str, int] = {}

    def __call__(self, stream: "VideoStream", name: str, on_note: Callable[[str], object]) -> PacketFrames:
        """See `StreamDecoder`: pictures are `DevicePicture`s, turned into RGB when they are first read.

        A failure of NVDEC costs the frames up to the next key frame.

        Raises:
            SourceError: NVDEC does not take its codec, and is asked for strictly.
        """
        codec = stream.codec_context.name
        if codec not in CODECS:
            self.refuse(name, f"its codec is {codec}, and {TAKEN}", on_note)
            return frames_on_cpu(stream, name, on_note)
        return _Opening(self, self._nvdec, stream, name, on_note)

    def refuse(self, name: str, why: str, on_note: Callable[[str], object]) -> None:
        """NVDEC does not take a stream. Raises `SourceError` where it is asked for strictly."""
        if self._strict:
            raise SourceError(f"{name} cannot be decoded on the GPU: {why}. Decode it with --decode auto.")
        with self._lock:
            new = name not in self._told
            self._told.add(name)
        if new:
            on_note(f"{name} is decoded on the CPU: {why}.")

    def count(self, name: str, failed: bool) -> int:
        """How often NVDEC failed at a stream since it gave a frame of it, in all its openings."""
        with self._lock:
            self._failures[name] = self._failures.get(name, 0) + 1 if failed else 0
            return self._failures[name]


class _Opening:
    """A stream from where it was opened to where it breaks; see `PacketFrames`."""

    def __init__(
        self, streams: StreamsOnGpu, nvdec: Nvdec, stream: "VideoStream", name: str, on_note: Callable[[str], object]
    ) -> None:
        self._streams, self._nvdec, self._stream = streams, nvdec, stream
        self._name, self._on_note = name, on_note
        self._codec = stream.codec_context.name
        self._filter: Any = None
        self._decoder: PacketDecoder | None = None
        self._cpu: PacketFrames | None = None
        self._head = b""
        """What tells how frames look from the last key frame on: parameter sets, or the begin of a frame."""
        self._turns: int | None = None
        self._order = _Order()

    def __call__(self, packet: "Packet[Any]") -> Sequence[LiveFrame]:
        if self._cpu is not None:
            return self._cpu(packet)
        copy = _copy(packet) if packet.is_keyframe else None  # the filter takes the packet
        try:
            return self._decode(packet, copy)
        except FailedError as error:
            self._decoder = None
            if self._streams.count(self._name, failed=True) < _FAILURES:
                return []
            why = f"{error}, {_FAILURES} times in a row"
        except UnsuitedError as error:
            why = str(error)
        self._streams.refuse(self._name, why, self._on_note)
        self._cpu = _from_key_frame(frames_on_cpu(self._stream, self._name, self._on_note))
        return [] if copy is None else self._cpu(copy)

    def _decode(self, packet: "Packet[Any]", key: "Packet[Any] | None") -> list[LiveFrame]:
        if not packet.size:  # the end
            return [] if self._decoder is None else self._frames(self._decoder, None)
        self._order.add(packet)
        found: list[LiveFrame] = []
        for data in self._with_start_codes(packet):
            if key is not None:
                data, ended = self._look(data, key)
                found += ended
            if self._decoder is not None:  # what comes before the first key frame needs frames that are not there
                found += self._frames(self._decoder, np.frombuffer(data, np.uint8))
        return found

    def _frames(self, decoder: PacketDecoder, data: Array | None) -> list[LiveFrame]:
        frames = [LiveFrame(frame.picture_later) for frame in decoder.decode(data)]
        if frames:
            self._streams.count(self._name, failed=False)
        return frames

    def _look(self, data: bytes, key: "Packet[Any]") -> tuple[bytes, list[LiveFrame]]:
        """Open another decoder where the frames look otherwise from this key frame on.

        Returns:
            The packet as the decoder needs it, and the frames that are left in the decoder before.
        """
        head = _head(self._codec, data)
        whole = data if head or self._codec not in _FILTERS else self._parameters() + data
        head = head or self._head or _head(self._codec, whole)
        if self._decoder is not None and head == self._head and self._order.known == self._decoder.look.reordered:
            return data, []
        look = self._seen(whole, key)
        if look is None:
            return data, []
        before, self._head = self._decoder, head
        if before is not None and before.look == look:
            return data, []
        left = [] if before is None else self._frames(before, None)
        self._decoder = self._nvdec.open(self._codec, look, at_once=True)
        return whole, left

    def _seen(self, whole: bytes, key: "Packet[Any]") -> Look | None:
        look = look_at(self._codec, np.frombuffer(whole, np.uint8))
        if look is None:
            return None
        if self._turns is None:
            self._turns = self._told_turns(key)
        self._order.known |= look.reordered
        return look._replace(turns=self._turns or look.turns, reordered=self._order.known)

    def _parameters(self) -> bytes:
        """The parameter sets to begin with: those that came last, else those told beside the stream."""
        if self._head:
            return self._head
        told = self._stream.codec_context.extradata or b""
        return bytes(told) if _START in told[:4] else b""

    def _told_turns(self, key: "Packet[Any]") -> int:
        """The quarters its container has it turned by, which FFmpeg tells with its frames."""
        import av.error

        context: Any = self._stream.codec_context
        try:
            frames = [*context.decode(key), *context.decode(None)]
        except (av.error.FFmpegError, ValueError):
            frames = []
        context.flush_buffers()
        return turns_of(frames[0]) if frames else 0

    def _with_start_codes(self, packet: "Packet[Any]") -> Iterator[bytes]:
        if self._codec not in _FILTERS:
            yield bytes(packet)
            return
        import av.error
        from av.bitstream import BitStreamFilterContext

        try:
            self._filter = self._filter or BitStreamFilterContext(_FILTERS[self._codec], self._stream)
            yield from [bytes(each) for each in self._filter.filter(packet)]
        except (av.error.FFmpegError, ValueError):  # of a packet that is damaged nothing is left
            return


class _Order:
    """Whether frames are sent in another order than they are shown in.

    Attributes:
        known: Whether they are, as far as is known.
    """

    def __init__(self) -> None:
        self.known = False
        self._latest: float | None = None

    def add(self, packet: "Packet[Any]") -> None:
        """Look at the time of a packet: some senders do not tell it otherwise. A clock may also be set back."""
        if packet.pts is None or packet.time_base is None:
            return
        seconds = float(packet.pts * packet.time_base)
        back = 0.0 if self._latest is None else self._latest - seconds
        self.known |= 0 < back < 1
        self._latest = seconds if self._latest is None or back >= 1 else max(seconds, self._latest)


def _copy(packet: "Packet[Any]") -> "Packet[Any]":
    from av.packet import Packet

    copy = Packet(bytes(packet))
    copy.pts, copy.is_keyframe = packet.pts, True
    return copy


def _from_key_frame(frames: PacketFrames) -> PacketFrames:
    """The same, but for what comes before the first key frame."""
    begun = False

    def decode(packet: "Packet[Any]") -> Sequence[LiveFrame]:
        nonlocal begun
        begun = begun or packet.is_keyframe
        return frames(packet) if begun else []

    return decode


def _head(codec: str, data: bytes) -> bytes:
    """What of a key frame tells how frames look: parameter sets with start codes, or the first bytes of VP8 and VP9."""
    if codec not in _FILTERS:
        return data[3:10] if codec == "vp8" else data[:9]
    sets, at = b"", data.find(_START)
    while at >= 0 and at + 3 < len(data):
        end = data.find(_START, at + 3)
        first = data[at + 3]
        if (first & 31 in (7, 8)) if codec == "h264" else (first >> 1 & 63 in (32, 33, 34)):
            sets += b"\0" + data[at : None if end < 0 else end].rstrip(b"\0")
        at = end
    return sets
