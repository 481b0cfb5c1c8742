import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.paths import ROOT

pytest.importorskip("torch", reason="the graph forms need PyTorch")
pytest.importorskip("onnxscript", reason="exporting needs onnxscript")

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.errors import ExportError
from export.graphs.networks import GRAPHS
from export.graphs.trace import OPSET, export_onnx
from export.onnx_file import (
    store_weights_in_half,
    strip_notes,
    with_taps,
)
from mgts_trt.bundle.operators import DOMAIN, inline, used
from mgts_trt.bundle.recipe import MODELS
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import MgtsError, PrecisionError
from mgts_trt.precisions.onnx_file import save_checked, tensor_specs
from training.preset import Preset

Export = Callable[[str], Path]


@pytest.mark.parametrize("name", MODELS)
def test_contract(tiny: Preset, exported: Export, name: str) -> None:
    (h, w), (ph, pw) = tiny.canvas, tiny.patch
    assert tiny.joint is not None
    j, p, d = tiny.joint.rpn.proposals, tiny.joint.probes, tiny.joint.embedding
    k, i, m = tiny.detector.rpn.proposals, tiny.masknet.rpn.proposals, tiny.masknet.mask_size
    image = {"image": TensorSpec(dtype="uint8", shape=("B", h, w, 3))}
    patch = TensorSpec(dtype="float32", shape=("N", 3, ph, pw))
    embedding = {"embedding": TensorSpec(dtype="float32", shape=("N", tiny.embedding))}

    def floats(**shapes: tuple[int | str, ...]) -> dict[str, TensorSpec]:
        return {key: TensorSpec(dtype="float32", shape=shape) for key, shape in shapes.items()}

    expected = {
        "detector": (image, floats(boxes=("B", k, 4), scores=("B", k))),
        "masknet": (image, floats(boxes=("B", i, 4), scores=("B", i), masks=("B", i, m, m))),
        "mgts": ({"foreground": patch, "original": patch}, embedding),
        "idnet": ({"original": patch}, embedding),
        "joint": (
            {**image, **floats(rois=("B", p, 4))},
            floats(boxes=("B", j, 4), scores=("B", j), embeddings=("B", j, d), roi_embeddings=("B", p, d)),
        ),
    }
    assert tensor_specs(exported(name)) == expected[name]


@pytest.mark.parametrize("name", MODELS)
def test_standard_operators_and_static_shapes(exported: Export, name: str) -> None:
    """But for the operators of the domain `mgts`, which the file brings its bodies of, in standard operators."""
    model = onnx.load(exported(name))
    called = {
        "detector": {"Nms", "AlignRois"},
        "masknet": {"Nms", "PsAssemble"},
        "mgts": {"SeHead"},
        "idnet": set(),
        "joint": {"Nms", "AlignRois"},
    }
    assert set(used(model.graph.node)) == called[name]
    assert {function.name for function in model.functions} - {"NmsRound"} == called[name]
    inlined = inline(model)
    assert [(o.domain, o.version) for o in inlined.opset_import if o.domain != DOMAIN] == [("", OPSET)]
    assert {node.domain for node in inlined.graph.node} == {""}
    operators = {node.op_type for node in inlined.graph.node}
    assert not inlined.functions
    # Data-dependent shapes, plugins, and what a runtime lacks.
    assert not operators & {"NonMaxSuppression", "RoiAlign", "MaxRoiPool", "NonZero", "Unique", "Loop", "If", "Scan"}
    assert "BatchNormalization" not in operators
    for value in model.graph.value_info:
        dims = value.type.tensor_type.shape.dim
        assert all(d.HasField("dim_value") for d in dims[1:]), value.name


@pytest.mark.parametrize("name", MODELS)
def test_nothing_of_the_exporting_machine_inside(exported: Export, name: str) -> None:
    content = exported(name).read_bytes()
    for trace in (str(ROOT), str(Path(torch.__file__).parent.parent), "stack_trace", "networks.py", '.py"', 'File "'):
        assert trace.encode() not in content, trace


def test_strip_notes(exported: Export) -> None:
    model = onnx.load(exported("idnet"))
    for item in (model, model.graph.node[0], model.graph.input[0], model.graph.initializer[0]):
        item.metadata_props.add(key="stack_trace", value="secret")
    for item in (model.graph, model.graph.node[1], model.graph.output[0], model.graph.value_info[0]):
        item.doc_string = "secret"
    assert model.SerializeToString().count(b"secret") == 8
    strip_notes(model)
    assert b"secret" not in model.SerializeToString()
    assert b"stack_trace" not in model.SerializeToString()
    assert tensor_specs(exported("idnet"))[0].keys() == {value.name for value in model.graph.input}


def test_taps_are_inside_but_no_outputs(tiny: Preset, exported: Export) -> None:
    graph = GRAPHS["detector"]
    model = onnx.load(exported("detector"))
    assert tuple(value.name for value in model.graph.output) == graph.outputs
    tapped = onnx.load_from_string(with_taps(exported("detector"), graph.taps))
    assert tuple(value.name for value in tapped.graph.output) == graph.outputs + graph.taps
    onnx.checker.check_model(tapped, full_check=True)
    shapes = {
        v.name: tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim) for v in tapped.graph.output
    }
    assert shapes["candidates"] == ("B", tiny.detector.rpn.candidates, 4)
    assert shapes["features"] == ("B", tiny.detector.backbone.widths[-1], tiny.canvas[0] // 16, tiny.canvas[1] // 16)


@pytest.mark.parametrize("tap", ["no_such_tensor", "image"])
def test_missing_tap(exported: Export, tap: str) -> None:
    with pytest.raises(ExportError, match=f"detector.onnx has no tensor '{tap}' inside; export it again") as caught:
        with_taps(exported("detector"), ("features", tap))
    assert isinstance(caught.value, MgtsError)


class Module(nn.Module):
    inputs, outputs, taps = ("x",), ("y",), ()


class DependsOnData(Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x * 2 if x.sum() > 0 else x,)


class NotInOnnx(Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (torch.linalg.eigvals(x).real,)


@pytest.mark.parametrize("module", [DependsOnData(), NotInOnnx()])
def test_network_that_cannot_be_exported(tmp_path: Path, module: Module) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match=f"cannot export {type(module).__name__}"):
        export_onnx(module.eval(), {"x": torch.ones(3, 3)}, path)
    assert not path.exists()


def matmul(weights: dict[str, np.ndarray], shape: tuple[int, ...]) -> onnx.ModelProto:
    """x [2, 64] multiplied by each of the weights in turn."""
    names = ["x", *(f"x{i}" for i in range(1, len(weights))), "y"]
    nodes = [helper.make_node("MatMul", [names[i], key], [names[i + 1]]) for i, key in enumerate(weights)]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def stored(path: Path) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}


def test_half_weights_halve_the_file_and_change_nothing(tmp_path: Path, run_onnx: Callable) -> None:
    rng = np.random.default_rng(0)
    rounded = rng.normal(size=(64, 256)).astype(np.float16).astype(np.float32)
    path = tmp_path / "model.onnx"
    save_checked(matmul({"w": rounded}, (2, 256)), path)
    before, x = path.stat().st_size, rng.normal(size=(2, 64)).astype(np.float32)
    expected = run_onnx(path, x=x)["y"]
    store_weights_in_half(path)
    assert stored(path) == {"w.half": TensorProto.FLOAT16}
    assert path.stat().st_size == pytest.approx(before / 2, rel=0.02)
    np.testing.assert_array_equal(run_onnx(path, x=x)["y"], expected)


def test_weights_that_half_cannot_hold_stay(tmp_path: Path, run_onnx: Callable) -> None:
    rng = np.random.default_rng(0)
    precise = rng.normal(size=(64, 64)).astype(np.float32)
    large = np.full((64, 64), 1e5, np.float32)  # overflows
    small = np.eye(64, 4, dtype=np.float32)  # not worth it
    half = rng.normal(size=(4, 512)).astype(np.float16).astype(np.float32)
    path = tmp_path / "model.onnx"
    save_checked(matmul({"precise": precise, "large": large, "small": small, "half": half}, (2, 512)), path)
    x = rng.normal(size=(2, 64)).astype(np.float32)
    expected = run_onnx(path, x=x)["y"]
    with warnings.catch_warnings(action="error"):
        store_weights_in_half(path)
    kinds = {"precise": TensorProto.FLOAT, "large": TensorProto.FLOAT, "small": TensorProto.FLOAT}
    assert stored(path) == kinds | {"half.half": TensorProto.FLOAT16}
    np.testing.assert_array_equal(run_onnx(path, x=x)["y"], expected)


def test_half_weights_of_an_exported_network(
    tiny: Preset, exported: Export, run_onnx: Callable, tmp_path: Path
) -> None:
    model = onnx.load(exported("detector"))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            if np.abs(values).max(initial=0) < np.finfo(np.float16).max:
                rounded = values.astype(np.float16).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    path = tmp_path / "detector.onnx"
    save_checked(model, path)
    specs, size = tensor_specs(path), path.stat().st_size
    image = np.random.default_rng(0).integers(0, 256, (1, *tiny.canvas, 3), np.uint8)
    taps = GRAPHS["detector"].taps
    expected = run_onnx(with_taps(path, taps), image=image)
    store_weights_in_half(path)
    assert path.stat().st_size < size
    assert TensorProto.FLOAT16 in stored(path).values()
    assert tensor_specs(path) == specs
    actual = run_onnx(with_taps(path, taps), image=image)
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def test_invalid_model_is_refused(tmp_path: Path) -> None:
    wrong_shape = matmul({"w": np.ones((63, 8), np.float32)}, (2, 8))
    foreign = matmul({"w": np.ones((64, 8), np.float32)}, (2, 8))
    foreign.graph.node[0].op_type = "MatMulTwice"
    for model in (wrong_shape, foreign):
        with pytest.raises(PrecisionError, match=r"model\.onnx is not a valid ONNX model"):
            save_checked(model, tmp_path / "model.onnx")
