from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.onnx_graph import load_onnx
from mgts_trt.deepstream.nvinfer_networks import INPUT, as_plugins, feed_detector, feed_reid
from mgts_trt.errors import BuildError
from mgts_trt.pictures.image import read_image
from mgts_trt.stages import Letterbox
from tests.helpers.paths import SAMPLES, TRAINED


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(TRAINED)


def run(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]).run(None, dict(inputs))


def planes(pixels: np.ndarray) -> np.ndarray:
    """As nvinfer makes them: float32 [1, 3, H, W], 0…255."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def test_the_detector_finds_the_same(bundle: Bundle) -> None:
    picture = read_image(SAMPLES / "store_aisle" / "0000.jpg")
    canvas = Letterbox(picture.shape[:2], bundle.manifest.canvas).apply(picture, bundle.manifest.pad)
    model = load_onnx(bundle.model_path("detector", "fp32"))
    boxes, scores = run(model, {"image": canvas[None]})
    feed_detector(model)
    onnx.checker.check_model(model)
    again = run(model, {INPUT: planes(canvas)})
    assert (scores > bundle.manifest.thresholds.detection).sum() >= 2
    np.testing.assert_allclose(again[0], boxes, atol=1e-3)
    np.testing.assert_allclose(again[1], scores, atol=1e-5)


def test_the_reid_network_gives_the_same(bundle: Bundle) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, *bundle.manifest.patch)).astype(np.float32)
    mean, std = (np.float32(each)[:, None, None] for each in bundle.manifest.normalisation.model_dump().values())
    model = load_onnx(bundle.model_path("idnet", "fp32"))
    (expected,) = run(model, {"original": (pixels - mean) / std})
    feed_reid(model, bundle.manifest.normalisation.mean, bundle.manifest.normalisation.std)
    onnx.checker.check_model(model)
    (found,) = run(model, {INPUT: pixels})
    assert (np.einsum("nd,nd->n", found, expected) > 0.99999).all()


@pytest.mark.parametrize(("batch", "first"), [(1, 1), (4, "B")])
def test_operators_are_left_to_plugins(bundle: Bundle, batch: int, first: int | str) -> None:
    model = load_onnx(bundle.model_path("detector", "fp32"))
    feed_detector(model)
    as_plugins(model, batch)
    (pixels,) = model.graph.input
    shape = [each.dim_param or each.dim_value for each in pixels.type.tensor_type.shape.dim]
    assert (pixels.name, pixels.type.tensor_type.elem_type, shape) == (INPUT, TensorProto.FLOAT, [first, 3, 480, 800])
    assert not model.functions
    assert {"AlignRois", "Nms"} <= {node.op_type for node in model.graph.node if node.domain == "mgts"}


def test_a_detector_that_begins_otherwise_is_refused() -> None:
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", 4, 6, 3])
    boxes = helper.make_tensor_value_info("boxes", TensorProto.UINT8, ["B", 4, 6, 3])
    node = helper.make_node("Identity", ["image"], ["boxes"])
    model = helper.make_model(helper.make_graph([node], "detector", [image], [boxes]))
    with pytest.raises(BuildError, match="begins with Identity of uint8 pixels"):
        feed_detector(model)
