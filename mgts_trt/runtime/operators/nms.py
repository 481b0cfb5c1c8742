"""The launches of `Nms`: greedy non-maximum suppression, exact, without the host."""

from collections.abc import Sequence

import numpy as np

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Launch, Pointer
from mgts_trt.runtime.operators.operator_kernel import Operand

_SOURCE = "nms.cu"
_TILE, _THREADS, _MAX_TILES = 64, 512, 128

MAX_BOXES = _TILE * _MAX_TILES
"""Of one picture; the kernel holds a bit for each in shared memory."""


class Nms:
    """`engines/kernels/nms.cu`, the twin of `mgts_trt.stages.nms`.

    Input: boxes, float32 [B, N, 4], best first; N up to `MAX_BOXES`.

    Args:
        threshold: IoU, 0…1, above which the worse of two boxes goes.

    Raises:
        BackendError: The threshold is no IoU.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 <= threshold <= 1:
            raise BackendError(f"The threshold of Nms is {threshold}, but an IoU is 0…1. Export the model again.")
        self._threshold = np.float32(threshold)

    def scratch_bytes(self, inputs: Sequence[Operand]) -> int:
        """See `OperatorKernel.scratch_bytes`."""
        pictures, boxes = _sizes(inputs[0])
        return pictures * boxes * _tiles(boxes) * 8

    def launches(self, inputs: Sequence[Operand], outputs: Sequence[Operand], scratch: Pointer) -> Sequence[Launch]:
        """See `OperatorKernel.launches`."""
        pictures, boxes = _sizes(inputs[0])
        tiles = _tiles(boxes)
        masks = (inputs[0].pointer, np.int32(boxes), self._threshold, scratch)
        keep = (scratch, np.int32(boxes), outputs[0].pointer)
        return (
            Launch("nms_masks", _SOURCE, (tiles + 1, -(-tiles // 2), pictures), (_TILE, 1, 1), 0, masks),
            Launch("nms_keep", _SOURCE, (pictures, 1, 1), (_THREADS, 1, 1), 0, keep),
        )


def _tiles(boxes: int) -> int:
    return -(-boxes // _TILE)


def _sizes(boxes: Operand) -> tuple[int, int]:
    """Pictures, and boxes of each."""
    if boxes.dtype != "float32" or len(boxes.shape) != 3 or boxes.shape[2] != 4 or 0 in boxes.shape:
        raise BackendError(f"Nms takes boxes, float32 [B, N, 4], but these are {boxes}. Export the model again.")
    pictures, count, _ = boxes.shape
    if count > MAX_BOXES:
        raise BackendError(
            f"Nms is given {count:,} boxes of a picture, but its kernel holds at most {MAX_BOXES:,}. "
            "Export the model with fewer proposals, or build it with `--ops graph`."
        )
    return pictures, count
