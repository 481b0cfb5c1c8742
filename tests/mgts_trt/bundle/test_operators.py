"""The operators' functions in ONNX files: given, taken away, put in the nodes' places."""

import re

import pytest

pytest.importorskip("onnx", reason="functions are parsed by the package onnx")

from onnx import TensorProto, helper

from mgts_trt.bundle import operators
from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import OnnxError


def calling(*names: str, opset: int = 20):
    """A model that calls operators of one input, one behind the other."""
    nodes = [
        helper.make_node(name, [f"t{i}"], [f"t{i + 1}"], domain=operators.DOMAIN, threshold=0.5)
        for i, name in enumerate(names)
    ]
    first = helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 8, 4])
    last = helper.make_tensor_value_info(f"t{len(names)}", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "calling", [first], [last])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("name", operators.OPERATORS)
def test_every_operator_has_a_function_of_its_name(name: str) -> None:
    function = operators.function(name)
    assert (function.domain, function.name) == (operators.DOMAIN, name)
    assert len(function.input) >= operators.MAPS[name]


def test_the_list_is_the_folder() -> None:
    there = {path.stem for path in (engines_folder() / "operators").glob("*.txt")}
    called = {name for each in operators.OPERATORS for name in operators.used(operators.function(each).node)}
    assert there == {*operators.OPERATORS, *called}
    assert set(operators.MAPS) == set(operators.OPERATORS)


def test_an_operator_that_is_none() -> None:
    with pytest.raises(OnnxError, match=re.escape("There is no operator mgts.Sort; there are Nms, AlignRois")):
        operators.function("Sort")
    with pytest.raises(OnnxError, match=r"no operator mgts\.Sort"):
        operators.add_functions(calling("Sort"))


def test_a_model_gets_what_it_calls_and_what_that_calls() -> None:
    model = calling("Nms", "Nms")
    for _ in range(2):  # a second time changes nothing
        operators.add_functions(model)
        assert [function.name for function in model.functions] == ["Nms", "NmsRound"]
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20), ("mgts", 1)]


def test_functions_of_others_stay() -> None:
    model = calling("Nms")
    operators.add_functions(model)
    model.functions.add(name="Theirs", domain="theirs")
    operators.drop_functions(model)
    assert [function.name for function in model.functions] == ["Theirs"]


def test_a_model_without_operators_stays_as_it_is() -> None:
    model = calling()
    before = model.SerializeToString()
    operators.add_functions(model)
    assert model.SerializeToString() == before


def test_bodies_are_put_in_the_nodes_places() -> None:
    model = calling("Nms")
    operators.add_functions(model)
    inlined = operators.inline(model)
    assert not inlined.functions
    assert {node.domain for node in inlined.graph.node} == {""}


@pytest.mark.parametrize("opset", [18, 20])
def test_bodies_that_cannot_be_put_there_are_told(opset: int) -> None:
    model = calling("Nms", opset=opset)
    if opset != 20:
        operators.add_functions(model)
    with pytest.raises(OnnxError, match=rf"calls mgts\.Nms, and no body .* of its opset, {opset}\. Export it again\."):
        operators.inline(model)
