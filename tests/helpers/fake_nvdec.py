"""PyNvVideoCodec as far as decoding goes: FFmpeg decodes, and frames lie on a simulated device.

Names, arguments and what a view tells are those of version 2.2; `test_nvdec.py` compares them with the package where it
is installed. As NVDEC does, it wants packets of H.264 and HEVC that begin with start codes, and gives frames in the
order they are shown, some packets later: one that is not told to end a picture is decoded when the next one comes, and
without low latency a frame waits for the next. It fails where frames change their size, as NVDEC does where they grow,
and uses the memory of a frame again.
"""

import ctypes
from collections import deque
from collections.abc import Container
from enum import Enum, IntEnum
from typing import Any

import av
import numpy as np

from tests.helpers.simulated import SimulatedDevice

PITCH = 32
SURFACES = 3
FFMPEG = {"H264": "h264", "HEVC": "hevc", "VP8": "vp8", "VP9": "vp9"}


class PacketData:
    def __init__(self) -> None:
        self.bsl = self.bsl_data = self.pts = self.dts = self.decode_flag = 0


class View:
    def __init__(self, shape: list[int], strides: list[int], pointer: int, stream: int) -> None:
        self.__cuda_array_interface__ = {
            "version": 3, "shape": shape, "strides": strides, "typestr": "|u1", "stream": stream,
            "data": (pointer, False), "gpuIdx": 0,
        }  # fmt: skip


class FakeNvdec:
    """The module.

    Attributes:
        able: What `GetDecoderCaps` answers beside what it was asked.
        fail_at: The packets at which decoding fails, counted over all decoders.
        decoders: How many were made.
        latencies: Those they were made with.
    """

    __version__ = "2.2.4"
    PacketData = PacketData
    cudaVideoCodec = Enum("cudaVideoCodec", {"MPEG4": 2, "H264": 4, "HEVC": 8, "VP8": 9, "VP9": 10, "AV1": 11})  # noqa: N815
    cudaVideoChromaFormat = Enum("cudaVideoChromaFormat", {"420": 1, "422": 2, "444": 3})  # noqa: N815
    OutputColorType = Enum("OutputColorType", {"NATIVE": 0, "RGB": 1, "RGBP": 2})
    DisplayDecodeLatencyType = Enum("DisplayDecodeLatencyType", {"NATIVE": 0, "LOW": 1, "ZERO": 2})
    VideoPacketFlag = IntEnum("VideoPacketFlag", {"ENDOFPICTURE": 8})
    Pixel_Format = Enum("Pixel_Format", {"NV12": 3, "P016": 5, "RGB": 9})

    def __init__(self, device: SimulatedDevice) -> None:
        self.device = device
        self.able = {"num_decoder_engines": 7, "width_min": 16, "width_max": 8192, "height_min": 16, "height_max": 8192}
        self.fail_at: Container[int] = ()
        self.latencies: list[str] = []
        self.decoders = self.packets = 0

    def GetDecoderCaps(  # noqa: N802
        self,
        gpuid: int = 0,
        codec: Any = cudaVideoCodec.H264,
        chromaformat: Any = cudaVideoChromaFormat["420"],
        bitdepth: int = 8,
    ) -> dict[str, int]:
        assert (codec in self.cudaVideoCodec, chromaformat in self.cudaVideoChromaFormat) == (True, True)
        return {"codec_id": codec.value, "chromaformat_id": chromaformat.value, "bitdepth": bitdepth, **self.able}

    def CreateDecoder(  # noqa: N802
        self,
        gpuid: int = 0,
        codec: Any = cudaVideoCodec.H264,
        cudacontext: int = 0,
        cudastream: int = 0,
        usedevicememory: bool = False,
        maxwidth: int = 0,
        maxheight: int = 0,
        outputColorType: Any = OutputColorType.NATIVE,  # noqa: N803
        enableSEIMessage: bool = False,  # noqa: N803
        bWaitForSessionWarmUp: bool = False,  # noqa: N803
        latency: Any = DisplayDecodeLatencyType.NATIVE,
        enableDecodeStats: bool = False,  # noqa: N803
    ) -> "Decoder":
        assert (gpuid, cudacontext, usedevicememory) == (self.device.ordinal, self.device.context, True)
        assert outputColorType is self.OutputColorType.NATIVE
        self.decoders += 1
        self.latencies.append(latency.name)
        low = latency is self.DisplayDecodeLatencyType.LOW
        return Decoder(self, FFMPEG[codec.name], self.device.wrap_stream(cudastream), low)


class Decoder:
    def __init__(self, module: FakeNvdec, codec: str, stream: Any, low: bool) -> None:
        self._module, self._stream, self._low = module, stream, low
        self._open: av.Packet | None = None
        self._waiting: deque[Any] = deque()
        self._size: tuple[int, int] | None = None
        self._context = av.CodecContext.create(codec, "r")
        self._annex_b = codec in ("h264", "hevc")
        self._surfaces: list[Any] = []
        self._shown = 0
        self._pinned: list[Any] = []

    def Decode(self, arg0: PacketData) -> list["DecodedFrame"]:  # noqa: N802
        module, packets = self._module, [] if self._open is None else [self._open]
        self._open = None
        if arg0.bsl:
            data = ctypes.string_at(arg0.bsl_data, arg0.bsl)
            assert not self._annex_b or data.startswith((b"\0\0\1", b"\0\0\0\1"))
            packet = av.Packet(data)
            packet.pts = arg0.pts
            module.packets += 1
            if module.packets in module.fail_at:
                raise RuntimeError("HandleVideoSequence : unsupported\nat NvDecoder.cpp")
            if arg0.decode_flag & module.VideoPacketFlag.ENDOFPICTURE:
                packets.append(packet)
            else:
                self._open = packet
        else:
            packets.append(None)
        self._waiting += [frame for packet in packets for frame in self._context.decode(packet)]
        keep = 0 if self._low or not arg0.bsl else 1
        ready = [self._waiting.popleft() for _ in range(len(self._waiting) - keep)]
        self._room = max(SURFACES, len(ready), len(self._surfaces))
        return [self._frame(frame) for frame in ready]

    def _frame(self, frame: Any) -> "DecodedFrame":
        height, width = frame.height, frame.width
        self._size = self._size or (height, width)
        if self._size != (height, width):
            raise RuntimeError("Reconfigure Not supported when width/height > maxwidth/maxheight")
        rows, columns = -(-height // 2), -(-width // 2)
        pitch = -(-2 * columns // PITCH) * PITCH
        device, stream = self._module.device, self._stream
        if len(self._surfaces) < self._room:
            self._surfaces.append(device.array((height + rows, pitch), np.uint8, stream))
        surface = self._surfaces[self._shown % len(self._surfaces)]
        self._shown += 1
        pinned = device.pinned(surface.shape, np.uint8)
        self._pinned.append(pinned)
        there = pinned.array
        y, u, v = (np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes)
        there[:height, :width] = y[:height, :width]
        there[height:, : 2 * columns : 2], there[height:, 1 : 2 * columns : 2] = u[:rows, :columns], v[:rows, :columns]
        device.copy(surface, pinned, stream)
        luma = View([height, width, 1], [pitch, 1, 1], surface.pointer, stream.handle)
        chroma = View([rows, columns, 2], [pitch, 2, 1], surface.pointer + height * pitch, stream.handle)
        return DecodedFrame([luma, chroma], frame.pts, self._module.Pixel_Format.NV12)


class DecodedFrame:
    def __init__(self, views: list[View], timestamp: int, pixels: Any) -> None:
        self._views, self.timestamp, self.format = views, timestamp, pixels

    def cuda(self) -> list[View]:
        return self._views
