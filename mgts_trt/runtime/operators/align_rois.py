"""The launch of `AlignRois`."""

from collections.abc import Sequence

import numpy as np

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Argument, Launch, Pointer
from mgts_trt.runtime.operators.operator_kernel import Operand
from mgts_trt.runtime.operators.regions_on_maps import SUFFIXES, RegionsOnMaps, check_points, check_stride
from mgts_trt.stages.align_rois import OUTPUT_TYPES

_THREADS, _CHANNELS, _TOGETHER = 256, 32, 4  # of align_rois.cu
_WARP = 32
_LANES = {1: 2, 2: 4, 3: 8, 4: 8}
"""Samples → threads that share a bin, LANES in align_rois.cu."""


class AlignRois:
    """`engines/kernels/align_rois.cu`, the twin of `mgts_trt.stages.align_rois`.

    Args:
        size: Bins a side.
        samples: Points a bin, down and across; the same number twice.
        stride: Pixels a cell.
        dtype: ONNX's number of the output's type.

    Raises:
        BackendError: Attributes the kernel cannot do.
    """

    def __init__(self, *, size: int, samples: Sequence[int], stride: float, dtype: int) -> None:
        if len(samples) != 2 or samples[0] != samples[1]:
            raise BackendError(
                f"AlignRois has samples {list(samples)}, but its kernel takes the same number twice. Export it anew."
            )
        if dtype not in OUTPUT_TYPES:
            kinds = " and ".join(f"{number} ({name})" for number, name in OUTPUT_TYPES.items())
            raise BackendError(f"AlignRois has dtype {dtype}, but its kernel writes {kinds}. Export it anew.")
        if size < 1 or samples[0] not in _LANES:
            raise BackendError(
                f"AlignRois has size {size} and samples {samples[0]}, but its kernel takes a size of at least 1 and 1 "
                f"to {max(_LANES)} samples. Build the plan with --ops graph."
            )
        check_points("AlignRois", "size · samples", size * samples[0])
        check_stride("AlignRois", stride)
        self._size, self._samples, self._stride, self._dtype = size, samples[0], stride, OUTPUT_TYPES[dtype]

    def scratch_bytes(self, inputs: Sequence[Operand]) -> int:
        """None; see `OperatorKernel.scratch_bytes`."""
        RegionsOnMaps.of("AlignRois", inputs)
        return 0

    def launches(self, inputs: Sequence[Operand], outputs: Sequence[Operand], scratch: Pointer) -> Sequence[Launch]:
        """See `OperatorKernel.launches`."""
        sizes = RegionsOnMaps.of("AlignRois", inputs)
        features, boxes = inputs
        numbers = (sizes.regions, sizes.channels, sizes.height, sizes.width, self._size, self._samples)
        arguments: tuple[Argument, ...] = (
            features.pointer, boxes.pointer, *(np.int32(number) for number in numbers), np.float32(self._stride),
            outputs[0].pointer,
        )  # fmt: skip
        kernel = f"align_rois_{SUFFIXES[features.dtype]}_{SUFFIXES[self._dtype]}"
        grid = (sizes.regions, -(-sizes.channels // _CHANNELS), sizes.pictures)
        return (Launch(kernel, "align_rois.cu", grid, (self._threads(), 1, 1), 0, arguments),)

    def _threads(self) -> int:
        """Whole warps, as few as make a block's bins in as few rounds as `_THREADS` would."""
        jobs = _CHANNELS // _TOGETHER * self._size * _LANES[self._samples]
        rounds = -(-jobs // _THREADS)
        return -(-jobs // (rounds * _WARP)) * _WARP
