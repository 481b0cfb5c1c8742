"""Detectors that end in an NMS of their own, as torchvision's and YOLO's end-to-end exports do."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.contract import write_contract
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.folding import DATA_DEPENDENT
from mgts_trt.importing.detectors.measuring import run
from mgts_trt.importing.detectors.recognise import recognise_form
from mgts_trt.importing.detectors.reference import reference
from tests.helpers.detector_graphs import FLOAT, LONG, graph

pytest.importorskip("torch")
pytest.importorskip("torchvision")
from tests.helpers import detector_modules as modules
from tests.helpers.detector_modules import HW, Export

FEW = DetectorOptions(places=20, candidates=200, person=1)


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(2)]


@pytest.mark.parametrize("name", ["SsdWithNms", "RetinaWithNms"])
@pytest.mark.parametrize("opset", [11, 17])
def test_it_finds_what_the_original_does(name: str, opset: int) -> None:
    modules.torch.manual_seed(0)
    module = getattr(modules, name)()
    original = modules.exported(module, Export(False, opset), ["boxes", "scores", "labels"])
    assert {node.op_type for node in original.graph.node} & {"NonZero", "If", "NonMaxSuppression"}
    found, form = recognise_form(original, FEW)
    assert (found.family, found.cut, found.nms) == ("detections", True, pytest.approx(0.45))
    model = write_contract(form, found)
    onnx.checker.check_model(model, full_check=True)
    assert not {node.op_type for node in model.graph.node} & (DATA_DEPENDENT | {"If", "Shape"})
    people = 0
    for picture in pictures():
        # The original on ONNX Runtime, its own NMS and thresholds: what it finds comes first here, and equal.
        boxes, scores = reference(original, found, picture)
        count = int((scores > 0).sum())
        people += count
        result = run(model, {"image": picture[None]})
        assert result["scores"][0, :count] == pytest.approx(scores[:count], abs=1e-5)
        assert result["boxes"][0, :count] == pytest.approx(boxes[:count], abs=1e-3)
        if len(run(original, own_input(picture))["scores"]) < modules.MOST:  # what the original leaves out is faint
            assert (result["scores"][0, count:] <= modules.THRESHOLD + 1e-5).all()
    assert people >= 4


def own_input(picture: np.ndarray) -> dict[str, np.ndarray]:
    return {"images": (picture.transpose(2, 0, 1)[None] / 255).astype(np.float32)}


def with_nms(last: bool) -> onnx.ModelProto:
    """Boxes and scores, an NMS, and what it selects; or, if it is not the last step, a network behind it."""
    model = graph({"all_boxes": (1, 200, 4), "all_scores": (1, 3, 200)})
    numbers = {"most": np.array(50), "iou": np.float32([0.3]), "least": np.float32([0.1]), "one": np.array([0, 2])}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in numbers.items())
    boxes = next(tensor for tensor in model.graph.initializer if tensor.name == "all_boxes.numbers")
    corners = numpy_helper.to_array(boxes).copy()
    corners[..., 2:] = corners[..., :2] + 0.2
    boxes.CopyFrom(numpy_helper.from_array(corners, boxes.name))
    model.graph.node.extend([
        helper.make_node("NonMaxSuppression", ["all_boxes", "all_scores", "most", "iou", "least"], ["selected"]),
        helper.make_node("Gather", ["selected", "one"], ["rows"], axis=1),
        helper.make_node("GatherND", ["all_boxes", "rows"], ["picked"]),
    ])  # fmt: skip
    del model.graph.output[:]
    outputs = [
        helper.make_tensor_value_info("selected", LONG, ["n", 3]),
        helper.make_tensor_value_info("picked", FLOAT, ["n", 4]),
    ]
    if not last:
        model.graph.node.append(helper.make_node("NonMaxSuppression", ["two", "all_scores", "most"], ["again"]))
        model.graph.node.append(helper.make_node("Unsqueeze", ["picked", "zero"], ["two"]))
        model.graph.node.insert(len(model.graph.node) - 2, model.graph.node.pop())
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
        outputs = [helper.make_tensor_value_info("again", LONG, ["n", 3])]
    model.graph.output.extend(outputs)
    return model


def test_what_an_nms_takes_is_taken_instead() -> None:
    original = with_nms(last=True)
    found, form = recognise_form(original, FEW)
    assert (found.family, found.cut, found.nms, found.boxes) == ("ssd", True, pytest.approx(0.3), 200)
    picture = np.full((*HW, 3), 255, np.uint8)
    result = run(write_contract(form, found), {"image": picture[None]})
    boxes, scores = reference(form.model, found, picture)
    assert (scores > 0).all()
    assert result["scores"][0] == pytest.approx(scores)
    assert result["boxes"][0] == pytest.approx(boxes, abs=1e-3)
    # And the original's own NMS selected these rows of the person's class.
    own = run(original, {"images": np.full((1, 3, *HW), 1, np.float32)})["selected"]
    assert len(own[own[:, 1] == 1]) >= 20


def test_a_network_behind_an_nms_is_refused() -> None:
    with pytest.raises(OnnxError, match=r"NonMaxSuppression.*two-stage.*without NMS"):
        recognise_form(with_nms(last=False), FEW)
