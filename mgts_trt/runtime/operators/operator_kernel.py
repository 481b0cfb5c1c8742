"""What a chain asks of an operator's kernel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mgts_trt.runtime.cuda.launch import Launch, Pointer


@dataclass(frozen=True)
class Operand:
    """An input or output of an operator: a contiguous array on the device.

    Attributes:
        pointer: Its address, aligned to 256 bytes; of constants, and while only sizes are asked for, it may be 0.
        dtype: NumPy's name of its element type.
        shape: Sizes of this run.
    """

    pointer: Pointer
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


class OperatorKernel(Protocol):
    """An operator with its attributes; the same for every run and every stream.

    A class of this kind takes the attributes of its node, by the names of `engines/operators/README.md`, and raises
    `BackendError` for those it cannot do.
    """

    def scratch_bytes(self, inputs: Sequence[Operand]) -> int:
        """Device memory that a run with inputs of these types and sizes needs besides inputs and outputs.

        Never less for larger inputs: what the largest take is enough for any.

        Raises:
            BackendError: The kernel cannot do such inputs; the message says which it takes.
        """
        ...

    def launches(self, inputs: Sequence[Operand], outputs: Sequence[Operand], scratch: Pointer) -> Sequence[Launch]:
        """What one run launches, in order, on one stream.

        Args:
            inputs: In the operator's order.
            outputs: Likewise; written whole.
            scratch: `scratch_bytes(inputs)` bytes, aligned to 256, holding anything; other steps use them in between.
        """
        ...
