"""NVIDIA's video decoder, NVDEC, through the package PyNvVideoCodec: packets in, frames in the GPU's memory out."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from mgts_trt._typing import Array
from mgts_trt.errors import BackendError
from mgts_trt.gallery.indexing.nv12_frames import Nv12Frame, Nv12Pictures
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.picture import DevicePicture
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.stages.nv12 import YuvMatrix

CODECS = {"h264": "H264", "hevc": "HEVC", "vp8": "VP8", "vp9": "VP9"}
"""FFmpeg's name of a codec → its name in `cudaVideoCodec`. Their packets need nothing beside them."""

TAKEN = "H.264, HEVC, VP8 and VP9 are taken"
"""The same in words."""

_PIXELS = ("yuv420p", "yuvj420p")
"""What NVDEC gives as NV12: 8 bits, with a quarter of the colours."""


def load_nvdec() -> Any:
    """The package.

    Raises:
        BackendError: It is not installed, or the driver lacks what it needs.
    """
    try:
        import av  # noqa: F401
        import PyNvVideoCodec

        return PyNvVideoCodec
    except ImportError as error:
        raise BackendError(
            f"The package {error.name or 'PyNvVideoCodec'} does not load ({error}). Install what decodes on the GPU: "
            "pip install 'mgts-trt[nvdec]'."
        ) from error
    except RuntimeError as error:  # it asks the driver for its libraries, and raises this
        raise BackendError(
            f"PyNvVideoCodec is installed, but NVIDIA's driver does not give what it needs: "
            f"{str(error).strip().splitlines()[0]}. Install a driver of version 530 or newer with libnvcuvid and "
            "libnvidia-encode; into a container they come with NVIDIA_DRIVER_CAPABILITIES=compute,utility,video."
        ) from error


class UnsuitedError(Exception):
    """Why NVDEC does not decode something; the end of a sentence."""


class FailedError(UnsuitedError):
    """NVDEC failed at something it should take; another time it may not."""


class Look(NamedTuple):
    """What a key frame tells of the frames from there on."""

    width: int
    height: int
    matrix: YuvMatrix
    turns: int
    """Quarters it is to be turned by, clockwise."""
    reordered: bool
    """Whether frames are sent in another order than they are shown in."""


def look_at(codec: str, packet: Array) -> Look | None:
    """Let FFmpeg look at a packet.

    Args:
        codec: One of `CODECS`.
        packet: uint8 [N]; H.264 and HEVC with start codes and parameter sets.

    Returns:
        None if it is no key frame.

    Raises:
        UnsuitedError: NVDEC would not give NV12.
    """
    import av

    context: Any = av.CodecContext.create(codec, "r")
    frames: list[Any] = []
    with suppress(av.FFmpegError):
        frames += context.decode(av.Packet(packet.tobytes()))
        frames += context.decode(None)
    if not frames:
        return None
    frame = frames[0]
    if frame.format.name not in _PIXELS:
        raise UnsuitedError(f"its pixels are {frame.format.name}, and 8 bits of 4:2:0 are taken")
    full = frame.format.name == "yuvj420p" or int(frame.color_range) == 2  # FFmpeg's AVCOL_RANGE_JPEG
    matrix = YuvMatrix.of(int(frame.colorspace), full=full)
    return Look(frame.width, frame.height, matrix, turns_of(frame), bool(context.has_b_frames))


def turns_of(frame: Any) -> int:
    """Quarters that a frame of PyAV is to be turned by, clockwise."""
    return int(round(-frame.rotation / 90) % 4)


class Nvdec:
    """NVDEC of one GPU. Any number of threads may decode with it, each a video or stream of its own.

    Args:
        module: See `load_nvdec`.
        device: The GPU, on which the pipeline runs.

    Attributes:
        version: Of the package.
    """

    def __init__(self, module: Any, device: DeviceLayer) -> None:
        self.version = str(module.__version__)
        self._nvc, self._device = module, device
        self._pictures = Nv12Pictures(device)

    def open(self, codec: str, look: Look, *, at_once: bool = False) -> "PacketDecoder":
        """A decoder of what looks so.

        Args:
            codec: One of `CODECS`.
            look: Of its first frame.
            at_once: Whether each packet is a whole frame, to be decoded when it comes, and given then if frames are
                sent in the order they are shown in; else NVDEC keeps some back.

        Raises:
            UnsuitedError: This GPU does not decode it; `FailedError` if it should.
        """
        nvc, number = self._nvc, self._device.ordinal
        name = CODECS[codec]
        kind = getattr(nvc.cudaVideoCodec, name)
        with _failures():
            able = nvc.GetDecoderCaps(
                gpuid=number, codec=kind, chromaformat=getattr(nvc.cudaVideoChromaFormat, "420"), bitdepth=8
            )
        if not able.get("num_decoder_engines", 1):
            raise UnsuitedError(f"this GPU decodes no {name}")
        for side, pixels in (("width", look.width), ("height", look.height)):
            least, most = able.get(f"{side}_min", 0), able.get(f"{side}_max", pixels)
            if not least <= pixels <= most:
                raise UnsuitedError(f"its {side} is {pixels} pixels, and this GPU decodes {name} of {least} to {most}")
        latency, stream = nvc.DisplayDecodeLatencyType, self._device.stream()
        with _failures():
            decoder = nvc.CreateDecoder(
                gpuid=number,
                codec=kind,
                cudacontext=self._device.context,
                cudastream=stream.handle,
                usedevicememory=True,
                outputColorType=nvc.OutputColorType.NATIVE,
                # LOW is not for frames that are sent in another order.
                latency=latency.LOW if at_once and not look.reordered else latency.NATIVE,
            )
        return PacketDecoder(nvc, decoder, look, stream, self._pictures, at_once)


class PacketDecoder:
    """One video or stream on its way through NVDEC, in one thread. Made by `Nvdec.open`.

    Attributes:
        look: What it was opened for.
    """

    def __init__(
        self, nvc: Any, decoder: Any, look: Look, stream: Stream, pictures: Nv12Pictures, at_once: bool
    ) -> None:
        self.look = look
        self._nvc, self._decoder, self._stream, self._pictures = nvc, decoder, stream, pictures
        self._at_once = at_once

    def decode(self, data: Array | None, stamp: int = 0) -> list["NvdecFrame"]:
        """The frames that are ready once a packet has come; those that are left where `data` is None.

        They are to be fetched before it is called again.

        Args:
            data: uint8 [N]; H.264 and HEVC with start codes.
            stamp: Comes back with its frame.

        Raises:
            UnsuitedError: Frames are not NV12; `FailedError` if NVDEC fails.
        """
        packet = self._nvc.PacketData()
        packet.bsl_data, packet.bsl = (0, 0) if data is None else (data.ctypes.data, data.nbytes)
        packet.pts = stamp
        if self._at_once and data is not None:  # without it a frame is decoded when the next one begins
            packet.decode_flag = int(self._nvc.VideoPacketFlag.ENDOFPICTURE)
        with _failures():
            frames = list(self._decoder.Decode(packet))
        for frame in frames:
            if frame.format != self._nvc.Pixel_Format.NV12:
                raise UnsuitedError(f"NVDEC gives it as {frame.format.name}, and NV12 is expected")
        return [NvdecFrame(self, frame) for frame in frames]

    def fetch(self, frame: Any, later: bool) -> DevicePicture:
        """See `NvdecFrame`."""
        nv12 = Nv12Frame.of(frame.cuda(), self.look.matrix, self.look.turns)
        if later:
            return self._pictures.later(nv12, self._stream)
        return self._pictures.now(nv12, self._stream)


class NvdecFrame:
    """A frame in memory of its decoder, which uses it again.

    Attributes:
        stamp: Of its packet.
    """

    def __init__(self, decoder: PacketDecoder, frame: Any) -> None:
        self.stamp = int(frame.timestamp)
        self._decoder, self._frame = decoder, frame

    def picture(self) -> DevicePicture:
        """The frame in RGB."""
        return self._decoder.fetch(self._frame, later=False)

    def picture_later(self) -> DevicePicture:
        """The same, turned into RGB when somebody first reads it; until then it is kept as it was decoded."""
        return self._decoder.fetch(self._frame, later=True)


@contextmanager
def _failures() -> Iterator[None]:
    """What the package raises has no type of its own."""
    try:
        yield
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FailedError(f"NVDEC says {first!r}") from error
