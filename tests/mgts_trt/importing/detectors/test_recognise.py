"""What is recognised, and what is refused with what to do."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.recognise import recognise
from tests.helpers.detector_graphs import BYTE, FLOAT, HALF, LONG, graph

GRID = 8 * 12 + 4 * 6 + 2 * 3

RECOGNISED: list[tuple[dict[str, tuple[int, ...]], str, int]] = [
    ({"output": (1, GRID, 85)}, "yolox", 0),
    ({"output": (1, 3 * GRID, 85)}, "yolov5", 0),
    ({"output0": (1, 84, GRID)}, "yolov8", 0),
    ({"output0": (1, 5, GRID)}, "yolov8", 0),  # one class
    ({"output0": (1, 300, 6)}, "end-to-end", 0),
    ({"logits": (1, 100, 92), "pred_boxes": (1, 100, 4)}, "detr", 1),
    ({"logits": (1, 300, 80), "pred_boxes": (1, 300, 4)}, "detr", 0),
    ({"dets": (1, 300, 4), "labels": (1, 300, 91)}, "detr", 1),
    ({"scores": (1, 3000, 80), "boxes": (1, 3000, 4)}, "ssd", 0),
    ({"boxes": (1, 3000, 1, 4), "output": (1, GRID, 85)}, "yolox", 0),  # the other cannot be boxes
    ({"labels": (1, 300), "boxes": (1, 300, 4), "scores": (1, 300)}, "detections", 1),
    ({"boxes": (100, 4), "labels": (100,), "scores": (100,)}, "detections", 1),
    ({"map": (1, 85, 4, 6)}, "fastestdet", 0),
]


@pytest.mark.parametrize(("outputs", "family", "person"), RECOGNISED, ids=lambda value: str(value)[:40])
def test_a_family_is_recognised(outputs: dict[str, tuple[int, ...]], family: str, person: int) -> None:
    found = recognise(graph(outputs))
    assert (found.family, found.person) == (family, person)
    told = {row.what: row for row in found.table()}
    assert told["family"].value == family
    assert told["family"].why


def test_the_file_may_name_the_person() -> None:
    named = graph({"output0": (1, 4 + 3, GRID)}, names="{0: 'bicycle', 1: 'dog', 2: 'person'}")
    found = recognise(named)
    assert (found.person, found.classes) == (2, 3)
    assert "names it" in found.why["person"]


@pytest.mark.parametrize("names", ["__import__('os')", "7", "{'a': 1}", "[", "{(1, 2): 3}"])
def test_names_that_are_no_names_are_passed_over(names: str) -> None:
    with pytest.raises(OnnxError, match="--person"):
        recognise(graph({"output0": (1, 4 + 3, GRID)}, names=names))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"person": 3}, ("person", "3")),
        ({"family": "yolov5"}, ("family", "yolov5")),
        ({"canvas": (128, 128)}, ("canvas", "128 × 128")),
        ({"pad": (1, 2, 3)}, ("pad", "1 2 3")),
        ({"placement": "centre"}, ("placement", "centre")),
        ({"colour": "rgb"}, ("colour", "rgb")),
        ({"mean": (1, 2, 3)}, ("mean", "1 2 3")),
        ({"std": (4, 5, 6)}, ("std", "4 5 6")),
        ({"activation": "sigmoid"}, ("scores", "80 classes, activation: sigmoid")),
        ({"box_form": "xyxy"}, ("boxes", f"{GRID} a picture, xyxy in pixels")),
        ({"unit": "fractions"}, ("boxes", f"{GRID} a picture, cxcywh in fractions")),
        ({"nms": 0.25}, ("nms", "IoU 0.25")),
        ({"nms": 0.0}, ("nms", "none")),
        ({"candidates": 50, "places": 20}, ("result", "20 places of 50 candidates")),
    ],
    ids=str,
)
def test_every_point_may_be_said_otherwise(said: dict[str, Any], shown: tuple[str, str]) -> None:
    found = recognise(graph({"output": (1, GRID, 85)}), DetectorOptions(**said))
    what, value = shown
    row = next(row for row in found.table() if row.what == what)
    assert row.value == value
    assert row.why == ("as said" if what != "result" else row.why)


def plugin(name: str, domain: str = "") -> list[onnx.NodeProto]:
    return [helper.make_node(name, ["level"], ["plugin"], domain=domain)]


SIZE = helper.make_tensor_value_info("hint", LONG, [1, 2])
YOLO = {"output": (1, GRID, 85)}

REFUSED: list[tuple[str, onnx.ModelProto, dict[str, Any], tuple[str, ...]]] = [
    ("classifier", graph({"probabilities": (1, 1000)}), {}, ("probabilities [1, 1000]", "--detector-output")),
    ("unknown form", graph({"a": (1, 7), "b": (3,)}), {}, ("a [1, 7]", "b [3]")),
    ("two of them", graph({"one": (1, GRID, 85), "two": (1, 84, GRID)}), {}, ("one", "two", "--detector-output")),
    ("no such output", graph(YOLO), {"outputs": {"predictions": "out"}}, ("'out'", "output [1")),
    ("not of that family", graph(YOLO), {"family": "detr"}, ("as detr", "output [1")),
    ("half", graph(YOLO, kind=HALF), {}, ("float16", "float32")),
    ("half outputs", graph(YOLO, output_kind=HALF), {}, ("float16", "float32")),
    ("bytes", graph(YOLO, kind=BYTE), {}, ("uint8", "before it is quantised")),
    ("quantised outputs", graph(YOLO, output_kind=BYTE), {}, ("uint8", "before it is quantised")),
    ("open size", graph(YOLO, shape=("N", 3, "H", "W")), {}, ("[N, 3, H, W]", "--canvas")),
    ("old", graph(YOLO, opset=10), {}, ("opset 10", "11")),
    ("plugin", graph(YOLO, more=plugin("EfficientNMS_TRT")), {}, ("EfficientNMS_TRT", "without its NMS")),
    ("own domain", graph(YOLO, more=plugin("Thing", "acme"), domains=["acme"]), {}, ("acme.Thing", "standard")),
    ("grey pictures", graph(YOLO, shape=(1, 1, 64, 96)), {}, ("[1, 1, 64, 96]", "colour")),
    ("two pictures", graph(YOLO, inputs=[SIZE]), {}, ("hint", "one picture")),
    ("person beyond", graph(YOLO), {"person": 80}, ("class 80", "0 … 79")),
    ("person below", graph(YOLO), {"person": -1}, ("class -1", "0 … 79")),
    ("person unsaid", graph({"output": (1, GRID, 5 + 7)}), {}, ("7 classes", "--person")),
    ("another size", graph(YOLO), {"input_hw": (128, 128)}, ("[1, 3, 64, 96]", "128 × 128")),
]  # fmt: skip


@pytest.mark.parametrize(("model", "said", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_imported_is_refused(
    model: onnx.ModelProto, said: dict[str, Any], told: tuple[str, ...]
) -> None:
    with pytest.raises(OnnxError) as error:
        recognise(model, DetectorOptions(**said))
    for words in told:
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"family": "yolov99"}, "yolov99"),
        ({"outputs": {"masks": "x"}}, "masks"),
        ({"canvas": (8, 640)}, "8 × 640"),
        ({"nms": 1.5}, "1.5"),
        ({"std": (0, 1, 1)}, "greater than 0"),
        ({"pad": (0, 0, 256)}, "256"),
        ({"places": 2000}, "places"),
        ({"candidates": 100_000}, "3840"),
        ({"colour": "hsv"}, "hsv"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(said: dict[str, Any], told: str) -> None:
    with pytest.raises(OnnxError, match=told):
        DetectorOptions(**said)


def test_an_open_size_is_the_canvass() -> None:
    model = graph({"boxes": (1, 3000, 4), "scores": (1, 3000, 80)}, shape=("N", 3, "H", "W"))
    found = recognise(model, DetectorOptions(canvas=(96, 160)))
    assert found.image.hw == found.canvas == (96, 160)


def test_several_outputs_may_be_told_apart() -> None:
    model = graph({"one": (1, GRID, 85), "two": (1, 84, GRID)})
    assert recognise(model, DetectorOptions(outputs={"predictions": "two"})).family == "yolov8"
    assert recognise(model, DetectorOptions(family="yolox")).outputs == {"predictions": "one"}


def test_the_model_is_not_changed() -> None:
    model = graph(YOLO)
    before = model.SerializeToString()
    recognise(model)
    assert model.SerializeToString() == before
    assert model.graph.input[0].type.tensor_type.elem_type == FLOAT
    assert np.prod(list(model.graph.initializer[0].dims)) == GRID * 85
