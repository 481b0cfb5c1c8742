import pytest

from mgts_trt.bundle.tensors import TensorSpec, split_dimension


@pytest.mark.parametrize(
    ("dimension", "parts"), [("N", (1, "N")), ("300*B", (300, "B")), ("0*B", (1, "0*B")), ("2*", (1, "2*"))]
)
def test_a_dimension_is_a_name_or_a_multiple_of_one(dimension, parts):
    assert split_dimension(dimension) == parts


def test_a_shape_at_given_sizes():
    spec = TensorSpec(dtype="float16", shape=("300*B", 8, "N", 7))
    assert spec.symbols == {"B", "N"}
    assert spec.sized({"B": 4, "N": 2, "M": 9}) == (1200, 8, 2, 7)
    assert spec.zeros(1).shape == (300, 8, 1, 7)
    with pytest.raises(KeyError):
        spec.sized({"B": 4})


def test_a_shape_without_names_has_one_size():
    spec = TensorSpec(dtype="uint8", shape=(64, 96, 3))
    assert (spec.symbols, spec.sized({})) == (set(), (64, 96, 3))
