"""What decodes videos and live streams: NVIDIA's decoder on the GPU, or FFmpeg on the CPU."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from mgts_trt.choices import DecodeChoice
from mgts_trt.errors import BackendError
from mgts_trt.gallery.indexing.live_stream import StreamDecoder, frames_on_cpu
from mgts_trt.gallery.indexing.nvdec import Nvdec, load_nvdec
from mgts_trt.gallery.indexing.nvdec_streams import StreamsOnGpu
from mgts_trt.gallery.indexing.nvdec_videos import VideosOnGpu
from mgts_trt.gallery.indexing.video import Decoder, decode_on_cpu
from mgts_trt.runtime.pipeline import PersonSearch

_log = logging.getLogger(__name__)


class Decoders(NamedTuple):
    """What decodes."""

    videos: Decoder = decode_on_cpu
    streams: StreamDecoder = frames_on_cpu


ON_CPU = Decoders()


def choose_decoders(
    choice: DecodeChoice,
    search: PersonSearch,
    films: bool = True,
    on_note: Callable[[str], None] = lambda _: None,
) -> Decoders:
    """What decodes for a pipeline.

    Args:
        choice: `cpu`; `gpu`; or `auto`, which is the GPU where TensorRT runs the pipeline and NVIDIA's decoder is at
            hand, and of each video and stream there the CPU if that decoder does not take it.
        search: Where pictures go.
        films: Whether there is a video or live stream at all; else nothing is asked for, nor told.
        on_note: Is told which it is, and why, where there is a choice: where TensorRT runs the pipeline. Of videos
            that the CPU decodes instead it is told by the thread that reads them.

    Raises:
        BackendError: `gpu`, and something is missing.
    """
    if choice == "cpu" or not films:
        return ON_CPU
    engines = search.runtime.engines
    try:
        if not engines:
            raise BackendError(
                f"What the GPU decodes is searched by TensorRT, but this bundle runs on {search.runtime.device}: "
                f"{search.runtime.reason} `mgts-trt doctor` says what is missing for TensorRT; or decode with "
                "--decode cpu."
            )
        nvdec = Nvdec(load_nvdec(), next(iter(engines.values())).device)
    except BackendError as error:
        if choice == "gpu":
            raise
        _log.info("videos and live streams are decoded on the CPU: %s", error)
        if engines:
            on_note(f"videos and live streams are decoded on the CPU: {error}")
        return ON_CPU
    told = f"videos and live streams are decoded on the GPU, by PyNvVideoCodec {nvdec.version}"
    _log.info(told)
    on_note(told)
    strict = choice == "gpu"
    return Decoders(VideosOnGpu(nvdec, strict=strict, on_note=on_note), StreamsOnGpu(nvdec, strict=strict))
