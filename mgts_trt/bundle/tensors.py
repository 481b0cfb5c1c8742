"""What a tensor at the edge of a model looks like, and the check that an array or a model agrees."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mgts_trt._typing import Array, Self
from mgts_trt.errors import BackendError

Dtype = Literal["uint8", "int8", "int32", "int64", "bool", "float16", "float32"]


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError(f"{name!r} is no name: it holds characters that are not printed")
    return name


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
"""Of a tensor, a precision, a picture: one line, since errors quote it."""
Size = Annotated[int, Field(ge=0, lt=2**31)]

_MULTIPLE = re.compile(r"([1-9]\d*)\*(.+)")


def split_dimension(dimension: str) -> tuple[int, str]:
    """How many times which named dimension: `"300*B"` is 300 times `B`, `"N"` once `N`."""
    multiple = _MULTIPLE.fullmatch(dimension)
    return (int(multiple[1]), multiple[2]) if multiple else (1, dimension)


class TensorSpec(BaseModel):
    """One input or output: its element type and its shape.

    A dimension that varies has a name (`"N"`), or is a multiple of one that has (`"300*B"`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Dtype
    shape: tuple[Size | Name, ...] = Field(max_length=8)

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(str(d) for d in self.shape)}]"

    @property
    def symbols(self) -> set[str]:
        """Names of the dimensions that vary."""
        return {split_dimension(d)[1] for d in self.shape if isinstance(d, str)}

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Its shape where the named dimensions have these sizes.

        Raises:
            KeyError: One has none.
        """
        shape = []
        for dimension in self.shape:
            if isinstance(dimension, str):
                times, symbol = split_dimension(dimension)
                dimension = times * sizes[symbol]
            shape.append(dimension)
        return tuple(shape)

    def zeros(self, size: int) -> Array:
        """An array of this kind, all zero; a named dimension takes `size`."""
        return np.zeros(self.sized(dict.fromkeys(self.symbols, size)), self.dtype)

    def fixed(self, sizes: Mapping[str, int]) -> Self:
        """The same with numbers for some of its named dimensions."""
        return self.model_copy(
            update={"shape": tuple(sizes.get(d, d) if isinstance(d, str) else d for d in self.shape)}
        )

    def admits(self, dtype: str, shape: tuple[int, ...]) -> bool:
        """Whether an array of `dtype` and `shape` is of this kind; a named dimension admits any size."""
        same_rank = len(shape) == len(self.shape)
        return (
            dtype == self.dtype
            and same_rank
            and all(isinstance(d, str) or d == n for d, n in zip(self.shape, shape, strict=True))
        )


def check_arrays(what: str, specs: Mapping[str, TensorSpec], arrays: Mapping[str, Array]) -> None:
    """Check that `arrays` are exactly the tensors `specs` describes: names, types and shapes.

    Args:
        what: Named in the message: `"inputs of detector"`.
        specs: Name → expected tensor.
        arrays: Name → array, of any shape.

    Raises:
        BackendError: A tensor is missing, unknown, or of another type or shape.
    """
    if missing := sorted(specs.keys() - arrays.keys()):
        raise BackendError(f"{what}: {', '.join(missing)} missing; expected {', '.join(sorted(specs))}.")
    if foreign := sorted(arrays.keys() - specs.keys()):
        raise BackendError(f"{what}: unknown {', '.join(foreign)}; expected {', '.join(sorted(specs))}.")
    for name, spec in specs.items():
        array = arrays[name]
        if not spec.admits(array.dtype.name, array.shape):
            came = f"{array.dtype.name} {list(array.shape)}"
            raise BackendError(f"{what}: {name} is {came}, expected {spec}.")
