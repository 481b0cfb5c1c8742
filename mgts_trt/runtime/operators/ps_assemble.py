"""The launch of `PsAssemble`."""

from collections.abc import Sequence

import numpy as np

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Argument, Launch, Pointer
from mgts_trt.runtime.operators.operator_kernel import Operand
from mgts_trt.runtime.operators.regions_on_maps import SUFFIXES, RegionsOnMaps, check_points, check_stride

_THREADS = 256


class PsAssemble:
    """`engines/kernels/ps_assemble.cu`, the twin of `mgts_trt.stages.ps_assemble`.

    Args:
        bins: k, a side.
        size: Cells a side, a multiple of `bins`.
        stride: Pixels a cell of the maps.

    Raises:
        BackendError: Attributes the kernel cannot do.
    """

    def __init__(self, *, bins: int, size: int, stride: float) -> None:
        if bins < 1 or size % bins:
            raise BackendError(
                f"PsAssemble has {bins} bins and size {size}, but its kernel takes a size that is a multiple of the "
                "bins. Export it anew."
            )
        check_points("PsAssemble", "size", size)
        check_stride("PsAssemble", stride)
        self._bins, self._size, self._stride = bins, size, stride

    def scratch_bytes(self, inputs: Sequence[Operand]) -> int:
        """None; see `OperatorKernel.scratch_bytes`."""
        self._sizes(inputs)
        return 0

    def launches(self, inputs: Sequence[Operand], outputs: Sequence[Operand], scratch: Pointer) -> Sequence[Launch]:
        """See `OperatorKernel.launches`."""
        sizes = self._sizes(inputs)
        maps, boxes = inputs
        channels = sizes.channels // self._bins**2
        numbers = (sizes.regions, channels, sizes.height, sizes.width, self._bins, self._size)
        arguments: tuple[Argument, ...] = (
            maps.pointer, boxes.pointer, *(np.int32(number) for number in numbers), np.float32(self._stride),
            outputs[0].pointer,
        )  # fmt: skip
        grid = (sizes.regions, -(-channels * self._size**2 // _THREADS), sizes.pictures)
        return (Launch(f"ps_assemble_{SUFFIXES[maps.dtype]}", "ps_assemble.cu", grid, (_THREADS, 1, 1), 0, arguments),)

    def _sizes(self, inputs: Sequence[Operand]) -> RegionsOnMaps:
        sizes = RegionsOnMaps.of("PsAssemble", inputs)
        if sizes.channels % self._bins**2:
            raise BackendError(
                f"PsAssemble got {sizes.channels} maps, but {self._bins} × {self._bins} bins take a multiple of "
                f"{self._bins**2}. Export it anew."
            )
        return sizes
