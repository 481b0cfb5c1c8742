import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs PyTorch")

import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from export.graphs.check import CheckedGraph, require
from mgts_trt.bundle.operators import DOMAIN, MAPS
from mgts_trt.bundle.recipe import MODELS
from mgts_trt.errors import PrecisionError
from mgts_trt.precisions.half import FOLLOWERS, Tensors, half_nodes, simulate_rounding, to_half
from mgts_trt.precisions.onnx_file import require_runs, save_checked, tensor_specs
from tests.helpers.half_graphs import CONSTANTS, FLOAT, HALF, OPS, STORED, WEIGHT, infer, make_model, make_node


@st.composite
def graphs(draw) -> tuple[ModelProto, set[str]]:
    """A graph with branches, one or two outputs, and any choice of nodes."""
    nodes, names = [STORED], ["x"]
    for i in range(draw(st.integers(1, 8))):
        op, first, second = draw(st.sampled_from(OPS)), draw(st.sampled_from(names)), draw(st.sampled_from(names))
        nodes.append(make_node(op, f"t{i}", first, second, stored=draw(st.booleans())))
        # Bounded, so that what is compared is the plumbing and not a growth of rounding.
        nodes.append(helper.make_node("Tanh", [f"t{i}"], [f"u{i}"], name=f"node_u{i}"))
        names += [f"t{i}", f"u{i}"]
    outputs = [names[-1], *draw(st.lists(st.sampled_from(names[1:-1]), max_size=1))]
    chosen = draw(st.sets(st.sampled_from([node.name for node in nodes[1:]])))
    return make_model(nodes, CONSTANTS, outputs), chosen


def casts(model: ModelProto) -> list[tuple[str, str]]:
    return [(node.input[0], node.output[0]) for node in model.graph.node if node.op_type == "Cast"]


@settings(max_examples=40)
@given(graphs())
def test_any_choice_of_nodes_gives_a_sound_graph(case) -> None:
    import onnxruntime

    model, chosen = case
    half = infer(to_half(model, chosen))
    onnx.checker.check_model(half, full_check=True)
    types = Tensors(half).types
    used = {name for node in half.graph.node for name in node.input} | {value.name for value in half.graph.output}
    alive = {node.name: node for node in half.graph.node if node.op_type != "Cast"}
    for node in alive.values():
        kinds = {types[name] for name in (*node.input, *node.output)} - {TensorProto.INT64}
        assert kinds == {HALF if node.name in chosen else FLOAT}
    pairs = casts(half)
    assert not {output for _, output in pairs} & {source for source, _ in pairs}, "no cast of a cast"
    assert len({(source, types[output]) for source, output in pairs}) == len(pairs), "no tensor is cast twice"
    assert {output for _, output in pairs} <= used
    assert {tensor.name for tensor in half.graph.initializer} <= used
    constants = {tensor.name for tensor in half.graph.initializer}
    assert all(types[output] == FLOAT for source, output in pairs if source in constants), "weights are converted"
    x = np.random.default_rng(1).normal(size=(1, 4, 4, 4)).astype(np.float32)

    def run(given: ModelProto) -> list[np.ndarray]:
        return onnxruntime.InferenceSession(given.SerializeToString()).run(None, {"x": x})

    onnxruntime.set_default_logger_severity(3)
    for want, plain, rounded in zip(run(model), run(half), run(simulate_rounding(half)), strict=True):
        assert plain.dtype == rounded.dtype == np.float32
        # One rounding is 2⁻¹¹; a layer multiplies it by its weights, eight at most follow one another.
        scale = np.abs(want).max() + 1
        np.testing.assert_allclose(plain, want, atol=0.05 * scale)
        np.testing.assert_allclose(rounded, want, atol=0.05 * scale)


def test_no_node_chosen_changes_nothing() -> None:
    model = make_model([make_node("Conv", "y", "x", "x")], {"w": CONSTANTS["w"]}, ["y"])
    same = to_half(model, ())
    assert same.graph.node == model.graph.node
    assert same.graph.initializer == model.graph.initializer


def residual_block() -> ModelProto:
    """Two layers with a shortcut, then what computes coordinates."""
    nodes = [
        make_node("Mul", "scaled", "x", ""),
        make_node("Conv", "a", "scaled", ""),
        make_node("Relu", "b", "a", ""),
        make_node("Conv", "c", "b", ""),
        make_node("Add", "d", "c", "a"),
        make_node("Transpose", "e", "d", ""),
        make_node("Relu", "f", "e", ""),
        make_node("Exp", "y", "f", ""),
    ]
    return make_model(nodes, CONSTANTS, ["y"])


def chosen_of(model: ModelProto, *args, **kwargs) -> set[str]:
    return {name.removeprefix("node_") for name in half_nodes(model, *args, **kwargs)[0]}


def test_layers_with_what_completes_and_moves_them_are_half() -> None:
    """And neither what comes before the first, nor what computes behind a mover."""
    assert chosen_of(residual_block()) == set("abcde")


@pytest.mark.parametrize(
    ("largest", "kept", "half"),
    [
        ({"d": 16000.0}, (), "abcde"),
        ({"d": 16500.0}, ("node_d",), "abc"),  # 4 · 16,500 > 65,504
        ({"scaled": 1e6}, ("node_a",), "c"),  # what it reads overflows; its Relu and Add follow no layer in half
        ({"b": 1e6}, ("node_b", "node_c"), "a"),
        ({"c": float("nan")}, ("node_c",), "ab"),
    ],
)
def test_what_overflows_stays_in_float32(largest: dict[str, float], kept: tuple[str, ...], half: str) -> None:
    model = residual_block()
    names, overflowing = half_nodes(model, largest)
    assert overflowing == kept
    assert names == {f"node_{name}" for name in half}
    to_half(model, names, largest)  # is not refused


def test_keep_leaves_nodes_in_float32() -> None:
    assert chosen_of(residual_block(), keep={"node_a"}) == {"c"}
    assert chosen_of(residual_block(), keep={"node_e"}) == set("abcd")


def test_weights_that_overflow_keep_their_layer_in_float32() -> None:
    model = make_model([make_node("Conv", "y", "x", "")], {"w": np.full((4, 4, 1, 1), 1e5, np.float32)}, ["y"])
    assert half_nodes(model) == (frozenset(), ("node_y",))
    with pytest.raises(PrecisionError, match=r"node_y \(Conv\) cannot be in half.*its constant w reaches 1e\+05"):
        to_half(model, {"node_y"})


def test_an_overflow_is_refused_by_the_layers_name() -> None:
    with pytest.raises(PrecisionError, match=r"layer node_d \(Add\) cannot be in half.*values in d reach 2e\+04"):
        to_half(residual_block(), {"node_d"}, {"d": 20000.0})
    with pytest.raises(PrecisionError, match="no node 'nothing'"):
        to_half(residual_block(), {"nothing"})


def test_simulated_rounding_rounds_between_the_layers(run_onnx) -> None:
    """Against NumPy, which rounds after every layer; the file itself, on a CPU, does not."""
    model = make_model([make_node("Conv", "a", "x", ""), make_node("Conv", "y", "a", "")], CONSTANTS, ["y"])
    simulated = simulate_rounding(infer(to_half(model, {"node_a", "node_y"})))
    x = np.random.default_rng(2).normal(size=(1, 4, 4, 4)).astype(np.float32)

    def layer(values: np.ndarray) -> np.ndarray:
        exact = np.einsum("nchw,oc->nohw", values.astype(np.float64), WEIGHT[:, :, 0, 0].astype(np.float64))
        return exact.astype(np.float16)

    want = layer(layer(x.astype(np.float16))).astype(np.float32)
    got = run_onnx(simulated.SerializeToString(), x=x)["y"]
    assert (got == want).mean() > 0.95  # sums in another order round differently now and then
    np.testing.assert_allclose(got, want, atol=2e-3)


@pytest.mark.parametrize("name", MODELS)
def test_networks_in_half(tiny, networks, exported, tmp_path, run_onnx, name: str) -> None:
    """Each stage is the network's, the contract is unchanged, and the islands are in float32."""
    path, converted = exported(name), tmp_path / f"{name}.onnx"
    model = onnx.load(path)
    chosen, kept = half_nodes(model)
    assert not kept
    save_checked(to_half(model, chosen), converted)
    assert tensor_specs(converted) == tensor_specs(path)
    half = onnx.load(converted)
    types = Tensors(half).types
    tensors = Tensors(model)
    for node in half.graph.node:
        kinds = {types[output] for output in node.output}
        if node.op_type == "Conv":
            assert kinds == {HALF}, node.name
        elif node.domain == DOMAIN:
            # Its maps are read as they are made; only what AlignRois makes of a map in half is in half.
            assert {types[source] for source in node.input[: MAPS[node.op_type]]} <= {HALF}
            assert kinds == {HALF if node.op_type == "AlignRois" else FLOAT}
            assert {types[source] for source in node.input[MAPS[node.op_type] :]} <= {FLOAT}
        elif node.op_type not in FOLLOWERS | {"Cast", "Gemm", "MatMul", "Transpose", "Reshape", "Concat", "Flatten"}:
            assert HALF not in kinds, f"{node.name} ({node.op_type})"
    layers = [node for node in model.graph.node if tensors.is_layer(node)]
    assert all(node.name in chosen for node in layers)
    assert len(layers) > 5
    rng = np.random.default_rng(0)
    graph = CheckedGraph(name, networks[name], converted, "fp16")
    specs = tensor_specs(path)[0]
    if "image" in specs:
        inputs = {key: spec.zeros(1) for key, spec in specs.items()}  # nothing but what is to be found is given
        inputs["image"] = rng.integers(0, 256, (1, *tiny.canvas, 3), np.uint8)
        require(graph.check_picture("noise", inputs["image"][0]))
    else:
        inputs = {key: rng.normal(size=(3, 3, *tiny.patch)).astype(np.float32) for key in specs}
        require(graph.check_patches("noise", inputs))
    require_runs(converted, inputs)


def test_stored_weights_lose_their_casts() -> None:
    model = make_model(
        [STORED, make_node("Conv", "a", "x", "", stored=True), make_node("Exp", "y", "a", "")], CONSTANTS, ["y"]
    )
    assert casts(model) == [("w_stored.half", "w_stored")]
    half = to_half(model, {"node_a"})
    assert casts(half) == [("x", "x.half"), ("a", "a.float")]
    assert [node.input[1] for node in half.graph.node if node.op_type == "Conv"] == ["w_stored.half"]


def test_a_file_that_does_not_run_is_caught(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    save_checked(make_model([make_node("Exp", "y", "x", "")], {}, ["y"]), path)
    require_runs(path, {"x": np.ones((1, 4, 4, 4), np.float32)})
    with pytest.raises(PrecisionError, match="gives y that is not finite"):
        require_runs(path, {"x": np.full((1, 4, 4, 4), 1000, np.float32)})
    with pytest.raises(PrecisionError, match=r"cannot run model\.onnx"):
        require_runs(path, {"z": np.zeros((1, 4, 4, 4), np.float32)})
