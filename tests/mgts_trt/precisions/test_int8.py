from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs PyTorch")

import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mgts_trt.bundle.layout import model_file
from mgts_trt.bundle.macs import share
from mgts_trt.bundle.onnx_graph import read_graph
from mgts_trt.bundle.recipe import Precision, Tolerance
from mgts_trt.errors import MetricError, PrecisionError
from mgts_trt.precisions.agreement import agreement
from mgts_trt.precisions.calibration import METHODS, Histogram, calibrate
from mgts_trt.precisions.half import half_nodes, simulate_rounding, to_half
from mgts_trt.precisions.int8 import LEVELS, activations, layer_names, match_layers, quantise_weight, to_int8
from mgts_trt.precisions.lower_precision import Quantiser
from mgts_trt.precisions.onnx_file import open_session, save_checked
from tests.helpers.half_graphs import infer

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(0)


def residual_block() -> onnx.ModelProto:
    """x [1, 8, 6, 6] → stem, ReLU, then a 1×1 and a depthwise 3×3 whose sum with the shortcut is y."""
    weights = {
        "network.stem.weight": RNG.normal(size=(8, 8, 3, 3)),
        "network.block.0.weight": RNG.normal(size=(8, 8, 1, 1)),
        "network.block.1.weight": RNG.normal(size=(8, 1, 3, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "network.stem.weight"], ["a"], "stem", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "network.block.0.weight"], ["c"], "first"),
        helper.make_node("Conv", ["c", "network.block.1.weight"], ["d"], "second", pads=[1] * 4, group=8),
        helper.make_node("Add", ["d", "b"], ["y"], "add"),
    ]
    shape = [1, 8, 6, 6]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, shape)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return infer(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    return infer(to_half(model, half_nodes(model)[0]))


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(open_session(model.SerializeToString()).run(None, {"x": x})[0])


@pytest.mark.parametrize("residuals", [False, True])
def test_quantised_graph_is_its_arithmetic(residuals: bool) -> None:
    """Against the same quantisation written down in NumPy; the file as it is, and with a GPU's rounding."""
    model = residual_block()
    half = halved(model)
    nodes = {"first", "second"}
    x = RNG.normal(size=(1, 8, 6, 6)).astype(np.float32)
    largest = {"b": 2.0, "c": 3.0}
    quantised = to_int8(half, model, nodes, largest, residuals=residuals)

    def rounded(values: np.ndarray, limit: float) -> np.ndarray:
        scale = float(np.float16(limit / LEVELS))
        return np.clip(np.rint(values / scale), -128, 127) * scale

    weights = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    integers, scales = quantise_weight(weights["network.block.0.weight"].astype(np.float16), 0)
    first = integers[:, :, 0, 0] * scales.astype(np.float64)[:, None]
    integers, scales = quantise_weight(weights["network.block.1.weight"].astype(np.float16), 0)
    second = integers[:, 0] * scales.astype(np.float64)[:, None, None]
    b = run_to("b", half, x).astype(np.float64)
    c = np.einsum("oi,nihw->nohw", first, rounded(b, 2.0))
    padded = np.pad(rounded(c, 3.0), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    want = np.einsum("nchwij,cij->nchw", windows, second) + (rounded(b, 2.0) if residuals else b)
    for form in (infer(quantised), simulate_rounding(infer(quantised))):
        got = run(form, x)
        # A product near the middle between two integers may fall on either side.
        assert np.abs(got - want).max() < 0.15
        assert np.abs(got - want).mean() < 0.01
    plain = run(half, x)
    assert np.abs(plain - want).mean() > 0.02, "quantisation that changes nothing would prove nothing"


def run_to(tensor: str, model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.append(helper.make_empty_tensor_value_info(tensor))
    return np.asarray(open_session(tapped.SerializeToString()).run([tensor], {"x": x})[0])


def test_every_factor_is_quantised_once() -> None:
    model = residual_block()
    half = halved(model)
    everything = set(layer_names(model))
    wanted = activations(half, model, everything, residuals=True)
    assert [(item.node, item.tensor) for item in wanted] == [
        ("stem", "x"), ("first", "b"), ("second", "c"), ("add", "b"),
    ]  # fmt: skip
    quantised = infer(to_int8(half, model, everything, {item.tensor: 1.0 for item in wanted}, residuals=True))
    assert sum(node.op_type == "QuantizeLinear" for node in quantised.graph.node) == 3
    readers = {name for node in quantised.graph.node if node.op_type in ("Conv", "Add") for name in node.input}
    assert not {"b", "c", "network.block.0.weight"} & readers
    assert {t.data_type for t in quantised.graph.initializer if t.name.endswith(".int8")} == {TensorProto.INT8}


def test_what_cannot_be_quantised_is_refused() -> None:
    model = residual_block()
    half = halved(model)
    for nodes, largest, message in (
        ({"first"}, {}, "input b of first was not calibrated"),
        ({"add"}, {}, r"add \(Add\) is no layer that computes in half"),
        ({"third"}, {}, "no node 'third'"),
        ({"first"}, {"b": float("nan")}, "input b of first was not calibrated"),
    ):
        with pytest.raises(PrecisionError, match=message):
            to_int8(half, model, nodes, largest, residuals=False)
    kept = infer(to_half(model, half_nodes(model, keep={"first"})[0]))
    with pytest.raises(PrecisionError, match=r"first \(Conv\) is no layer that computes in half"):
        to_int8(kept, model, {"first"}, {"b": 1.0}, residuals=False)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]), st.floats(1e-6, 1e3))
def test_weights_keep_their_signs_and_lose_half_a_step(seed: int, axis: int, size: float) -> None:
    values = np.random.default_rng(seed).normal(size=(5, 7, 3, 3)) * size
    integers, scales = quantise_weight(values, axis)
    shape = [-1 if i == axis else 1 for i in range(4)]
    steps = scales.astype(np.float64).reshape(shape)
    assert integers.min() >= -LEVELS
    # Half a step, and what the scale itself was rounded by to fit into half.
    assert (np.abs(integers * steps - values) <= 0.5 * steps + np.abs(values) * 2**-10).all()


def test_histograms_widen_without_forgetting() -> None:
    parts = [RNG.normal(size=1000).astype(np.float32) * size for size in (0.01, 1, 50)]
    widened, whole = Histogram(), Histogram()
    for part in parts:
        widened.add(part)
    whole.add(np.concatenate(parts))
    assert widened.counts.sum() == whole.counts.sum() == 3000
    assert widened.largest == whole.largest == np.abs(np.concatenate(parts)).max()
    for method in METHODS:
        assert widened.threshold(method) == pytest.approx(whole.threshold(method), rel=0.05)


def test_thresholds() -> None:
    """An outlier counts for `max` alone; `mse` clips what is not worth the steps."""
    histogram = Histogram()
    values = np.abs(RNG.normal(size=100_000)).astype(np.float32)
    values[0] = 40
    histogram.add(values)
    assert histogram.threshold("max") == 40
    assert histogram.threshold("percentile") == pytest.approx(np.percentile(values, 99.99), rel=0.02)

    def error(limit: float) -> float:
        scale = limit / LEVELS
        return float(np.square(np.clip(np.rint(values / scale), -LEVELS, LEVELS) * scale - values).mean())

    best = min(np.geomspace(0.5, 40, 200), key=error)
    assert error(histogram.threshold("mse")) <= 1.05 * error(float(best))
    empty = Histogram()
    empty.add(np.zeros(5, np.float32))
    assert [empty.threshold(method) for method in METHODS] == [0, 0, 0]


def test_calibration_needs_pictures_and_sound_values() -> None:
    model = residual_block()
    with pytest.raises(PrecisionError, match="No picture to calibrate on"):
        calibrate(model, ["b"], [])
    with pytest.raises(PrecisionError, match="tensor b takes values that are not finite"):
        calibrate(model, ["b"], [{"x": np.full((1, 8, 6, 6), np.nan, np.float32)}])
    seen = []
    found = calibrate(model, ["b", "c"], [{"x": np.ones((1, 8, 6, 6), np.float32)}] * 3, on_step=lambda: seen.append(1))
    assert len(seen) == 3
    assert found["b"].counts.sum() == 3 * 8 * 36


def test_layers_are_named_as_their_weights_and_kept_by_pattern(tmp_path: Path) -> None:
    model = residual_block()
    names = layer_names(model)
    assert names == {"stem": "stem", "first": "block.0", "second": "block.1"}
    assert match_layers(names.values(), ["block.*"]) == {"block.0", "block.1"}
    paths = [tmp_path / model_file("net", precision) for precision in ("fp32", "fp16", "int8")]
    save_checked(model, paths[0])
    save_checked(halved(model), paths[1])
    quantiser = Quantiser(*paths[:2])
    quantiser.calibrate([{"x": RNG.normal(size=(1, 8, 6, 6)).astype(np.float32)}])
    how = Precision(tolerance=Tolerance(), calibration="mse")
    save_checked(quantiser.quantise(how, {"block.0", "block.1"}), paths[2])
    macs = read_graph(paths[2], {}).workload.by_precision
    assert macs == {"fp16": 8 * 8 * 9 * 36, "int8": 8 * 8 * 36 + 8 * 9 * 36}
    assert share(macs, "int8") == pytest.approx(1 - 576 / 712)


def detections(*boxes: tuple[float, ...]) -> dict[str, np.ndarray]:
    rows = np.array([*boxes, (0, 0, 0, 0, 0)], np.float32)
    return {"boxes": rows[:, :4], "scores": rows[:, 4]}


def test_agreement() -> None:
    a, b = (0, 0, 40, 80, 0.9), (100, 0, 140, 80, 0.8)
    whole = [detections(a, b)]
    assert agreement(whole, whole, 0.5) == pytest.approx(1)
    assert agreement(whole, [detections(a)], 0.5) == pytest.approx(0.5)
    assert agreement([detections(a, (0, 0, 9, 9, 0.1))], [detections(a)], 0.5) == pytest.approx(1), "faint ones"
    shifted = agreement(whole, [detections((4, 0, 44, 80, 0.9), b)], 0.5)  # IoU 0.82 of one of two
    assert 0.7 < shifted < 0.95
    with pytest.raises(MetricError):
        agreement([detections()], [detections()], 0.5)
    masks = np.zeros((3, 4, 4), np.float32)
    masks[:2] = 1
    cut = masks.copy()
    cut[1, :2] = 0
    reference = [{**whole[0], "masks": masks}]
    assert agreement(reference, [{**whole[0], "masks": cut}], 0.5) == pytest.approx(0.75)
    unit = np.eye(3, dtype=np.float32)
    assert agreement([{"embedding": unit}], [{"embedding": unit[[0, 1, 0]]}], 0.5) == pytest.approx(2 / 3)


def test_a_whole_network_in_int8(exported, tmp_path: Path) -> None:
    """All of IDNet: the file is valid, runs, and runs as a GPU computes it."""
    model = onnx.load(exported("idnet"))
    save_checked(model, tmp_path / "full.onnx")
    save_checked(halved(model), tmp_path / "half.onnx")
    quantiser = Quantiser(tmp_path / "full.onnx", tmp_path / "half.onnx")
    height, width = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[2:])
    x = {"original": RNG.normal(size=(3, 3, height, width)).astype(np.float32)}
    quantiser.calibrate([x])
    how = Precision(tolerance=Tolerance())
    path = tmp_path / "int8.onnx"
    save_checked(quantiser.quantise(how, set(quantiser.layers.values())), path)
    assert share(read_graph(path, {"N": 3}).workload.by_precision, "int8") > 0.99
    full = open_session(model.SerializeToString()).run(None, x)[0]
    for form in (path.read_bytes(), simulate_rounding(onnx.load(path)).SerializeToString()):
        found = open_session(form).run(None, x)[0]
        assert (full * found).sum(1).min() > 0.95
