"""One launch of one kernel, as a description: what any device layer runs."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np


@dataclass(frozen=True)
class Pointer:
    """An address on the device; 0 is none."""

    address: int

    def __int__(self) -> int:
        return self.address


Argument: TypeAlias = Pointer | np.int32 | np.float32 | np.float64


@dataclass(frozen=True)
class Launch:
    """One launch of one kernel.

    Attributes:
        kernel: Its entry point's name.
        source: The file of `engines/kernels/` it is in.
        grid: Blocks along x, y and z.
        block: Threads of a block along x, y and z.
        shared_bytes: Dynamic shared memory of a block.
        arguments: In order, of the types the kernel declares.
    """

    kernel: str
    source: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    arguments: tuple[Argument, ...]
