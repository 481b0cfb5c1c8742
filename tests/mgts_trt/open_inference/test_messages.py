import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mgts_trt.errors import ProtocolError
from mgts_trt.open_inference.messages import TYPES, read_request, write_answer
from mgts_trt.open_inference.models import ModelSpec, TensorSpec

OBJECTS = st.lists(st.binary(max_size=5), max_size=4)


def spec(datatype: str, axes: int) -> ModelSpec:
    """A model that gives back what it takes."""
    tensor = TensorSpec("x", datatype, (-1,) * axes, "anything")
    return ModelSpec("embed", "", (tensor,), (tensor,))


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    datatype = draw(st.sampled_from(sorted(TYPES)))
    if datatype == "BYTES":
        elements = draw(OBJECTS)
        array = np.empty(len(elements), object)
        array[:] = elements
        return datatype, array
    shape = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3)
    return datatype, draw(arrays.arrays(TYPES[datatype], shape, elements={"allow_nan": False, "allow_infinity": False}
                                        if datatype == "FP32" else None))  # fmt: skip


@given(tensors(), st.booleans(), st.booleans())
def test_what_is_written_is_read_as_it_was(sent, as_bytes, again_as_bytes) -> None:
    """An answer is of the form of a request: what goes out as either comes in as it was."""
    datatype, array = sent
    model = spec(datatype, array.ndim)
    request = {"inputs": [], "outputs": [{"name": "x", "parameters": {"binary_data": as_bytes}}], "id": "né"}
    asked = read_request(json.dumps(request).encode(), None, model)
    for binary in (as_bytes, again_as_bytes):
        asked.outputs["x"] = binary
        answer = write_answer(model, "1", asked, {"x": array})
        assert (answer.json_length is not None) == binary
        told = json.loads(answer.body[: answer.json_length])
        assert told["id"] == "né"
        length = len(text := json.dumps({"inputs": told["outputs"]}).encode())
        behind = answer.body[answer.json_length or len(answer.body) :]
        got = read_request(text + behind, str(length), model).inputs["x"]
        assert (got.dtype.kind, got.shape) == (array.dtype.kind, array.shape)
        np.testing.assert_array_equal(got, array)


@given(st.binary(max_size=200), st.none() | st.text(max_size=4))
def test_noise_is_told_and_nothing_else(body, length) -> None:
    with pytest.raises(ProtocolError):
        read_request(body, length, spec("FP32", 1))


@pytest.mark.parametrize("data", [[1e39], [1e400], [True], [None], [{}], [10**30], [[1]], ["1"]])
def test_numbers_that_are_none(data) -> None:
    one = {"name": "x", "datatype": "FP32", "shape": [2], "data": data}
    with pytest.raises(ProtocolError):
        read_request(json.dumps({"inputs": [one]}).encode(), None, spec("FP32", 1))


def test_rows_and_one_list_are_the_same() -> None:
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        one = {"name": "x", "datatype": "INT32", "shape": [2, 2], "data": data}
        got = read_request(json.dumps({"inputs": [one]}).encode(), None, spec("INT32", 2)).inputs["x"]
        assert got.tolist() == [[1, 2], [3, 4]]
