"""What decodes videos: NVIDIA's decoder on the GPU, or FFmpeg on the CPU."""

import logging
from collections.abc import Callable

from mgts_trt.choices import DecodeChoice
from mgts_trt.errors import BackendError
from mgts_trt.gallery.indexing.nvdec import GpuDecoder, load_nvdec
from mgts_trt.gallery.indexing.video import Decoder, decode_on_cpu
from mgts_trt.runtime.pipeline import PersonSearch

_log = logging.getLogger(__name__)


def choose_decoder(
    choice: DecodeChoice,
    search: PersonSearch,
    films: bool = True,
    on_note: Callable[[str], None] = lambda _: None,
) -> Decoder:
    """What decodes for a pipeline.

    Args:
        choice: `cpu`; `gpu`; or `auto`, which is the GPU where TensorRT runs the pipeline and NVIDIA's decoder is at
            hand, and of each video there the CPU if that decoder does not take it.
        search: Where pictures go.
        films: Whether there is a video at all; else nothing is asked for, nor told.
        on_note: Is told which it is, and why, where there is a choice: where TensorRT runs the pipeline. Of videos
            that the CPU decodes instead it is told by the thread that reads them.

    Raises:
        BackendError: `gpu`, and something is missing.
    """
    if choice == "cpu" or not films:
        return decode_on_cpu
    engines = search.runtime.engines
    try:
        if not engines:
            raise BackendError(
                f"What the GPU decodes is searched by TensorRT, but this bundle runs on {search.runtime.device}: "
                f"{search.runtime.reason} `mgts-trt doctor` says what is missing for TensorRT; or decode with "
                "--decode cpu."
            )
        decoder = GpuDecoder(load_nvdec(), next(iter(engines.values())).device, strict=choice == "gpu", on_note=on_note)
    except BackendError as error:
        if choice == "gpu":
            raise
        _log.info("videos are decoded on the CPU: %s", error)
        if engines:
            on_note(f"videos are decoded on the CPU: {error}")
        return decode_on_cpu
    told = f"videos are decoded on the GPU, by PyNvVideoCodec {decoder.version}"
    _log.info(told)
    on_note(told)
    return decoder
