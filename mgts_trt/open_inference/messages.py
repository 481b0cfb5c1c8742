"""Tensors of the Open Inference Protocol on their way: as numbers in JSON, or as bytes behind it.

The protocol: https://github.com/kserve/open-inference-protocol; bytes behind the JSON are its binary data extension.
"""

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgts_trt._typing import Array
from mgts_trt.errors import ProtocolError
from mgts_trt.open_inference.models import ModelSpec, TensorSpec

HEADER = "Inference-Header-Content-Length"
"""Where bytes follow the JSON, the header that tells its length."""

TYPES: dict[str, type[np.generic]] = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32, "BYTES": np.object_}

_LENGTH = struct.Struct("<I")
"""Before each element of `BYTES`."""

_BASE64 = {"content_type": "base64"}
"""With which `BYTES` travel in JSON, whose strings cannot hold any byte."""

_MOST_AXES = 8


class SentTensor(BaseModel):
    """A tensor of a request: its elements in `data`, or behind the JSON."""

    model_config = ConfigDict(extra="ignore")

    name: str
    datatype: str = Field(examples=["UINT8"])
    shape: Annotated[
        list[Annotated[int, Field(ge=0, le=2**40)]], Field(max_length=_MOST_AXES, examples=[[600, 800, 3]])
    ]
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="binary_data_size: how many bytes behind the JSON are its; content_type: base64, of BYTES in data",
    )
    data: list[Any] | None = Field(default=None, description="Its elements, in rows or all in one list")


class AskedOutput(BaseModel):
    """An output that is asked for."""

    model_config = ConfigDict(extra="ignore")

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict, description="binary_data: whether it is to be bytes")


class InferRequest(BaseModel):
    """A request as its JSON is."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = Field(default=None, max_length=256, description="Comes back with the answer")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="binary_data_output: whether outputs are bytes"
    )
    inputs: Annotated[list[SentTensor], Field(max_length=8)]
    outputs: Annotated[list[AskedOutput], Field(max_length=16)] | None = Field(
        default=None, description="Which outputs; by default all"
    )


@dataclass
class Asked:
    """A request that was read.

    Attributes:
        inputs: Arrays by name; `BYTES` as object arrays of bytes.
        outputs: Names of those asked for → whether as bytes; in the order of the answer.
        id: Comes back with the answer.
    """

    inputs: dict[str, Array]
    outputs: dict[str, bool]
    id: str | None = None


@dataclass
class Answered:
    """An answer to send.

    Attributes:
        body: JSON, and bytes behind it.
        json_length: Of the JSON; None where nothing follows it.
    """

    body: bytes
    json_length: int | None = field(default=None)


def read_request(body: bytes, json_length: str | None, spec: ModelSpec) -> Asked:
    """Read a request.

    Args:
        body: All of it.
        json_length: What its header `HEADER` says, if it has one.
        spec: Of the model that is asked.

    Raises:
        ProtocolError: It is none of the protocol, or does not fit the model.
    """
    length = _json_length(json_length, len(body))
    try:
        request = InferRequest.model_validate_json(body[:length])
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the JSON"
        raise ProtocolError(
            f"The request cannot be read: {place}: {fault['msg'][:200]}. Send the JSON of the Open Inference Protocol; "
            f"where bytes follow it, {HEADER} tells its length."
        ) from None
    known, inputs, at = {each.name: each for each in spec.inputs}, dict[str, Array](), length
    for sent in request.inputs:
        tensor = known.get(sent.name)
        if tensor is None or sent.name in inputs:
            what = "is sent twice" if tensor else "is none of this model's"
            raise ProtocolError(f"The input {sent.name[:80]!r} {what}. It takes {_names(spec.inputs)}, each once.")
        size = sent.parameters.get("binary_data_size")
        _check(sent, tensor)
        if size is None:
            inputs[sent.name] = _from_json(sent)
        else:
            data, at = _next_bytes(body, at, size, sent.name)
            inputs[sent.name] = _from_bytes(sent, data)
    if at != len(body):
        raise ProtocolError(f"{len(body) - at:,} bytes follow the last input, but no binary_data_size counts them.")
    return Asked(inputs, _outputs(request, spec), request.id)


def write_answer(model: ModelSpec, version: str, asked: Asked, found: Mapping[str, Array]) -> Answered:
    """Write the answer to a request.

    Args:
        model: Which answers.
        version: Its.
        asked: What it answers.
        found: Outputs by name, those that were asked for at least.
    """
    datatypes = {each.name: each.datatype for each in model.outputs}
    told, behind = list[dict[str, Any]](), list[bytes]()
    for name, as_bytes in asked.outputs.items():
        array, datatype = found[name], datatypes[name]
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if as_bytes:
            behind.append(_to_bytes(array, datatype))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        elif datatype == "BYTES":
            output |= {"parameters": _BASE64, "data": [base64.b64encode(each).decode() for each in array.ravel()]}
        else:
            output["data"] = array.ravel().tolist()
        told.append(output)
    head: dict[str, Any] = {"model_name": model.name, "model_version": version}
    if asked.id is not None:
        head["id"] = asked.id
    text = json.dumps({**head, "outputs": told}).encode()
    return Answered(b"".join([text, *behind]), len(text) if behind else None)


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdecimal() and len(header) < 12 and int(header) <= size):
        raise ProtocolError(
            f"The header {HEADER} must be the number of bytes of the request's JSON, at most {size:,} as the whole "
            f"request; it is {header[:40]!r}."
        )
    return int(header)


def _check(sent: SentTensor, tensor: TensorSpec) -> None:
    if sent.datatype != tensor.datatype:
        raise ProtocolError(f"The input {sent.name} must be {tensor.datatype}, and is {sent.datatype[:20]!r}.")
    fits = len(sent.shape) == len(tensor.shape) and all(
        want in (-1, got) for want, got in zip(tensor.shape, sent.shape, strict=True)
    )
    if not fits:
        raise ProtocolError(
            f"The input {sent.name} must have the shape {list(tensor.shape)}, where -1 is any length; it has "
            f"{sent.shape}."
        )


def _next_bytes(body: bytes, at: int, size: object, name: str) -> tuple[bytes, int]:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(body) - at:
        raise ProtocolError(
            f"The input {name} says that binary_data_size is {str(size)[:40]}, but {len(body) - at:,} bytes follow."
        )
    return body[at : at + size], at + size


def _from_json(sent: SentTensor) -> Array:
    if sent.data is None:
        raise ProtocolError(f"The input {sent.name} has neither data nor a binary_data_size.")
    if sent.datatype == "BYTES":
        elements = [_element(sent, each) for each in sent.data]
        return _shaped(_objects(elements), sent)
    kind = TYPES[sent.datatype]
    try:
        array = np.array(sent.data)
        if array.size and array.dtype.kind not in ("iu" if issubclass(kind, np.integer) else "iuf"):
            raise ValueError
        with np.errstate(over="raise"):
            numbers = array.astype(kind)
        if issubclass(kind, np.integer) and (numbers != array).any():
            raise ValueError
    except (ValueError, TypeError, OverflowError, FloatingPointError):
        raise ProtocolError(f"The data of the input {sent.name} are not all numbers of {sent.datatype}.") from None
    return _shaped(numbers.reshape(-1), sent)


def _element(sent: SentTensor, text: object) -> bytes:
    if isinstance(text, str):
        if sent.parameters.get("content_type") != "base64":
            return text.encode("utf-8", "surrogatepass")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise ProtocolError(
        f"The data of the input {sent.name} must be strings; of base64 with the parameter content_type base64."
    )


def _from_bytes(sent: SentTensor, data: bytes) -> Array:
    if sent.datatype != "BYTES":
        kind = np.dtype(TYPES[sent.datatype]).newbyteorder("<")
        if len(data) != math.prod(sent.shape) * kind.itemsize:
            raise ProtocolError(
                f"The input {sent.name} of shape {sent.shape} takes {math.prod(sent.shape) * kind.itemsize:,} bytes as "
                f"{sent.datatype}, and {len(data):,} came."
            )
        return np.frombuffer(data, kind).reshape(sent.shape)
    elements, at = list[bytes](), 0
    while at < len(data):
        start = at + _LENGTH.size
        at = start + (_LENGTH.unpack_from(data, at)[0] if start <= len(data) else len(data))
        if at > len(data):
            raise ProtocolError(f"The bytes of the input {sent.name} end within an element.")
        elements.append(data[start:at])
    return _shaped(_objects(elements), sent)


def _shaped(array: Array, sent: SentTensor) -> Array:
    if array.size != math.prod(sent.shape):
        raise ProtocolError(
            f"The input {sent.name} of shape {sent.shape} takes {math.prod(sent.shape):,} elements, and {array.size:,} "
            "came."
        )
    return array.reshape(sent.shape)


def _to_bytes(array: Array, datatype: str) -> bytes:
    if datatype == "BYTES":
        return b"".join(_LENGTH.pack(len(each)) + each for each in array.ravel())
    return array.astype(np.dtype(TYPES[datatype]).newbyteorder("<"), copy=False).tobytes()


def _outputs(request: InferRequest, spec: ModelSpec) -> dict[str, bool]:
    as_bytes = request.parameters.get("binary_data_output") is True
    if request.outputs is None:
        return {each.name: as_bytes for each in spec.outputs}
    known, wanted = {each.name for each in spec.outputs}, dict[str, bool]()
    for each in request.outputs:
        if each.name not in known or each.name in wanted:
            what = "is asked for twice" if each.name in known else "is none of this model's"
            raise ProtocolError(f"The output {each.name[:80]!r} {what}. It gives {_names(spec.outputs)}.")
        if each.parameters.get("classification"):
            raise ProtocolError("The parameter classification is not known here: no output is a list of classes.")
        told = each.parameters.get("binary_data")
        wanted[each.name] = as_bytes if told is None else told is True
    return wanted


def _objects(elements: Sequence[bytes]) -> Array:
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array


def _names(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(each.name for each in tensors)
