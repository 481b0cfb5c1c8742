"""What is refused whatever the file computes, each with what to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mgts_trt.errors import OnnxError
from mgts_trt.importing.original import dims_of, read_original, real_inputs


def _model(
    *nodes: onnx.NodeProto, opset: int = 17, dtype: int = TensorProto.FLOAT, domain: str = ""
) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "weight")
    image = helper.make_tensor_value_info("image", dtype, ["N", 3, None, 4])
    listed = helper.make_tensor_value_info("weight", TensorProto.FLOAT, [3, 3, 1, 1])
    result = helper.make_tensor_value_info("result", dtype, None)
    nodes = nodes or (helper.make_node("Conv", ["image", "weight"], ["result"]),)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph(nodes, "graph", [image, listed], [result], [weight])
    return helper.make_model(graph, opset_imports=opsets, producer_name="torch", producer_version="2.0", ir_version=8)


def _call(operator: str, domain: str) -> onnx.NodeProto:
    return helper.make_node(operator, ["image", "weight"], ["result"], domain=domain)


def _save(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def _without_weights(folder: Path) -> Path:
    onnx.save(_model(), folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (folder / "w.bin").unlink()
    return folder / "model.onnx"


def _inside_a_branch(folder: Path) -> Path:
    inner = helper.make_graph(
        [helper.make_node("Mine", [], ["inner"], domain="a.b")],
        "branch",
        [],
        [helper.make_empty_tensor_value_info("inner")],
    )
    condition = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    choice = helper.make_node("If", ["yes"], ["result"], then_branch=inner, else_branch=inner)
    return _save(_model(condition, choice, domain="a.b"), folder)


def _text(folder: Path) -> Path:
    (folder / "model.onnx").write_text("no model")
    return folder / "model.onnx"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (lambda folder: folder / "none.onnx", r"no file .*none\.onnx.*Name an ONNX model"),
    "no model": (_text, r"Cannot read"),
    "an old opset": (lambda folder: _save(_model(opset=10), folder), r"opset 10, and 11 is the oldest.*newer"),
    "weights elsewhere": (_without_weights, r"weights in w\.bin, which is not in .*Copy every file"),
    "operators of its own": (
        lambda folder: _save(_model(_call("Mine", "a.b"), domain="a.b"), folder),
        r"calls a\.b\.Mine, .*export it in standard operators",
    ),
    "operators of its own in a branch": (_inside_a_branch, r"calls a\.b\.Mine"),
    "ONNX Runtime's operators": (
        lambda folder: _save(_model(_call("FusedConv", "com.microsoft"), domain="com.microsoft"), folder),
        r"com\.microsoft\.FusedConv.*before it was optimised",
    ),
    "half": (lambda folder: _save(_model(dtype=TensorProto.FLOAT16), folder), r"image in float16.*--precision fp16"),
    "doubles": (lambda folder: _save(_model(dtype=TensorProto.DOUBLE), folder), r"image in float64, and float32"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    with pytest.raises(OnnxError, match=f"(?s){message}"):
        read_original(make(tmp_path))


def test_reads_what_is_sound(tmp_path: Path) -> None:
    original = read_original(_save(_model(), tmp_path))
    assert (original.opset, original.producer, len(original.sha256)) == (17, "torch 2.0", 64)
    (image,) = real_inputs(original.model)
    assert dims_of(image) == ("N", 3, "?", 4)


def test_brings_weights_that_lie_beside(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(_model(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (weight,) = read_original(path).model.graph.initializer
    assert np.array_equal(numpy_helper.to_array(weight), np.ones((3, 3, 1, 1)))


def test_inlines_functions_of_the_file(tmp_path: Path) -> None:
    model = _model(helper.make_node("Twice", ["image"], ["result"], domain="own"), domain="own")
    body = [helper.make_node("Add", ["x", "x"], ["y"])]
    model.functions.append(helper.make_function("own", "Twice", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))
    assert [node.op_type for node in read_original(_save(model, tmp_path)).model.graph.node] == ["Add"]
