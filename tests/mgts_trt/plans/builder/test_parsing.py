from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError, OnnxError
from mgts_trt.plans.builder.parsing import Node, check_tensors, examine, nodes_without_layer, parse, read_nodes
from mgts_trt.plans.installed import find_flavour, require_flavour
from tests.helpers.tiny_bundle import make_model

needs_tensorrt = pytest.mark.skipif(find_flavour() is None, reason="neither TensorRT-RTX nor TensorRT is installed")


def save(path, nodes, weights=(), inputs=(("x", [1, 4, 8, 8]),), output=("y", [1, 4, 8, 8]), **options):
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(array, name) for name, array in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, **options)
    onnx.save(model, path)
    return path


def op(kind, inputs, outputs, name="", **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), name=name, **attributes)


@pytest.fixture
def folded(tmp_path):
    """Constants that are computed, no-ops, shape arithmetic, and a node without a name."""
    nodes = [
        op("Neg", "w", "w2", "fold"),
        op("Constant", "", "deux", "two", value=numpy_helper.from_array(np.float32(2))),
        op("Mul", "w2 deux", "w3", "fold_too"),
        op("Conv", "x w3", "c", pads=[1, 1, 1, 1]),
        op("Identity", "c", "i", "same"),
        op("Dropout", "i", "d", "drop"),
        op("Max", "d", "m", "alone"),
        op("Shape", "m", "s", "shape"),
        op("Reshape", "m s", "r", "reshape"),
        op("Relu", "r", "y", "relu"),
    ]
    return save(tmp_path / "folded.onnx", nodes, [("w", np.ones((4, 4, 3, 3), np.float32))])


def test_which_nodes_must_have_a_layer(folded):
    must = {node.name: node.must_have_layer for node in read_nodes(folded)}
    assert must == {
        "fold": False,
        "two": False,
        "fold_too": False,
        "node_of_c": True,
        "same": False,
        "drop": False,
        "alone": False,
        "shape": False,
        "reshape": False,
        "relu": True,
    }


CONV, RELU, CAST = Node("conv", "Conv", True), Node("relu", "Relu", True), Node("cast", "Cast", False)


@pytest.mark.parametrize(
    ("nodes", "origins", "lost"),
    [
        ([CONV, RELU, CAST], ["conv", "relu", "cast"], []),
        ([CONV, RELU, CAST], ["relu", "helper", "conv"], []),
        ([CONV, RELU], ["conv", "conv"], [RELU]),
        ([CONV, CONV], ["conv"], [CONV]),
        ([CONV, CONV], ["conv", "conv", "conv"], []),
        ([CONV, RELU], [], [CONV, RELU]),
        ([CAST], [], []),
        ([], ["helper"], []),
    ],
)
def test_lost_nodes(nodes, origins, lost):
    assert nodes_without_layer(nodes, origins) == lost


def test_nodes_of_nested_graphs_are_seen(tmp_path):
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 4, 8, 8])
    branch = helper.make_graph([op("Sigmoid", "x", "b", "inner")], "branch", [], [value])
    nodes = [op("If", "flag", "y", "choice", then_branch=branch, else_branch=branch)]
    path = save(tmp_path / "if.onnx", nodes, [("flag", np.array(True))])
    assert [node.name for node in read_nodes(path) if node.must_have_layer] == ["inner", "inner"]


def test_functions_are_refused(tmp_path):
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [op("Add", "a a", "b")], [helper.make_opsetid("", 17)]
    )
    node = helper.make_node("Twice", ["x"], ["y"], domain="own")
    path = save(tmp_path / "function.onnx", [node], functions=[function])
    with pytest.raises(BuildError, match=r"functions of its own \(Twice\)"):
        read_nodes(path)


def test_a_file_that_is_no_onnx(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 20)
    with pytest.raises(OnnxError, match=r"Cannot read .*junk\.onnx"):
        read_nodes(tmp_path / "junk.onnx")


@needs_tensorrt
class TestWithTensorRT:
    @pytest.fixture
    def built(self):
        """Parses a file; what belongs to it stays alive for the test."""
        flavour, alive = require_flavour(), []

        def parsed(path):
            builder = flavour.create_builder()
            alive.append((builder, parse(flavour, builder, path, messages)))
            return flavour, alive[-1][1].network

        with flavour.collect() as messages:
            yield parsed

    @pytest.mark.parametrize("name", ["detector", "masknet", "mgts", "idnet"])
    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_every_node_of_the_tiny_networks_has_a_layer(self, built, tmp_path, name, precision):
        path = tmp_path / "model.onnx"
        onnx.save(make_model(name, precision), path)
        layers = examine(*built(path), path)
        assert layers.nodes_with_layer == layers.nodes > 10

    def test_folded_nodes_are_not_missed(self, built, folded):
        layers = examine(*built(folded), folded)
        assert (layers.nodes, layers.nodes_with_layer) == (10, 7)

    def test_a_node_the_network_does_not_have_is_named(self, built, tmp_path):
        small = save(tmp_path / "small.onnx", [op("Relu", "x", "y", "relu")])
        large = save(tmp_path / "large.onnx", [op("Relu", "x", "a", "relu"), op("Sigmoid", "a", "y", "lost_one")])
        with pytest.raises(BuildError, match=r"left out lost_one \(Sigmoid\): the plan would compute something else"):
            examine(*built(small), large)

    @pytest.mark.parametrize(
        ("node", "message"),
        [
            (helper.make_node("Foo", ["x"], ["y"], "my_foo", domain="own"), r"node my_foo \(Foo\): .*Plugin not found"),
            (helper.make_node("StringNormalizer", ["x"], ["y"], "text"), r"node text \(StringNormalizer\)"),
        ],
    )
    def test_the_parser_s_errors_name_the_node(self, built, tmp_path, node, message):
        with pytest.raises(BuildError, match=rf"cannot parse .*bad\.onnx: {message}"):
            built(save(tmp_path / "bad.onnx", [node]))

    def test_a_file_the_parser_cannot_read(self, built, tmp_path):
        with pytest.raises(BuildError, match=r"cannot parse .*nowhere\.onnx: .*cannot be found"):
            built(tmp_path / "nowhere.onnx")

    X, Y = TensorSpec(dtype="float32", shape=(1, 4, 8, 8)), TensorSpec(dtype="float32", shape=(1, 4, 8, 8))

    @pytest.mark.parametrize(
        ("inputs", "outputs", "message"),
        [
            ({"z": X}, {"y": Y}, "has the inputs x; the manifest says z"),
            ({"x": X}, {"y": Y, "z": Y}, "has the outputs y; the manifest says y, z"),
            (
                {"x": TensorSpec(dtype="float16", shape=(1, 4, 8, 8))},
                {"y": Y},
                r"the input x is float32 \[1, 4, 8, 8\]",
            ),
            ({"x": X}, {"y": TensorSpec(dtype="float32", shape=(1, 4, 8))}, "the output y is float32"),
            ({"x": TensorSpec(dtype="float32", shape=("N", 4, 8, 8))}, {"y": Y}, "the input x is float32"),
        ],
    )
    def test_tensors_that_are_not_the_manifest_s(self, built, tmp_path, inputs, outputs, message):
        path = save(tmp_path / "relu.onnx", [op("Relu", "x", "y", "relu")])
        flavour, network = built(path)
        check_tensors(flavour, network, {"x": self.X}, {"y": self.Y}, path)
        with pytest.raises(BuildError, match=message):
            check_tensors(flavour, network, inputs, outputs, path)


def test_a_parser_that_gives_no_reason_passes_the_log_on(tmp_path):
    parser = SimpleNamespace(parse_from_file=lambda path: False, num_errors=0)
    module = SimpleNamespace(
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1), OnnxParser=lambda network, logger: parser
    )
    builder = SimpleNamespace(create_network=lambda flags: None, logger=None)
    flavour = SimpleNamespace(module=module)
    message = SimpleNamespace(level="error", text="out of memory")
    with pytest.raises(BuildError, match="out of memory"):
        parse(flavour, builder, tmp_path / "m.onnx", [message])
    with pytest.raises(BuildError, match="it gives no reason"):
        parse(flavour, builder, tmp_path / "m.onnx", [])
