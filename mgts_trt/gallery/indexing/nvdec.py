"""NVIDIA's video decoder, NVDEC, through the package PyNvVideoCodec: frames stay in the GPU's memory.

FFmpeg, through OpenCV, opens files and splits them into packets, as for the CPU: so numbers and times are the same, and
a broken file is told the same way.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from mgts_trt._typing import Array, Image
from mgts_trt.errors import BackendError, SourceError
from mgts_trt.gallery.indexing.video import Decoded, decode_on_cpu, opened_video
from mgts_trt.runtime.cuda.array import DeviceArray
from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.cuda.picture import DevicePicture
from mgts_trt.runtime.cuda.streams import Stream
from mgts_trt.runtime.gpu import kernels
from mgts_trt.stages.nv12 import YuvMatrix

_CODECS = {"h264": ("H264", "h264"), "hevc": ("HEVC", "hevc"), "vp80": ("VP8", "vp8"), "vp90": ("VP9", "vp9")}
"""What OpenCV calls a codec → its name in `cudaVideoCodec`, and in FFmpeg. Their packets need nothing beside them."""

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


class _UnsuitedError(Exception):
    """Why NVDEC does not decode something; the end of a sentence."""


class GpuDecoder:
    """NVDEC, as a `Decoder`. Any number of threads may decode with it.

    Args:
        module: See `load_nvdec`.
        device: The GPU, on which the pipeline runs.
        strict: Whether what NVDEC does not take is an error; otherwise the CPU decodes it, which is told once for each
            file.
        on_note: Is told so.

    Attributes:
        version: Of the package.
    """

    def __init__(
        self, module: Any, device: DeviceLayer, *, strict: bool, on_note: Callable[[str], None] = lambda _: None
    ) -> None:
        self.version = str(module.__version__)
        self._nvc, self._device, self._strict, self._on_note = module, device, strict, on_note
        self._lock, self._told = threading.Lock(), set[str]()
        self._down = device.stream()

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
                raise _UnsuitedError(
                    f"its codec is {name.strip() or 'unknown'}, and H.264, HEVC, VP8 and VP9 are taken"
                )
            turns = round(capture.get(cv2.CAP_PROP_ORIENTATION_META) / 90) % 4
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # it would turn the packets' bytes
            packets = capture.set(cv2.CAP_PROP_FORMAT, -1)
            if not packets:
                raise _UnsuitedError("this OpenCV does not give its packets")
            for decoded in self._decode(capture, name, turns):
                begun = True
                yield decoded
            return
        except _UnsuitedError as error:
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

    def _decode(self, capture: cv2.VideoCapture, name: str, turns: int) -> Iterator[Decoded]:
        codec, ffmpeg = _CODECS[name]
        stream = self._device.stream()
        decoder: Any = None
        look: _Look | None = None
        times: dict[int, float] = {}
        while capture.grab():
            ok, data = capture.retrieve()
            if not ok or not data.size:
                continue
            packet = np.ascontiguousarray(data).reshape(-1)
            look = look or _look(ffmpeg, packet)
            if look is None:  # what comes before the first key frame needs frames that are not there
                continue
            if decoder is None:
                decoder = self._open(codec, look, stream)
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            stamp = round(seconds * 1e6)
            times[stamp] = seconds
            yield from self._frames(decoder, packet, stamp, times, look, turns, stream)
        if decoder is not None and look is not None:
            yield from self._frames(decoder, None, 0, times, look, turns, stream)

    def _open(self, codec: str, look: "_Look", stream: Stream) -> Any:
        nvc, number = self._nvc, self._device.ordinal
        kind = getattr(nvc.cudaVideoCodec, codec)
        with _failures():
            able = nvc.GetDecoderCaps(
                gpuid=number, codec=kind, chromaformat=getattr(nvc.cudaVideoChromaFormat, "420"), bitdepth=8
            )
        if not able.get("num_decoder_engines", 1):
            raise _UnsuitedError(f"this GPU decodes no {codec}")
        for side, pixels in (("width", look.width), ("height", look.height)):
            least, most = able.get(f"{side}_min", 0), able.get(f"{side}_max", pixels)
            if not least <= pixels <= most:
                raise _UnsuitedError(
                    f"its {side} is {pixels} pixels, and this GPU decodes {codec} of {least} to {most}"
                )
        with _failures():
            return nvc.CreateDecoder(
                gpuid=number,
                codec=kind,
                cudacontext=self._device.context,
                cudastream=stream.handle,
                usedevicememory=True,
                outputColorType=nvc.OutputColorType.NATIVE,
            )

    def _frames(
        self,
        decoder: Any,
        data: Array | None,
        stamp: int,
        times: dict[int, float],
        look: "_Look",
        turns: int,
        stream: Stream,
    ) -> Iterator[Decoded]:
        """The frames that are ready once a packet has come; those that are left where `data` is None."""
        packet = self._nvc.PacketData()
        packet.bsl_data, packet.bsl = (0, 0) if data is None else (data.ctypes.data, data.nbytes)
        packet.pts = stamp
        with _failures():
            frames = list(decoder.Decode(packet))
        for frame in frames:
            if frame.format != self._nvc.Pixel_Format.NV12:
                raise _UnsuitedError(f"NVDEC gives it as {frame.format.name}, and NV12 is expected")
            shown = int(frame.timestamp)
            seconds = times.pop(shown, shown / 1e6)
            for passed in [other for other in times if other < shown]:  # of packets without a frame
                del times[passed]
            yield Decoded(seconds, partial(self._picture, frame, look.matrix, turns, stream))

    def _picture(self, frame: Any, matrix: YuvMatrix, turns: int, stream: Stream) -> DevicePicture:
        """A frame's own memory belongs to the decoder, which uses it again: it is left with one pass over it."""
        luma, chroma = (_Plane.of(view) for view in frame.cuda())
        height, width = luma.height, luma.width
        shape = (width, height, 3) if turns % 2 else (height, width, 3)
        rgb = self._device.array(shape, np.uint8, stream)
        launch = kernels.nv12_to_rgb(
            (height, width), luma.pointer, luma.pitch, chroma.pointer, chroma.pitch, matrix, turns, Pointer(rgb.pointer)
        )
        self._device.launch(launch, stream)
        stream.synchronize()
        return DevicePicture(DeviceArray(shape, rgb.dtype, rgb.pointer, self._device, rgb.owner), self._download)

    def _download(self, array: DeviceArray) -> Image:
        pixels = np.empty(array.shape, np.uint8)
        with self._lock:
            self._device.copy(pixels, array, self._down)
        return pixels


class _Plane(NamedTuple):
    pointer: Pointer
    height: int
    width: int
    pitch: int

    @classmethod
    def of(cls, view: Any) -> "_Plane":
        interface = view.__cuda_array_interface__
        height, width = interface["shape"][:2]
        return cls(Pointer(interface["data"][0]), height, width, interface["strides"][0])


class _Look(NamedTuple):
    """What a video's first frame tells of all."""

    width: int
    height: int
    matrix: YuvMatrix


def _look(codec: str, packet: Array) -> _Look | None:
    """Let FFmpeg look at a packet; None if it is no key frame. Raises `_UnsuitedError` if NVDEC would not give NV12."""
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
        raise _UnsuitedError(f"its pixels are {frame.format.name}, and 8 bits of 4:2:0 are taken")
    full = frame.format.name == "yuvj420p" or int(frame.color_range) == 2  # FFmpeg's AVCOL_RANGE_JPEG
    return _Look(frame.width, frame.height, YuvMatrix.of(int(frame.colorspace), full=full))


@contextmanager
def _failures() -> Iterator[None]:
    """What the package raises has no type of its own."""
    try:
        yield
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _UnsuitedError(f"NVDEC says {first!r}") from error


def _fourcc(capture: cv2.VideoCapture) -> str:
    return (int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1").lower()
