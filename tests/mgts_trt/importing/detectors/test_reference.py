"""Real files of other projects: what the imported model finds is what their authors' code finds."""

from pathlib import Path

import cv2
import onnx
import pytest

from mgts_trt.importing.detectors.contract import write_contract
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.measuring import run
from mgts_trt.importing.detectors.recognise import recognise_form
from mgts_trt.importing.detectors.reference import reference
from mgts_trt.stages import Letterbox


@pytest.mark.parametrize(
    ("file", "family"), [("yolox_nano/yolox_nano.onnx", "yolox"), ("fastestdet/FastestDet.onnx", "fastestdet")]
)
def test_real_files(file: str, family: str, shared_data: Path, public_photos: list[Path]) -> None:
    original = onnx.load(shared_data / "models" / file)
    found, form = recognise_form(original, DetectorOptions())
    assert (found.family, found.person) == (family, 0)
    model = write_contract(form, found)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "B"
    people = 0
    for photo in public_photos[:3]:
        image = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
        canvas = Letterbox((image.shape[0], image.shape[1]), found.canvas).apply(image, found.pad)
        boxes, scores = reference(original, found, canvas)
        result = run(model, {"image": canvas[None]})
        assert result["scores"][0] == pytest.approx(scores, abs=1e-5)
        assert result["boxes"][0] == pytest.approx(boxes, abs=1e-2)
        people += int((scores > 0.5).sum())
    assert people >= 3
