"""What is no re-ID network is refused, each with what to do."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mgts_trt.errors import OnnxError
from mgts_trt.importing.original import read_original
from mgts_trt.importing.recognised_reid import recognise_reid
from mgts_trt.importing.reid_options import ReidOptions
from tests.helpers.reid_files import SIZE, reid_model


def _channels_last() -> onnx.ModelProto:
    model = reid_model()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("crops", TensorProto.FLOAT, [1, *SIZE, 3]))
    return model


def _grey() -> onnx.ModelProto:
    model = reid_model()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    return model


def _two_inputs() -> onnx.ModelProto:
    model = reid_model()
    model.graph.input.append(helper.make_tensor_value_info("camera", TensorProto.INT64, [1]))
    return model


def _two_outputs() -> onnx.ModelProto:
    model = reid_model()
    model.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, None))
    return model


REFUSED = {
    "classes": (reid_model("softmax"), {}, r"probabilities of 16 classes in features.*before its last layer"),
    "classes by other operators": (reid_model("scaled-softmax"), {}, r"probabilities of 16 classes"),
    "a map": (reid_model("map"), {}, r"gives relu float32 \[1, 8, 32, 16\] for 1 crops, .*up to its pooled features"),
    "as many as there are": (reid_model("nonzero"), {}, r"holds NonZero, whose results .*Export the network alone"),
    "channels last": (_channels_last(), {}, r"crops float32 \[1, 32, 16, 3\], channels last.*channels first"),
    "grey": (_grey(), {}, r"crops float32 \[1, 1, 32, 16\].*for colour pictures"),
    "two inputs": (_two_inputs(), {}, r"takes crops .*; camera int64 \[1\], and one .*is expected"),
    "two outputs": (_two_outputs(), {}, r"any of features, rows could be the features.*--reid-output features"),
    "no such output": (reid_model(), {"output": "mine"}, r"no output 'mine'; it gives features.*--reid-output"),
    "another size": (reid_model(), {"size": (64, 32)}, r"\[1, 3, 32, 16\], and a size of 64 × 32 was asked for"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, tmp_path: Path) -> None:
    model, options, message = REFUSED[case]
    onnx.save(model, tmp_path / "model.onnx")
    original = read_original(tmp_path / "model.onnx")
    with pytest.raises(OnnxError, match=f"(?s){message}"):
        recognise_reid(original, ReidOptions(**options))


@pytest.mark.parametrize("output", ["features", "rows"])
def test_takes_the_output_said(output: str, tmp_path: Path) -> None:
    onnx.save(_two_outputs(), tmp_path / "model.onnx")
    found = recognise_reid(read_original(tmp_path / "model.onnx"), ReidOptions(output=output))
    assert (found.output, found.embedding) == (output, {"features": 16, "rows": 8}[output])


def test_tells_all_it_takes_for_granted(tmp_path: Path) -> None:
    onnx.save(reid_model("unit"), tmp_path / "model.onnx")
    found = recognise_reid(read_original(tmp_path / "model.onnx"), ReidOptions.of("tao", colour="bgr"))
    rows = {row.what: (row.value, row.why) for row in found.table()}
    assert rows["length"] == ("1 already", "run on noise")
    assert rows["colour"] == ("bgr", "as said")
    assert rows["std"] == ("0.226 0.226 0.226", "tao's")
    assert rows["input"][0] == "crops, 32 × 16, 1 at a time"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour": "grb"}, "colour order is rgb, bgr, not 'grb'"),
        ({"value_range": 100}, "value range is 1, 255, not 100"),
        ({"resize": "lanczos"}, "resize rule is bilinear, .*not 'lanczos'"),
        ({"size": (2, 4)}, "each side is 8…2048"),
        ({"mean": (123.0, 116.0, 103.0)}, "outside the pixels' range of 0…1.*--reid-range"),
        ({"std": (0.0, 1.0, 1.0)}, "does not fit pixels of 0…1"),
    ],
)
def test_refuses_options_that_cannot_be(given, message: str) -> None:
    with pytest.raises(OnnxError, match=message):
        ReidOptions.of("torchreid", **given)


def test_refuses_a_preset_there_is_not() -> None:
    with pytest.raises(OnnxError, match="no preset 'mine'; there are torchreid, fastreid, clip-reid, tao"):
        ReidOptions.of("mine")  # type: ignore[arg-type]


def test_mean_and_range_are_of_the_same_pixels() -> None:
    (mean, std), (same, too) = ReidOptions().in_bytes, ReidOptions.of("tao", std=(0.229, 0.224, 0.225)).in_bytes
    assert mean == pytest.approx((123.675, 116.28, 103.53))
    assert std == pytest.approx((58.395, 57.12, 57.375))
    assert np.allclose([mean, std], [same, too])
