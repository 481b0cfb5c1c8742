"""The graph in front of a detector gives it what its author's NumPy code does."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.folding import infer
from mgts_trt.importing.detectors.measuring import run
from mgts_trt.importing.detectors.node_writer import NodeWriter
from mgts_trt.importing.detectors.picture_in import write_input
from mgts_trt.importing.detectors.recognise import recognise
from mgts_trt.importing.detectors.recognised import Recognised
from mgts_trt.importing.detectors.reference import prepare
from mgts_trt.importing.detectors.static_form import ImageInput
from tests.helpers.detector_graphs import graph

BASE = recognise(graph({"output": (1, 126, 85)}), DetectorOptions(pad=(114, 20, 7)))

CASES: list[dict[str, Any]] = [
    {"colour": colour, "placement": placement, "canvas": canvas, "mean": mean, "std": std}
    for colour, mean, std in [
        ("bgr", (0, 0, 0), (1, 1, 1)),
        ("rgb", (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)),
    ]
    for placement in ("corner", "centre")
    for canvas in [(64, 96), (32, 48), (100, 96), (33, 97)]
]


def front(found: Recognised) -> onnx.ModelProto:
    write = NodeWriter("in")
    moved = write_input(write, "image", found, "given")
    outputs = ["given", *([moved] if moved else [])]
    model = helper.make_model(
        helper.make_graph(
            [],
            "front",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", *found.canvas, 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    write.into(model)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    infer(model)
    return model


def pictures(found: Recognised) -> np.ndarray:
    """Canvases, of which pictures of several sizes fill the top left."""
    rng = np.random.default_rng(0)
    canvas = np.full((4, *found.canvas, 3), found.pad, np.uint8)
    height, width = found.canvas
    for number, (h, w) in enumerate([(height, width // 3), (height // 2 - 1, width), (height, width)]):
        canvas[number, :h, :w] = rng.integers(0, 256, (h, w, 3))
    return canvas  # the last holds nothing


@pytest.mark.parametrize("said", CASES, ids=lambda each: "-".join(map(str, each.values())))
def test_it_prepares_pictures_as_the_author_does(said: dict[str, Any]) -> None:
    found = replace(BASE, **said)
    canvases = pictures(found)
    together = run(front(found), {"image": canvases})
    for number, canvas in enumerate(canvases):
        expected, (left, top) = prepare(found, canvas)
        assert together["given"][number] == pytest.approx(expected[0], abs=2e-2 / found.std[0])
        if found.placement == "centre":
            (moved,) = (value for name, value in together.items() if name != "given")
            assert moved[number].ravel().tolist() == [left, top, left, top]


@pytest.mark.parametrize(("layout", "shape"), [("NHWC", (1, 64, 96, 3)), ("CHW", (3, 64, 96))])
def test_other_layouts(layout: str, shape: tuple[int, ...]) -> None:
    found = replace(BASE, image=ImageInput("images", layout, (64, 96)))
    canvas = pictures(found)[:1]
    assert run(front(found), {"image": canvas})["given"].shape == shape
    assert run(front(found), {"image": canvas})["given"] == pytest.approx(prepare(found, canvas[0])[0])


def test_a_picture_in_the_corner_of_an_equal_canvas_is_not_touched() -> None:
    assert {node.op_type for node in front(BASE).graph.node} == {"Cast", "Gather", "Transpose"}
    plain = replace(BASE, colour="rgb")
    assert {node.op_type for node in front(plain).graph.node} == {"Cast", "Transpose"}
