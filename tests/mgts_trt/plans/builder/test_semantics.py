"""What a network is set to, compared with its graph: on the real TensorRT-RTX, and on parsers that err."""

import enum
import shutil
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.operators import inline
from mgts_trt.errors import BuildError
from mgts_trt.plans.builder import build, build_engines
from mgts_trt.plans.builder.parsing import origin, parse
from mgts_trt.plans.builder.semantics import RULES, settle
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour
from tests.helpers.paths import TRAINED
from tests.helpers.tiny_bundle import make_model

RTX = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(RTX is None or RTX.name != "tensorrt_rtx", reason="TensorRT-RTX is not installed")

F, U8, I64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64


def graph(path, op, inputs, output, *, opset=20, weights=(), outputs=("y",), **attributes):
    """A file with one node, `it`: inputs by name → (type, shape), weights by name → array."""
    names = attributes.pop("names", [*inputs, *(name for name, _ in weights)])
    node = helper.make_node(op, names, list(outputs), "it", **attributes)
    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    kind, shape = output
    made = helper.make_graph(
        [node],
        "test",
        values,
        [helper.make_tensor_value_info(outputs[0], kind, shape)],
        [numpy_helper.from_array(array, name) for name, array in weights],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


def grid_sample(path, mode="linear", padding="border", align=1, opset=20):
    inputs = {"x": (F, [1, 2, 5, 5]), "grid": (F, [1, 3, 3, 2])}
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
    return graph(path, "GridSample", inputs, (F, [1, 2, 3, 3]), opset=opset, **attributes)


def resize(path, size=(10, 15), **attributes):
    sizes = [("sizes", np.array([1, 2, *size], np.int64))]
    return graph(
        path,
        "Resize",
        {"x": (F, [1, 2, 5, 5])},
        (F, [1, 2, *size]),
        weights=sizes,
        names=["x", "", "", "sizes"],
        **attributes,
    )


@pytest.fixture
def parsed():
    """Parses with TensorRT-RTX; what belongs to a network stays alive for the test."""
    alive = []

    def network(path):
        builder = RTX.create_builder()
        alive.append((builder, parse(RTX, builder, path, messages)))
        return alive[-1][1].network

    with RTX.collect() as messages:
        yield network


def layer_of(network, op):
    """The layer a rule for `op` looks at."""
    rule = RULES[op]
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type.name == rule.layer and origin(layer) == "it":
            layer.__class__ = getattr(RTX.module, rule.kind)
            return layer
    raise AssertionError(f"no {rule.layer} layer")


MODES = {"bilinear": "LINEAR", "bicubic": "CUBIC", "nearest": "NEAREST", "linear": "LINEAR", "cubic": "CUBIC"}
SAMPLES = {"zeros": "FILL", "border": "CLAMP", "reflection": "REFLECT"}


@needs_rtx
@pytest.mark.parametrize("misread", ["NEAREST", "LINEAR"])
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", SAMPLES)
@pytest.mark.parametrize("mode", MODES)
def test_every_grid_sample_ends_as_the_model_says_whatever_the_parser_made(
    parsed, tmp_path, mode, padding, align, misread
):
    path = grid_sample(tmp_path / "m.onnx", mode, padding, align, opset=16 if mode.startswith("bi") else 20)
    network, trt = parsed(path), RTX.module
    layer = layer_of(network, "GridSample")
    layer.interpolation_mode = getattr(trt.InterpolationMode, misread)
    layer.sample_mode, layer.align_corners = trt.SampleMode.FILL, not align
    said = settle(RTX, network, path, {})
    assert layer.interpolation_mode.name == MODES[mode]
    assert layer.sample_mode.name == SAMPLES[padding]
    assert layer.align_corners is bool(align)
    differed = (misread != MODES[mode]) + (padding != "zeros") + 1
    assert len(said) == differed
    assert settle(RTX, network, path, {}) == []
    if misread != MODES[mode]:
        assert f"it (GridSample) of {path} with interpolation_mode {misread}; it is set to {MODES[mode]}" in said[0]


@needs_rtx
def test_what_is_left_out_is_onnx_s_default(parsed, tmp_path):
    inputs = {"x": (F, [1, 2, 5, 5]), "grid": (F, [1, 3, 3, 2])}
    path = graph(tmp_path / "m.onnx", "GridSample", inputs, (F, [1, 2, 3, 3]))
    network = parsed(path)
    settle(RTX, network, path, {})
    layer = layer_of(network, "GridSample")
    assert (layer.interpolation_mode.name, layer.sample_mode.name, layer.align_corners) == ("LINEAR", "FILL", False)


RESIZES = [
    ({"mode": "linear"}, {"resize_mode": "LINEAR", "coordinate_transformation": "HALF_PIXEL"}),
    (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        {"resize_mode": "NEAREST", "coordinate_transformation": "ASYMMETRIC", "nearest_rounding": "FLOOR"},
    ),
    ({"mode": "nearest", "nearest_mode": "round_prefer_ceil"}, {"nearest_rounding": "HALF_UP"}),
    (
        {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        {"selector_for_single_pixel": "UPPER"},
    ),
    (
        {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
        {"resize_mode": "CUBIC", "cubic_coeff": pytest.approx(-0.5), "exclude_outside": True},
    ),
    (
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        {"coordinate_transformation": "ALIGN_CORNERS"},
    ),
]


@needs_rtx
@pytest.mark.parametrize(("attributes", "settings"), RESIZES)
def test_every_resize_ends_as_the_model_says(parsed, tmp_path, attributes, settings):
    path = resize(tmp_path / "m.onnx", **attributes)
    network, trt = parsed(path), RTX.module
    layer = layer_of(network, "Resize")
    assert settle(RTX, network, path, {}) == []
    wrong = "LINEAR" if attributes["mode"] == "nearest" else "NEAREST"
    layer.resize_mode = getattr(trt.InterpolationMode, wrong)
    layer.nearest_rounding = trt.ResizeRoundMode.CEIL
    layer.exclude_outside = not attributes.get("exclude_outside", 0)
    layer.selector_for_single_pixel = trt.ResizeSelector.UPPER
    assert any(f"resize_mode {wrong}" in said for said in settle(RTX, network, path, {}))
    for name, value in settings.items():
        found = getattr(layer, name)
        assert (found if isinstance(found, bool | float) else found.name) == value, name


ONE_NODE = {
    # What it is → (rule, arguments of `graph`, a setting to turn wrong, the wrong value)
    "TopK": (
        "TopK",
        {
            "inputs": {"x": (F, [3, 7])},
            "output": (F, [2, 7]),
            "weights": [("k", np.array([2], np.int64))],
            "outputs": ("y", "indices"),
            "axis": 0,
            "largest": 0,
        },
        ("axes", lambda trt: 2),
    ),
    "TopK of a vector": (
        "TopK",
        {
            "inputs": {"x": (F, [7])},
            "output": (F, [2]),
            "weights": [("k", np.array([2], np.int64))],
            "outputs": ("y", "indices"),
        },
        ("op", lambda trt: trt.TopKOperation.MIN),
    ),
    "Softmax": (
        "Softmax",
        {"inputs": {"x": (F, [2, 3, 4])}, "output": (F, [2, 3, 4]), "axis": -2},
        ("axes", lambda trt: 4),
    ),
    "Softmax before 13": (
        "Softmax",
        {"inputs": {"x": (F, [2, 3, 4])}, "output": (F, [2, 3, 4]), "axis": 1, "opset": 11},
        ("axes", lambda trt: 1),
    ),
    "Gemm": (
        "Gemm",
        {"inputs": {"a": (F, [4, 4]), "b": (F, [4, 4])}, "output": (F, [4, 4]), "transB": 1},
        ("op1", lambda trt: trt.MatrixOperation.NONE),
    ),
    "Gemm with weights": (
        "Gemm",
        {
            "inputs": {"a": (F, [4, 4])},
            "output": (F, [4, 4]),
            "weights": [("b", np.ones((4, 4), np.float32))],
            "transA": 1,
        },
        ("op0", lambda trt: trt.MatrixOperation.NONE),
    ),
    "MatMul": (
        "MatMul",
        {"inputs": {"a": (F, [2, 4, 4]), "b": (F, [2, 4, 4])}, "output": (F, [2, 4, 4])},
        ("op0", lambda trt: trt.MatrixOperation.TRANSPOSE),
    ),
    "Cast of uint8": (
        "Cast",
        {"inputs": {"x": (U8, [4])}, "output": (F, [4]), "to": F},
        ("to_type", lambda trt: trt.DataType.HALF),
    ),
    "AveragePool": (
        "AveragePool",
        {
            "inputs": {"x": (F, [1, 2, 6, 6])},
            "output": (F, [1, 2, 6, 6]),
            "kernel_shape": [3, 3],
            "pads": [1, 1, 1, 1],
        },
        ("average_count_excludes_padding", lambda trt: False),
    ),
    "QuantizeLinear": (
        "QuantizeLinear",
        {
            "inputs": {"x": (F, [1, 3, 3, 3])},
            "output": (TensorProto.INT8, [1, 3, 3, 3]),
            "weights": [("scale", np.ones(3, np.float32)), ("zero", np.zeros(3, np.int8))],
            "axis": -2,
        },
        ("axis", lambda trt: 1),
    ),
    "DequantizeLinear": (
        "DequantizeLinear",
        {
            "inputs": {"x": (TensorProto.INT8, [1, 3, 3, 3])},
            "output": (F, [1, 3, 3, 3]),
            "weights": [("scale", np.ones(3, np.float32)), ("zero", np.zeros(3, np.int8))],
            "axis": 3,
        },
        ("axis", lambda trt: 1),
    ),
}


@needs_rtx
@pytest.mark.parametrize("case", ONE_NODE)
def test_a_setting_that_the_parser_may_have_turned_on_purpose_fails_the_build(parsed, tmp_path, case):
    op, arguments, (setting, wrong) = ONE_NODE[case]
    path = graph(tmp_path / "m.onnx", op, **arguments)
    network = parsed(path)
    layer = layer_of(network, op)
    assert settle(RTX, network, path, {}) == []
    setattr(layer, setting, wrong(RTX.module))
    with pytest.raises(BuildError, match=rf"parsed it \({op}\) of .* with {setting} .*, and the model says"):
        settle(RTX, network, path, {})


def test_every_rule_is_tried():
    assert set(RULES) == {"GridSample", "Resize", *(op for op, _, _ in ONE_NODE.values())}


@needs_rtx
def test_a_tensor_of_another_size_or_type_is_found(parsed, tmp_path):
    inputs = {"x": (F, [1, 2, 5, 5])}
    small = parsed(graph(tmp_path / "a.onnx", "MaxPool", inputs, (F, [1, 2, 3, 3]), kernel_shape=[3, 3]))
    other = graph(tmp_path / "b.onnx", "MaxPool", inputs, (F, [1, 2, 4, 4]), kernel_shape=[2, 2])
    with pytest.raises(BuildError, match=r"makes y of .* float32 \[1, 2, 3, 3\] in it; .* float32 \[1, 2, 4, 4\]"):
        settle(RTX, small, other, {})
    half = graph(
        tmp_path / "c.onnx",
        "MaxPool",
        {"x": (TensorProto.FLOAT16, [1, 2, 5, 5])},
        (10, [1, 2, 3, 3]),
        kernel_shape=[3, 3],
    )
    with pytest.raises(BuildError, match=r"makes y of .* by the model it is float16"):
        settle(RTX, small, half, {})


@needs_rtx
@pytest.mark.parametrize("name", ["detector", "masknet", "mgts", "idnet"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_tiny_networks_are_what_their_graphs_say(parsed, tmp_path, name, precision):
    path = tmp_path / "model.onnx"
    onnx.save(make_model(name, precision), path)
    assert settle(RTX, parsed(path), path, {"N": 4}) == []


@needs_rtx
@pytest.mark.parametrize("name", ["detector", "masknet", "mgts", "idnet"])
def test_the_trained_networks_are_what_their_graphs_say(parsed, tmp_path, name):
    path = tmp_path / "model.onnx"
    onnx.save(inline(onnx.load(TRAINED / f"{name}.fp32.onnx")), path)  # as a build has it
    assert settle(RTX, parsed(path), path, {"N": 4}) == []


@needs_rtx
def test_a_build_corrects_what_standard_tensorrt_reads_as_nearest(tmp_path, monkeypatch):
    """As its parser does up to 11.1: every GridSample of mode linear becomes NEAREST, and nothing is said."""
    bundle = Bundle.open(shutil.copytree(TRAINED, tmp_path / "bundle"))
    seen = []

    def misread(*arguments):
        made = parse(*arguments)
        for layer in grid_samples(made.network):
            layer.interpolation_mode = RTX.module.InterpolationMode.NEAREST
        return made

    def inspected(flavour, builder, network, *rest):
        seen.extend(layer.interpolation_mode.name for layer in grid_samples(network))
        return

    monkeypatch.setattr(build_engines, "parse", misread)
    monkeypatch.setattr(build_engines, "serialize", inspected)
    with pytest.raises(BuildError, match="could not build masknet"):
        build.build_plan(bundle, "masknet", "fp32", ops="graph", flavour=RTX)
    assert seen == ["LINEAR"] * 2
    assert "interpolation_mode NEAREST; it is set to LINEAR" in next(bundle.plans.glob("*.log")).read_text()


def grid_samples(network):
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type.name == "GRID_SAMPLE":
            layer.__class__ = RTX.module.IGridSampleLayer
            yield layer


# A parser that errs, without TensorRT.


class Mode(enum.Enum):
    NEAREST, LINEAR, CUBIC = range(3)


class Sample(enum.Enum):
    FILL, CLAMP, REFLECT = range(3)


class ILayer:
    def __init__(self, kind, metadata="[ONNX Layer: it]"):
        self.type, self.metadata, self.name, self.num_outputs = SimpleNamespace(name=kind), metadata, kind, 0


class IGridSampleLayer(ILayer):
    """As standard TensorRT's parser leaves it."""

    interpolation_mode, sample_mode, align_corners = Mode.NEAREST, Sample.CLAMP, True


class Stubborn(IGridSampleLayer):
    """It takes no other mode, and says nothing."""

    @property
    def interpolation_mode(self):
        return Mode.NEAREST

    @interpolation_mode.setter
    def interpolation_mode(self, mode):
        pass


class Refusing(Stubborn):
    @Stubborn.interpolation_mode.setter
    def interpolation_mode(self, mode):
        raise RuntimeError("not supported")


def network_of(*layers):
    return SimpleNamespace(num_layers=len(layers), get_layer=lambda index: layers[index])


def standard(kind=IGridSampleLayer):
    return Flavour("tensorrt", "10.13", SimpleNamespace(IGridSampleLayer=kind))


def test_nearest_is_mended_and_told(tmp_path):
    layer = ILayer("GRID_SAMPLE")
    [said] = settle(standard(), network_of(layer), grid_sample(tmp_path / "m.onnx"), {})
    assert layer.interpolation_mode is Mode.LINEAR
    assert said.startswith("TensorRT 10.13 parsed it (GridSample)")


@pytest.mark.parametrize("kind", [Stubborn, Refusing])
def test_what_cannot_be_set_fails_the_build(tmp_path, kind):
    with pytest.raises(BuildError, match=r"interpolation_mode NEAREST, and the model says LINEAR \(NVIDIA/TensorRT is"):
        settle(standard(kind), network_of(ILayer("GRID_SAMPLE")), grid_sample(tmp_path / "m.onnx"), {})


def test_a_node_whose_layer_is_another_one_fails_the_build(tmp_path):
    with pytest.raises(BuildError, match=r"made no GRID_SAMPLE layer for it \(GridSample\)"):
        settle(standard(), network_of(ILayer("PLUGIN_V3")), grid_sample(tmp_path / "m.onnx"), {})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"mode": "linear", "antialias": 1}, "antialias is set"),
        ({"mode": "linear", "keep_aspect_ratio_policy": "not_larger"}, "keep_aspect_ratio_policy is 'not_larger'"),
        ({"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}, "is 'half_pixel_symmetric'"),
    ],
)
def test_what_no_layer_can_do_fails_the_build(tmp_path, attributes, message):
    path = resize(tmp_path / "m.onnx", **attributes)
    flavour = Flavour("tensorrt", "10.13", SimpleNamespace(IResizeLayer=ILayer))
    with pytest.raises(BuildError, match=rf"cannot compute it \(Resize\) of .*{message}"):
        settle(flavour, network_of(ILayer("RESIZE")), path, {})


@pytest.mark.parametrize(
    ("types", "refused"), [((U8, I64), True), ((I64, U8), True), ((U8, F), False), ((F, U8), False)]
)
def test_uint8_goes_with_floats_alone(tmp_path, types, refused):
    source, to = types
    path = graph(tmp_path / "m.onnx", "Cast", {"x": (source, [4])}, (to, [4]), to=to)

    class ICastLayer(ILayer):
        to_type = SimpleNamespace(name={F: "FLOAT", U8: "UINT8", I64: "INT64"}[to])

    flavour = Flavour("tensorrt", "10.13", SimpleNamespace(ICastLayer=ICastLayer))
    if not refused:
        assert settle(flavour, network_of(ILayer("CAST")), path, {}) == []
        return
    with pytest.raises(BuildError, match="uint8 goes with float16 and float32 alone"):
        settle(flavour, network_of(ILayer("CAST")), path, {})
