"""Layers of the tiny bundle in two precisions, with faults planted where the comparison must find them."""

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, read_manifest, write_manifest
from mgts_trt.bundle.recipe import MODELS
from mgts_trt.bundle.tensors import check_arrays
from mgts_trt.errors import PrecisionError
from mgts_trt.pictures.image import read_image
from tests.helpers.goldens import add_golden
from tests.helpers.paths import SAMPLES
from tests.helpers.tiny_bundle import make_tiny_bundle

pytest.importorskip("polygraphy", reason="needs the extra polygraphy")

from mgts_trt.precisions.layer_diff import ModelDiff, diff_model, read_samples


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    root = make_tiny_bundle(tmp_path_factory.mktemp("diff") / "b", ("fp32", "fp16"))
    add_golden(root)
    return root


def spoil(root: Path, model: str, change: Callable[[onnx.ModelProto], None]) -> Bundle:
    """A bundle whose FP16 file of a model is changed."""
    path = root / f"{model}.fp16.onnx"
    proto = onnx.load(path)
    change(proto)
    onnx.save(proto, path)
    manifest = read_manifest(root)
    entry = manifest.models[model]
    entry = entry.model_copy(update={"files": {**entry.files, "fp16": BundleFile.of(root, path.name)}})
    write_manifest(root, manifest.model_copy(update={"models": {**manifest.models, model: entry}}))
    return Bundle.open(root)


def scale_weight(node: str, factor: float) -> Callable[[onnx.ModelProto], None]:
    """What multiplies the weight that a node reads."""

    def change(model: onnx.ModelProto) -> None:
        [reader] = [each for each in model.graph.node if each.name == node]
        [weight] = [each for each in model.graph.initializer if each.name == reader.input[1]]
        values = numpy_helper.to_array(weight) * np.float16(factor)
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weight.name))

    return change


def node_of(root: Path, model: str, kind: str) -> str:
    return next(node.name for node in onnx.load(root / f"{model}.fp16.onnx").graph.node if node.op_type == kind)


def diff(bundle: Bundle, model: str, **how: object) -> ModelDiff:
    return diff_model(bundle, model, "fp16", read_samples(bundle, [])[model], **how)


@pytest.mark.parametrize("model", ["detector", "masknet", "mgts", "idnet"])
def test_rounding_alone_is_within_tolerance(pristine: Path, model: str) -> None:
    bundle = Bundle.open(pristine)
    found = diff(bundle, model)
    assert not found.beyond, found.beyond[0]
    assert not found.chooser
    computed = [name for node in onnx.load(bundle.model_path(model, "fp32")).graph.node for name in node.output]
    names = [layer.tensor for layer in found.layers]
    assert names == [name for name in computed if name in names], "in the order of the graph"
    assert names[-1] in bundle.model(model).outputs
    assert min(layer.ratio for layer in found.layers) < 80, "half was rounded to, and not FP32 compared with itself"


@pytest.mark.parametrize("model", ["detector", "idnet"])
def test_the_layer_at_fault_comes_first(pristine: Path, tmp_path: Path, model: str) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "b"))
    conv = node_of(root, model, "Conv")
    found = diff(spoil(root, model, scale_weight(conv, 1.1)), model)
    assert found.beyond[0].operator == "Conv"
    assert found.beyond[0].ratio < 25 < 40 < found.beyond[0].before, "it is the layer, and not what it reads"
    place = found.layers.index(found.beyond[0])
    assert all(layer.ratio > 40 for layer in found.layers[:place])


def test_other_rows_are_told_and_do_not_spoil_what_is_behind(pristine: Path, tmp_path: Path) -> None:
    """Brightness upside down: the darkest cells come first, and yet the boxes compared are of the same cells."""
    root = Path(shutil.copytree(pristine, tmp_path / "b"))
    conv = node_of(root, "detector", "Conv")
    found = diff(spoil(root, "detector", scale_weight(conv, -1)), "detector")
    assert "(TopK)" in found.chooser
    assert found.beyond[0].operator == "Conv"
    ratios = {layer.tensor: layer.ratio for layer in found.layers}
    assert ratios["boxes"] > 40, "chosen by FP32 in both"
    assert ratios["scores"] < 10


def test_values_that_overflow_are_the_worst(pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "b"))
    conv = node_of(root, "idnet", "Conv")
    found = diff(spoil(root, "idnet", scale_weight(conv, 60000)), "idnet")
    assert found.beyond[0].ratio == -math.inf
    assert found.to_dict()["layers"][found.layers.index(found.beyond[0])]["ratio"] is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_in_parts_as_at_once(pristine: Path) -> None:
    bundle, steps = Bundle.open(pristine), []
    whole = diff(bundle, "masknet")
    parts = diff(bundle, "masknet", part_bytes=1, on_step=lambda *step: steps.append(step))
    assert parts == whole
    assert steps[-1] == (len(whole.layers) + 1, len(whole.layers) + 1), "each tensor alone, after the choices"


def test_pictures_of_ones_own(pristine: Path) -> None:
    bundle = Bundle.open(pristine)
    photo = next(SAMPLES.glob("*.jpg"))
    samples = read_samples(bundle, [photo, photo])
    assert {name: len(runs) for name, runs in samples.items()}["detector"] == 2
    assert samples["detector"][0]["image"].size == np.prod(bundle.manifest.canvas) * 3
    assert read_image(photo).ndim == 3


def test_what_cannot_be_compared(pristine: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(pristine)
    with pytest.raises(PrecisionError, match="FP32 can be compared with fp16 and int8, not with 'fp32'"):
        diff_model(bundle, "idnet", "fp32", [{}])
    with pytest.raises(PrecisionError, match="Nobody was found in the pictures, so mgts has nothing to describe"):
        diff_model(bundle, "mgts", "fp16", [])
    with pytest.raises(PrecisionError, match="no goldens to run on; name pictures with --image"):
        read_samples(Bundle.open(make_tiny_bundle(tmp_path / "bare")), [])


def test_samples_are_what_each_network_takes(bundle: Bundle) -> None:
    samples = read_samples(bundle, [])
    assert set(samples) == set(MODELS)
    for name, runs in samples.items():
        for inputs in runs:
            check_arrays(name, bundle.model(name).inputs, inputs)


@pytest.mark.parametrize("program", ["mgts-trt", "export"])
def test_the_command(pristine: Path, tmp_path: Path, monkeypatch, capsys, program: str) -> None:
    if program == "export":
        from export.__main__ import app
        from mgts_trt.cli.run import run_app

        def main() -> None:
            run_app(app)
    else:
        from mgts_trt.cli.app import main
    root = Path(shutil.copytree(pristine, tmp_path / "b"))
    spoil(root, "idnet", scale_weight(node_of(root, "idnet", "Conv"), 1.1))
    told, drawn = tmp_path / "d.json", tmp_path / "d.png"
    words = ["diff", root, "--precision", "fp16", "--model", "idnet,detector", "--json", told]
    words += ["--plot", drawn] * (program == "mgts-trt")
    monkeypatch.setattr(sys, "argv", [program, *map(str, words)])
    if program == "mgts-trt":
        pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert "idnet, fp16 against fp32: first below 40 dB" in said
    assert "detector, fp16 against fp32: none below 40 dB; losing the most" in said
    assert "[I]" not in said
    idnet, detector = json.loads(told.read_text())
    assert (idnet["model"], detector["beyond"]) == ("idnet", [])
    assert idnet["beyond"][0] in [layer["tensor"] for layer in idnet["layers"]]
    assert drawn.exists() == (program == "mgts-trt")
