"""The work of small graphs, counted by hand, by TensorRT's network, and from the ONNX file."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from mgts_trt.bundle.macs import Work, Workload
from mgts_trt.bundle.onnx_graph import load_onnx, read_graph
from mgts_trt.errors import BuildError, OnnxError
from mgts_trt.plans.builder.parsing import parse
from mgts_trt.plans.builder.proof import measure, require_share
from mgts_trt.plans.installed import find_flavour, require_flavour
from tests.helpers.small_graphs import node, save_graph
from tests.helpers.tiny_bundle import make_model

needs_tensorrt = pytest.mark.skipif(find_flavour() is None, reason="neither TensorRT-RTX nor TensorRT is installed")
N = 8


def by_tensorrt(path):
    flavour = require_flavour()
    with flavour.collect() as messages:
        builder = flavour.create_builder()
        network, parser = parse(flavour, builder, path, messages)
        inputs = [network.get_input(i) for i in range(network.num_inputs)]
        before = {tensor.name: tuple(tensor.shape) for tensor in inputs}
        shapes = {
            name: tuple(N if size < 0 else size for size in shape) for name, shape in before.items() if -1 in shape
        }
        workload = measure(flavour, network, shapes)
        assert {tensor.name: tuple(tensor.shape) for tensor in inputs} == before
        del network, parser, builder
    return workload


def by_onnx(path):
    graph = read_graph(path, {"N": N, "B": N})
    assert graph.uncounted == ()
    return graph.workload


COUNTERS = pytest.mark.parametrize("count", [pytest.param(by_tensorrt, marks=needs_tensorrt), by_onnx])


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


@COUNTERS
@pytest.mark.parametrize(
    ("nodes", "inputs", "weights", "expected"),
    [
        pytest.param(
            [node("Conv", "x w b", "y", strides=[2, 2], pads=[1, 1, 1, 1])],
            {"x": [2, 4, 9, 9]},
            {"w": ones(6, 4, 3, 3), "b": ones(6)},
            2 * 6 * 5 * 5 * 4 * 3 * 3,
            id="stride and bias",
        ),
        pytest.param(
            [node("Conv", "x w", "y", group=2)],
            {"x": [1, 4, 8, 8]},
            {"w": ones(6, 2, 3, 3)},
            6 * 6 * 6 * 2 * 3 * 3,
            id="groups",
        ),
        pytest.param(
            [node("Conv", "x w", "y", dilations=[2, 2])],
            {"x": [1, 1, 9, 9]},
            {"w": ones(1, 1, 3, 3)},
            5 * 5 * 3 * 3,
            id="dilation",
        ),
        pytest.param(
            [node("ConvTranspose", "x w", "y", strides=[2, 2], group=2)],
            {"x": [1, 4, 5, 5]},
            {"w": ones(4, 3, 2, 2)},
            4 * 5 * 5 * 3 * 2 * 2,
            id="deconvolution",
        ),
        pytest.param(
            [node("MatMul", "x w", "y")], {"x": [2, 5, 7]}, {"w": ones(7, 3)}, 2 * 5 * 3 * 7, id="matmul, broadcast"
        ),
        pytest.param([node("MatMul", "x w", "y")], {"x": [7]}, {"w": ones(7, 3)}, 3 * 7, id="vector"),
        pytest.param([node("MatMul", "x x", "y")], {"x": [3, 6, 6]}, {}, 3 * 6 * 6 * 6, id="no weights"),
        pytest.param(
            [node("Gemm", "x w b", "y", transA=1, transB=1)],
            {"x": [7, 5]},
            {"w": ones(3, 7), "b": ones(3)},
            5 * 3 * 7,
            id="gemm",
        ),
        pytest.param(
            [node("Einsum", "x z", "y", equation="bij,bkj->bik")],
            {"x": [2, 3, 5], "z": [2, 7, 5]},
            {},
            2 * 3 * 5 * 7,
            id="einsum",
        ),
        pytest.param(
            [node("Conv", "x w", "y")], {"x": ["N", 3, 8, 8]}, {"w": ones(4, 3, 1, 1)}, N * 4 * 64 * 3, id="dynamic"
        ),
        pytest.param(
            [node("Reshape", "x rows", "r"), node("MatMul", "r w", "y")],
            {"x": ["N", 4, 8]},
            {"rows": np.array([-1, 8]), "w": ones(8, 3)},
            N * 4 * 8 * 3,
            id="dynamic, batch folded into rows",
        ),
        pytest.param(
            [node("MatMul", "v w", "k"), node("MatMul", "x k", "y")],
            {"x": [2, 5]},
            {"v": ones(5, 500), "w": ones(500, 3)},
            2 * 5 * 3,
            id="a product of constants is no work",
        ),
        pytest.param([node("Relu", "x", "y")], {"x": [2, 5]}, {}, 0, id="nothing to count"),
    ],
)
def test_macs(count, tmp_path, nodes, inputs, weights, expected):
    workload = count(save_graph(tmp_path / "g.onnx", nodes, inputs, weights))
    assert workload.total == expected
    assert set(workload.by_precision) <= {"fp32"}


def q(name, to, scale="s"):
    """Quantise and dequantise `name`."""
    return [
        node("QuantizeLinear", f"{name} {scale} zero", f"{to}_q"),
        node("DequantizeLinear", f"{to}_q {scale} zero", to),
    ]


def conv(inputs, output="y"):
    return node("Conv", inputs, output)


X = {"x": [1, 4, 8, 8]}
SCALE = {"s": np.float32(0.1), "zero": np.int8(0)}
HALF_SCALE = {"s": np.float16(0.1), "zero": np.int8(0)}
W, WQ = ones(4, 4, 1, 1), ones(4, 4, 1, 1, dtype=np.int8)
CHANNELS = {"sc": np.full(4, 0.1, np.float32), "zc": np.zeros(4, np.int8)}
DEQUANTISED = node("DequantizeLinear", "wq s zero", "wd")


@COUNTERS
@pytest.mark.parametrize(
    ("nodes", "weights", "dtype", "precision"),
    [
        pytest.param([conv("x w")], {"w": W.astype(np.float16)}, np.float16, "fp16", id="all half"),
        pytest.param(
            [
                node("Cast", "x", "f", to=TensorProto.FLOAT),
                conv("f w", "c"),
                node("Cast", "c", "y", to=TensorProto.FLOAT16),
            ],
            {"w": W},
            np.float16,
            "fp32",
            id="the weights were forgotten",
        ),
        pytest.param([*q("x", "d"), DEQUANTISED, conv("d wd")], {"wq": WQ, **SCALE}, np.float32, "int8", id="int8"),
        pytest.param(
            [*q("x", "d"), node("DequantizeLinear", "wq sc zc", "wd", axis=0), conv("d wd")],
            {"wq": WQ, **SCALE, **CHANNELS},
            np.float32,
            "int8",
            id="int8, weights by channel",
        ),
        pytest.param(
            [*q("x", "d"), *q("w", "wd"), conv("d wd")], {"w": W, **SCALE}, np.float32, "int8", id="weights too"
        ),
        pytest.param([*q("x", "d"), conv("d w")], {"w": W, **SCALE}, np.float32, "fp32", id="activations alone"),
        pytest.param([DEQUANTISED, conv("x wd")], {"wq": WQ, **SCALE}, np.float32, "fp32", id="weights alone"),
        pytest.param(
            [*q("x", "d"), DEQUANTISED, node("Relu", "d", "r"), conv("r wd")],
            {"wq": WQ, **SCALE},
            np.float32,
            "fp32",
            id="an operator after dequantisation",
        ),
        pytest.param(
            [DEQUANTISED, conv("x wd")], {"wq": WQ, **HALF_SCALE}, np.float16, "fp16", id="half, weights stored small"
        ),
        pytest.param(
            [*q("x", "d"), DEQUANTISED, conv("d wd")], {"wq": WQ, **HALF_SCALE}, np.float16, "int8", id="int8 in half"
        ),
        pytest.param(
            [*q("x", "d"), DEQUANTISED, node("MatMul", "d wd", "y")],
            {"wq": ones(8, 3, dtype=np.int8), **SCALE},
            np.float32,
            "int8",
            id="matmul, the parser reshapes the weights",
        ),
        pytest.param(
            [
                *q("x", "d"),
                node("Flatten", "d", "f"),
                node("DequantizeLinear", "wq sc zc", "wd", axis=0),
                node("Gemm", "f wd", "y", transB=1),
            ],
            {"wq": ones(4, 256, dtype=np.int8), **SCALE, **CHANNELS},
            np.float32,
            "int8",
            id="gemm",
        ),
    ],
)
def test_the_precision_work_is_done_in(count, tmp_path, nodes, weights, dtype, precision):
    workload = count(save_graph(tmp_path / "g.onnx", nodes, X, weights, dtype))
    assert list(workload.by_precision) == [precision]


@needs_tensorrt
@pytest.mark.parametrize("name", ["detector", "masknet", "mgts", "idnet"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_both_ways_of_counting_agree(tmp_path, name, precision):
    onnx.save(make_model(name, precision), tmp_path / "model.onnx")
    rows = [
        [(layer.name, layer.macs, layer.precision) for layer in count(tmp_path / "model.onnx").layers]
        for count in (by_tensorrt, by_onnx)
    ]
    assert rows[0] == rows[1]
    assert {row[2] for row in rows[0]} == {precision}


def test_shapes_that_cannot_be_known(tmp_path):
    nodes = [node("NonZero", "x", "i"), node("Cast", "i", "f", to=TensorProto.FLOAT), node("MatMul", "w f", "y")]
    path = save_graph(tmp_path / "g.onnx", nodes, {"x": [4, 4]}, {"w": ones(3, 2)})
    assert read_graph(path, {}).uncounted == ("/y",)


@needs_tensorrt
def test_a_dimension_without_a_size_is_refused(tmp_path):
    path = save_graph(tmp_path / "g.onnx", [node("MatMul", "x w", "y")], {"x": ["N", 4]}, {"w": ones(4, 2)})
    flavour = require_flavour()
    with flavour.collect() as messages:
        builder = flavour.create_builder()
        parsed = parse(flavour, builder, path, messages)
        with pytest.raises(BuildError, match=r"The shape of /y \(MatMul\) depends on the data or on an input without"):
            measure(flavour, parsed.network, {})


HALF = Workload((Work("big", "Conv", 94, "fp16"), Work("lost", "Conv", 4, "fp32"), Work("small", "MatMul", 2, "fp32")))


def test_a_share_that_is_too_small_names_the_layers(tmp_path):
    require_share(HALF, "fp16", 0.94, tmp_path)
    with pytest.raises(
        BuildError,
        match=r"to be fp16, but of its 100 MACs 94\.0% fp16, 6\.0% fp32 \(at least 95% fp16 expected\)\. The largest "
        r"others: lost \(Conv, 4 MACs, fp32\); small \(MatMul, 2 MACs, fp32\)\. .*min_share",
    ):
        require_share(HALF, "fp16", 0.95, tmp_path)


def test_a_graph_without_work_has_no_share_to_demand(tmp_path):
    require_share(Workload(()), "fp16", 1.0, tmp_path)


def test_what_an_onnx_file_holds(tmp_path):
    nodes = [*q("x", "d"), DEQUANTISED, conv("d wd", "c"), node("Reshape", "c rows", "y")]
    path = save_graph(tmp_path / "g.onnx", nodes, {"x": ["N", 4, 8, 8]}, {"wq": WQ, "rows": np.array([-1, 4]), **SCALE})
    graph = read_graph(path, {})
    assert graph.inputs == {"x": "float32 [N, 4, 8, 8]"}
    assert graph.sizes == {"N": 1}
    assert graph.opset == {"ai.onnx": 19}
    assert graph.parameters == 16 + 2
    assert graph.weights == {"int8": 17, "int64": 16, "float32": 4}
    assert graph.operators == {"DequantizeLinear": 2, "QuantizeLinear": 1, "Conv": 1, "Reshape": 1}
    assert graph.workload.by_precision == {"int8": 64 * 4 * 4}


def test_large_weights_beside_the_file_are_counted_not_read(tmp_path):
    path = save_graph(tmp_path / "g.onnx", [node("MatMul", "x w", "y")], {"x": [2, 64]}, {"w": ones(64, 64)})
    inside = read_graph(path, {})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert read_graph(path, {}) == inside
    assert inside.workload.total == 2 * 64 * 64


@pytest.mark.parametrize("data", [b"", b"junk" * 20])
def test_a_file_that_is_no_onnx(tmp_path, data):
    (tmp_path / "junk.onnx").write_bytes(data)
    with pytest.raises(OnnxError, match=r"Cannot read .*junk\.onnx"):
        load_onnx(tmp_path / "junk.onnx")


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OnnxError, match="needs the package onnx, and it is not installed: `pip install onnx`"):
        read_graph(tmp_path / "g.onnx", {})
