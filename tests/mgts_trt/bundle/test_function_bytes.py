import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mgts_trt.bundle.function_bytes import functions, with_functions
from mgts_trt.bundle.operators import DOMAIN, add_functions, function
from mgts_trt.errors import OnnxError

OTHER = "another.domain"


def make_model() -> onnx.ModelProto:
    """A model with every kind of field: numbers, texts, weights, and functions of two domains."""
    node = helper.make_node("Nms", ["boxes"], ["keep"], domain=DOMAIN, threshold=0.5)
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("boxes", 1, [1, "N", 4])],
        [helper.make_tensor_value_info("keep", 1, [1, "N"])],
        [numpy_helper.from_array(np.arange(300, dtype=np.float32), "weights")],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)], producer_name="ünï")
    model.model_version = 2**62
    helper.set_model_props(model, {"a": "b"})
    add_functions(model)
    foreign = model.functions.add()
    foreign.CopyFrom(function("NmsRound"))
    foreign.domain = OTHER
    return model


def view(model: onnx.ModelProto) -> memoryview:
    return memoryview(model.SerializeToString())


def test_functions_are_found_whole() -> None:
    model = make_model()
    found = functions(view(model))
    assert list(found) == [(DOMAIN, "Nms"), (DOMAIN, "NmsRound"), (OTHER, "NmsRound")]
    assert [onnx.ModelProto.FromString(each).functions[0] for each in found.values()] == list(model.functions)


@pytest.mark.parametrize(
    "without", [[], [(DOMAIN, "Nms")], [(DOMAIN, "NmsRound"), (DOMAIN, "Nms")], [(OTHER, "NmsRound")], [("", "Nms")]]
)
@pytest.mark.parametrize("forms", [[], ["PsAssemble"], ["AlignRois", "Nms"]])
def test_only_the_named_functions_change(without: list[tuple[str, str]], forms: list[str]) -> None:
    model = make_model()
    added = [onnx.ModelProto(functions=[function(name)]).SerializeToString() for name in forms]
    changed = onnx.ModelProto.FromString(with_functions(view(model), added, without))
    kept = [each for each in model.functions if (each.domain, each.name) not in without]
    assert list(changed.functions) == kept + [function(name) for name in forms]
    del changed.functions[:], model.functions[:]
    assert changed == model


def test_fields_of_every_type_are_passed_over() -> None:
    unknown = b"\xf9\x07" + b"x" * 8 + b"\xfd\x07" + b"y" * 4  # number 127: types 1 and 5, of 8 and 4 bytes
    model = make_model()
    assert functions(memoryview(unknown + bytes(view(model)))) == functions(view(model))


def test_bytes_that_end_early_are_refused_or_whole_fields() -> None:
    data = view(make_model())
    whole = set()
    for length in range(len(data)):
        try:
            found = functions(data[:length])
        except OnnxError:
            continue
        whole.add(length)
        assert found.items() <= functions(data).items()
    assert 5 <= len(whole) <= 20  # between fields alone


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # a key without a value
        b"\x08" + b"\xff" * 10 + b"\x01",  # a number of more than 64 bits
        b"\x3a\x7f",  # longer than the bytes
        b"\x3b",  # a group, which proto3 has not
        b"\x3f",  # a type that is none
        b"\x00\x00",  # field 0
        b"not a model",
        b"\xca\x01\x02\x0a\x7f",  # a function whose name is longer than itself
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(OnnxError, match="no ONNX model"):
        functions(memoryview(data))
    with pytest.raises(OnnxError, match="no ONNX model"):
        with_functions(memoryview(data), [], [])
