"""Model-local functions of a serialized ONNX model, read and replaced without the package onnx.

The base install runs models and does not have that package, and a model of half a gigabyte need not be decoded to
change a few kilobytes of it. This reads protobuf's wire format: a message is a row of fields, each a key, number · 8 +
type, and a value, whose type tells where it ends. See https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from mgts_trt.errors import OnnxError

_FUNCTIONS, _NAME, _DOMAIN = 25, 1, 10
"""Numbers of ModelProto.functions, FunctionProto.name and FunctionProto.domain in onnx.proto."""

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class _Field(NamedTuple):
    """Where a field is: its key at `start`, its value from `value` up to `end`."""

    number: int
    type: int
    start: int
    value: int
    end: int


def functions(model: memoryview) -> dict[tuple[str, str], bytes]:
    """The functions of a model.

    Args:
        model: A serialized ModelProto.

    Returns:
        (domain, name) → the field that holds the function, with its key: such fields in a row are a model, too.

    Raises:
        OnnxError: These are no bytes of a protobuf message.
    """
    return {_named(model, each): bytes(model[each.start : each.end]) for each in _functions(model)}


def with_functions(model: memoryview, forms: Collection[bytes], without: Collection[tuple[str, str]]) -> bytes:
    """A model with other functions; all else stays as it is, byte for byte.

    Args:
        model: A serialized ModelProto.
        forms: Functions to add, as `functions` gives them.
        without: (domain, name) of those to leave out.

    Raises:
        OnnxError: These are no bytes of a protobuf message.
    """
    kept, begin = [], 0
    for each in _functions(model):
        if _named(model, each) in without:
            kept.append(model[begin : each.start])
            begin = each.end
    return b"".join([*kept, model[begin:], *forms])


def _functions(model: memoryview) -> Iterator[_Field]:
    return (each for each in _fields(model, 0, len(model)) if (each.number, each.type) == (_FUNCTIONS, _BYTES))


def _named(model: memoryview, function: _Field) -> tuple[str, str]:
    texts = {_NAME: "", _DOMAIN: ""}
    for each in _fields(model, function.value, function.end):
        if each.number in texts and each.type == _BYTES:
            texts[each.number] = bytes(model[each.value : each.end]).decode("utf-8", "replace")
    return texts[_DOMAIN], texts[_NAME]


def _fields(data: memoryview, at: int, end: int) -> Iterator[_Field]:
    while at < end:
        start = at
        key, at = _varint(data, at, end)
        number, kind = key >> 3, key & 7
        value = at
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _BYTES:
            size, value = _varint(data, at, end)
            at = value + size
        elif kind in (_FIXED_64, _FIXED_32):
            at += 8 if kind == _FIXED_64 else 4
        else:
            raise OnnxError(f"These bytes are no ONNX model: at {start} is a field of type {kind}. Copy it again.")
        if number == 0 or at > end:
            raise OnnxError(f"These bytes are no ONNX model: the field at {start} does not end in them. Copy it again.")
        yield _Field(number, kind, start, value, at)


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    number = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= end:
            break
        byte = data[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise OnnxError(f"These bytes are no ONNX model: the number at {at} does not end. Copy it again.")
