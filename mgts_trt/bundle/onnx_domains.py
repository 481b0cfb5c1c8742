"""Whose operators an ONNX file calls, read without the package onnx and without its weights."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mgts_trt.bundle.operators import DOMAIN
from mgts_trt.errors import OnnxError

_OPSET_IMPORT = 8
"""Field of ONNX's `ModelProto`: an `OperatorSetIdProto`, whose field 1 is the domain."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""How Protocol Buffers write a field; the low three bits of its key."""


def calls_operators(path: Path) -> bool:
    """Whether a model calls operators of the domain `mgts`.

    Raises:
        OnnxError: The file cannot be read.
    """
    return DOMAIN in imported_domains(path)


def imported_domains(path: Path) -> set[str]:
    """Names of the domains whose operators a model may call; the standard one is the empty string.

    Raises:
        OnnxError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return {_domain(file, end) for field, end in _fields(file, size) if field == _OPSET_IMPORT}
    except (OSError, ValueError) as error:
        raise OnnxError(f"Cannot read {path}: {error}. Export it again.") from error


def _domain(file: BinaryIO, end: int) -> str:
    names = [file.read(until - file.tell()).decode() for field, until in _fields(file, end) if field == 1]
    return names[-1] if names else ""


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Number of each field of a message that ends at `end`, and where it ends; the file stands at what it holds."""
    while file.tell() < end:
        key = _varint(file)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            _varint(file)
            until = file.tell()
        elif kind == _BYTES:
            length = _varint(file)
            until = file.tell() + length
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            until = file.tell() + (8 if kind == _EIGHT_BYTES else 4)
        else:
            raise ValueError("it is no ONNX model")
        if until > end:
            raise ValueError("it is truncated, or no ONNX model")
        yield field, until
        file.seek(until)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it is truncated, or no ONNX model")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("it is no ONNX model")
