"""What the operators that read maps under boxes have in common: their two inputs, and what these may be."""

from collections.abc import Sequence
from dataclasses import dataclass

from mgts_trt.errors import BackendError
from mgts_trt.runtime.operators.operator_kernel import Operand

MAX_POINTS = 128
"""Of a region on one axis: what the kernels hold in shared memory."""

MAX_CELLS = 1 << 28
"""Of a map: the kernels count its bytes in 32 bits."""

SUFFIXES = {"float32": "f32", "float16": "f16"}
"""NumPy's name of a type → what it is called in a kernel's name."""


@dataclass(frozen=True)
class RegionsOnMaps:
    """Sizes of maps [pictures, channels, height, width] and of boxes [pictures, regions, 4]."""

    pictures: int
    channels: int
    height: int
    width: int
    regions: int

    @classmethod
    def of(cls, operator: str, inputs: Sequence[Operand]) -> "RegionsOnMaps":
        """Of an operator's inputs, maps and boxes.

        Raises:
            BackendError: They are of other types or sizes than the kernels take.
        """
        maps, boxes = inputs
        whole = len(maps.shape) == 4 and len(boxes.shape) == 3 and min(*maps.shape, *boxes.shape) > 0
        if not whole or maps.shape[0] != boxes.shape[0] or boxes.shape[2] != 4:
            raise BackendError(
                f"{operator} got maps {list(maps.shape)} and boxes {list(boxes.shape)}, but its kernel takes maps "
                "[B, C, h, w] and boxes [B, R, 4] of the same B, none of them empty. Build the plan with --ops graph."
            )
        if maps.dtype not in SUFFIXES or boxes.dtype != "float32":
            raise BackendError(
                f"{operator} got {maps.dtype} maps and {boxes.dtype} boxes, but its kernel takes maps of "
                f"{' or '.join(SUFFIXES)} and float32 boxes. Build the plan with --ops graph."
            )
        pictures, channels, height, width = maps.shape
        if height * width > MAX_CELLS:
            raise BackendError(
                f"{operator} got maps of {height} x {width}, but its kernel takes up to {MAX_CELLS:,} cells. Build the "
                "plan with --ops graph."
            )
        return cls(pictures, channels, height, width, boxes.shape[1])


def check_points(operator: str, what: str, points: int) -> None:
    """Refuse more points on one axis of a region than the kernels hold, and less than one.

    Raises:
        BackendError: See above; the message tells `what` it is that counts them.
    """
    if not 1 <= points <= MAX_POINTS:
        raise BackendError(
            f"{operator} has {what} {points}, but its kernel takes 1 to {MAX_POINTS}. Build the plan with --ops graph."
        )


def check_stride(operator: str, stride: float) -> None:
    """Refuse cells without a size.

    Raises:
        BackendError: See above.
    """
    if not stride > 0:
        raise BackendError(f"{operator} has stride {stride}, but a cell is more than 0 pixels wide. Export it anew.")
