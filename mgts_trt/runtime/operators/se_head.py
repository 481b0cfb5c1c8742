"""The launches of `SeHead`: MGTS's head after the two streams, which reads their feature maps once."""

from collections.abc import Sequence

import numpy as np

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Argument, Launch, Pointer
from mgts_trt.runtime.operators.operator_kernel import Operand

_SOURCE = "se_head.cu"
_THREADS, _PEOPLE, _CHUNK = 256, 4, 128
_SUFFIXES = {"float32": "f32", "float16": "f16"}
_ALIGNMENT = 256


class SeHead:
    """`engines/kernels/se_head.cu`, the twin of `mgts_trt.stages.fused_head`; it has no attributes.

    Inputs: the two maps [N, C, h, w], float32 or float16 alike; the matrices `squeeze`, `excite` and `fc`, float32.
    """

    def scratch_bytes(self, inputs: Sequence[Operand]) -> int:
        """See `OperatorKernel.scratch_bytes`."""
        return sum(_scratch(inputs).values())

    def launches(self, inputs: Sequence[Operand], outputs: Sequence[Operand], scratch: Pointer) -> Sequence[Launch]:
        """See `OperatorKernel.launches`."""
        places, address = {}, scratch.address
        for name, size in _scratch(inputs).items():
            places[name], address = Pointer(address), address + size
        foreground, original, squeeze, excite, fc = inputs
        people, channels, height, width = foreground.shape
        sizes = (np.int32(people), np.int32(channels))
        first: tuple[Argument, ...] = (
            foreground.pointer, original.pointer, *sizes, np.int32(height * width),
            squeeze.pointer, np.int32(squeeze.shape[0]), places["pooled"], places["squeezed"], places["counters"],
        )  # fmt: skip
        second: tuple[Argument, ...] = (
            places["pooled"], places["squeezed"], *sizes, np.int32(squeeze.shape[0]), excite.pointer, fc.pointer,
            np.int32(fc.shape[0]), places["products"], places["counters"], outputs[0].pointer,
        )  # fmt: skip
        grid, block = (*_grid(inputs), 1), (_THREADS, 1, 1)
        return (
            Launch(f"se_head_squeeze_{_SUFFIXES[foreground.dtype]}", _SOURCE, grid, block, 0, first),
            Launch("se_head_embed", _SOURCE, grid, block, 0, second),
        )


def _grid(inputs: Sequence[Operand]) -> tuple[int, int]:
    """Groups of people, chunks of channels."""
    people, channels = inputs[0].shape[:2]
    return -(-people // _PEOPLE), -(-2 * channels // _CHUNK)


def _scratch(inputs: Sequence[Operand]) -> dict[str, int]:
    """Bytes of each part of the scratch memory, in the order they lie."""
    _check(inputs)
    foreground, _, squeeze, _, fc = inputs
    groups, chunks = _grid(inputs)
    sizes = {
        "pooled": foreground.shape[0] * 2 * foreground.shape[1],
        "squeezed": groups * chunks * _PEOPLE * squeeze.shape[0],
        "products": groups * chunks * _PEOPLE * fc.shape[0],
        "counters": groups,
    }
    return {name: -(-4 * size // _ALIGNMENT) * _ALIGNMENT for name, size in sizes.items()}


def _check(inputs: Sequence[Operand]) -> None:
    foreground, original, squeeze, excite, fc = inputs
    maps = [(each.dtype, each.shape) for each in (foreground, original)]
    if maps[0] != maps[1] or foreground.dtype not in _SUFFIXES or len(foreground.shape) != 4 or 0 in foreground.shape:
        raise BackendError(
            f"SeHead takes two feature maps alike, float32 or float16 [N, C, h, w], but these are {foreground} and "
            f"{original}. Export the model again."
        )
    both, hidden = 2 * foreground.shape[1], squeeze.shape[0]
    wanted = {"squeeze": (hidden, both), "excite": (both, hidden), "fc": (fc.shape[0], both)}
    for (name, shape), matrix in zip(wanted.items(), (squeeze, excite, fc), strict=True):
        if matrix.dtype != "float32" or matrix.shape != shape:
            raise BackendError(
                f"SeHead's {name} is {matrix}, but float32 {list(shape)} fits maps of {foreground.shape[1]} channels. "
                "Export the model again."
            )
