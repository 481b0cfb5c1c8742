import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="needs the extra serve")

from mgts_trt.service.fields import file_name, read_boxes, read_embedding, read_name, read_places
from mgts_trt.service.refusal import Refusal


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, None),
        ({"box": "1,2,3,4"}, (1, 2, 3, 4)),
        ({"box": " 1.5 , 2,3,4"}, (1.5, 2, 3, 4)),
        ({"box_xywh": "1.5,2,3,4"}, (1.5, 2, 4.5, 6)),
        ({"point": "7,-8"}, (7, -8)),
    ],
)
def test_where(fields: dict[str, str], where) -> None:
    assert read(**fields) == [(where, next(iter(fields), None))]


def read(**fields: str):
    return read_places(1, **{name: [text] for name, text in fields.items()})


def test_each_of_several_pictures_has_its_place() -> None:
    fields = {"box": ["", "1,2,3,4"], "point": ["7,8"]}
    assert read_places(3, **fields) == [((7, 8), "point"), ((1, 2, 3, 4), "box"), (None, None)]
    with pytest.raises(Refusal, match=r"not_box cannot be read.* of 1 there are 2"):
        read_places(1, prefix="not_", box=["", ""])
    with pytest.raises(Refusal, match="not_box"):
        read_places(1, prefix="not_", box=["1"])


@pytest.mark.parametrize(
    "fields",
    [{"box": "1,2,3"}, {"box": "1,2,1,4"}, {"box": "5,6,5,5"}, {"box": "1,2,nan,4"}, {"box": "a,b,c,d"}, {"box": " "},
     {"box_xywh": "1,2,0,4"}, {"box_xywh": "1,2,3"}, {"point": "1"}, {"box": "1,2,3,4", "point": "1,2"},
     {"box": "1,2,3,4", "box_xywh": "1,2,3,4"}],
)  # fmt: skip
def test_where_that_is_none(fields: dict[str, str]) -> None:
    with pytest.raises(Refusal, match=f"The form field {list(fields)[-1]} cannot be read"):
        read(**fields)


def test_a_box_by_its_size_in_the_wrong_field_is_told_where_it_belongs() -> None:
    with pytest.raises(Refusal, match="box_xywh"):
        read(box="240,63,80,168")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "[1,2,3,4]", "[[1,2,3]]", "[[1,2],[3]]", '{"a":1}', '[["a",1,2,3]]', "[[1,2,3,1e400]]", "[[1,2,3,1e39]]",
     "[[NaN,1,2,3]]", "null", "[" * 5000, json.dumps([[0, 0, 1, 1]] * 301), "[[1,2,3,4]", "[[true,1,2,{}]]"],
)  # fmt: skip
def test_boxes_that_are_none(text: str) -> None:
    with pytest.raises(Refusal, match="boxes"):
        read_boxes(text)


def test_boxes() -> None:
    boxes = read_boxes("[[1, 2, 3.5, 4]]")
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[1, 2, 3.5, 4]]


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4).filter(lambda v: max(map(abs, v)) > 1e-6))
def test_embeddings_have_length_1(values: list[float]) -> None:
    assert np.linalg.norm(read_embedding(json.dumps(values), 4)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [3.4e38, 1e-45, -3.4e38, 1e-30])
def test_embeddings_at_the_ends_of_float32(value: float) -> None:
    vector = read_embedding(json.dumps([value] * 128), 128)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("values", [[1, 2, 3], [0, 0, 0, 0], [1, 2, 3, math.inf], [[1, 2, 3, 4]], "text"])
def test_embeddings_that_are_none(values) -> None:
    with pytest.raises(Refusal, match="embedding"):
        read_embedding(json.dumps(values), 4)


@given(st.one_of(st.text(max_size=50), st.text("a ", min_size=1000, max_size=1100)))
def test_names_are_printable_and_short(text: str) -> None:
    name = file_name(text)
    assert name.isprintable()
    assert 0 < len(name) <= 1024
    try:
        given_name = read_name(text, "camera")
    except Refusal:
        assert len(text) > 1024 or not text.strip().isprintable()
    else:
        assert given_name is None or given_name == text.strip()
