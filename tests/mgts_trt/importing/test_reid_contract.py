"""The contract model gives what the file gives, however its exporter wrote the batch, the colours and the range."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mgts_trt.errors import OnnxError
from mgts_trt.importing.original import read_original
from mgts_trt.importing.part import normalisation
from mgts_trt.importing.recognised_reid import recognise_reid
from mgts_trt.importing.reid_contract import reid_contract
from mgts_trt.importing.reid_options import PRESETS, ReidOptions
from mgts_trt.importing.reid_reference import describe_crops
from mgts_trt.stages import person_patches
from tests.helpers.reid_files import FEATURES, SIZE, save_reid

BATCHES = [
    ("flatten", 1, True),
    ("flatten", "N", True),
    ("flatten", 4, True),
    ("reshape", 1, True),
    ("shape", "batch", True),
    ("shape", None, True),
    ("unit", 1, True),
    ("token", 1, False),  # its constant is as many rows as there were crops
]


def _compare(path: Path, options: ReidOptions, together: bool = True) -> None:
    original = read_original(path)
    found = recognise_reid(original, options)
    model, is_together = reid_contract(original.model, found)
    assert is_together is together
    onnx.checker.check_model(model, full_check=True)
    crops = [np.random.default_rng(n).integers(0, 256, (40 + 9 * n, 20 + n, 3), np.uint8) for n in range(3)]
    theirs = describe_crops(ort.InferenceSession(path), found, crops, "bilinear")
    scale = normalisation(options)
    patches = [
        person_patches(
            crop, np.array([[0, 0, crop.shape[1], crop.shape[0]]]), None, gamma=1, patch_hw=found.hw, mean=scale.mean,
            std=scale.std, content_hw=crop.shape[:2],
        ).original
        for crop in crops
    ]  # fmt: skip
    session = ort.InferenceSession(model.SerializeToString())
    (ours,) = session.run(["embedding"], {"original": np.concatenate(patches)})
    assert ours.shape == (3, FEATURES)
    assert np.linalg.norm(ours, axis=1) == pytest.approx(1, abs=1e-5)
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert np.abs(ours[0] - ours[1]).max() > 1e-3  # crops are told apart, or nothing was compared


@pytest.mark.parametrize(("head", "batch", "together"), BATCHES)
def test_takes_any_number_of_people(head: str, batch: int | str | None, together: bool, tmp_path: Path) -> None:
    _compare(save_reid(tmp_path / "a.onnx", head, batch=batch), ReidOptions(), together)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("preset", PRESETS)
def test_colours_and_range_are_the_authors(preset, colour, tmp_path: Path) -> None:
    _compare(save_reid(tmp_path / "a.onnx"), ReidOptions.of(preset, colour=colour))


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 20])
def test_opsets(opset: int, tmp_path: Path) -> None:
    _compare(save_reid(tmp_path / "a.onnx", "reshape", opset=opset), ReidOptions())


def test_open_sizes_are_the_usual_ones_or_those_said(tmp_path: Path) -> None:
    original = read_original(save_reid(tmp_path / "a.onnx", batch="N", size=("H", "W")))
    assert recognise_reid(original, ReidOptions()).hw == (256, 128)
    assert recognise_reid(original, ReidOptions(size=(64, 32))).hw == (64, 32)
    _compare(original.path, ReidOptions(size=(64, 32)))


def test_tensors_may_bear_the_contracts_names(tmp_path: Path) -> None:
    model = onnx.load(save_reid(tmp_path / "a.onnx"))
    for node in model.graph.node:
        node.input[:] = ["original" if name == "crops" else name for name in node.input]
        node.output[:] = ["embedding" if name == "relu" else name for name in node.output]
        node.input[:] = ["embedding" if name == "relu" else name for name in node.input]
    model.graph.input[0].name = "original"
    onnx.save(model, tmp_path / "a.onnx")
    _compare(tmp_path / "a.onnx", ReidOptions())


def test_a_batch_written_into_the_graph_is_refused(tmp_path: Path) -> None:
    original = read_original(save_reid(tmp_path / "a.onnx", "reshape", batch=4))
    with pytest.raises(OnnxError, match=r"takes 4 crops at a time, .*Export it with a dynamic batch"):
        reid_contract(original.model, recognise_reid(original, ReidOptions(size=SIZE)))
