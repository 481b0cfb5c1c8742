import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.paths import ROOT

pytest.importorskip("torch", reason="the bundle to convert is exported from PyTorch")

from mgts_trt import PersonSearch
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.sensitivity import parse_models
from mgts_trt.errors import BundleError, PrecisionError
from mgts_trt.evaluation.parity import compare_bundle
from mgts_trt.pictures.image import read_image
from mgts_trt.precisions.convert import Conversion, convert_bundle
from mgts_trt.precisions.sensitivity import group, patterns, study
from mgts_trt.runtime.session.backends import Runtime

CPU = Runtime("onnxruntime", "CPU", "asked for")
QUIET = {"on_step": lambda *_: None, "on_note": lambda _: None}


@pytest.fixture(scope="module")
def converted(
    bundle: Bundle, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, list[str]]:
    """All precisions, calibrated on a readable and a broken picture; and what was said."""
    folder, notes = tmp_path_factory.mktemp("converted"), []
    broken = folder / "broken.jpg"
    broken.write_bytes(b"no picture")
    job = Conversion(bundle, folder / "bundle", ("fp32", "fp16", "int8"), [pictures[0], broken], on_note=notes.append)
    return convert_bundle(job), notes


def test_a_converted_bundle_has_the_networks_and_goldens_of_the_old_one(bundle: Bundle, converted, pictures) -> None:
    new, notes = converted
    assert new.manifest.golden == bundle.manifest.golden
    for name, model in new.manifest.models.items():
        assert list(model.files) == ["fp32", "fp16", "int8"]
        assert model.files["fp32"] == bundle.manifest.models[name].files["fp32"]
    assert all(row.ok for row in compare_bundle(new, CPU, precisions=("fp32", "fp16")))
    assert list(new.manifest.calibration.pictures) == ["landscape.png"]
    with PersonSearch(new, mode="box", precision="int8") as search:
        found = search(read_image(pictures[0]), top=3).embeddings
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-3)
    assert len(notes) == 2, notes
    assert "1 of 2 calibration pictures cannot be read" in notes[0]
    assert "broken.jpg" in notes[0]
    assert "calibrated on 1 picture:" in notes[1]


def test_in_place_and_back(bundle: Bundle, converted, tmp_path: Path) -> None:
    new = Bundle.open(Path(shutil.copytree(converted[0].root, tmp_path / "bundle")))
    with pytest.raises(BundleError, match="already"):
        convert_bundle(Conversion(new, new.root, ("fp32",)))
    again = convert_bundle(Conversion(Bundle.open(new.root), new.root, ("fp32",), force=True))
    assert {path.name for path in again.root.glob("*.onnx")} == {f"{name}.fp32.onnx" for name in again.manifest.models}
    assert again.manifest.models == bundle.manifest.models
    assert again.manifest.calibration is None


@pytest.mark.parametrize(
    ("precisions", "calibration", "message"),
    [
        (("int8",), [], "INT8 takes its scales from real pictures, and there are none"),
        (("int8",), ["broken.jpg"], "None of the 1 calibration pictures can be read"),
        (("int4",), [], "no precision int4"),
        ((), [], "no precision named"),
    ],
)
def test_what_cannot_be_converted(bundle: Bundle, tmp_path: Path, precisions, calibration, message: str) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(PrecisionError, match=message):
        convert_bundle(Conversion(bundle, tmp_path / "out", precisions, [tmp_path / name for name in calibration]))
    assert not (tmp_path / "out").exists()


def test_the_commands_need_no_pytorch(bundle: Bundle, pictures: list[Path], tmp_path: Path) -> None:
    block = "import sys; sys.modules['torch'] = None; from mgts_trt.cli.app import main; main()"
    command = [sys.executable, "-c", block, "convert", str(bundle.root), "--out", str(tmp_path / "half")]
    done = subprocess.run([*command, "--precision", "fp16"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mgts-trt parity" in done.stdout
    assert {path.name for path in (tmp_path / "half").glob("*.onnx")} == {
        f"{name}.fp16.onnx" for name in bundle.manifest.models
    }
    with pytest.raises(BundleError, match="not in fp32"):  # which is what lower precisions are made from
        convert_bundle(Conversion(Bundle.open(tmp_path / "half"), tmp_path / "more", ("fp16",)))


def test_a_study_of_sensitivity(bundle: Bundle, pictures: list[Path], tmp_path: Path) -> None:
    found = study(bundle, "idnet", pictures, by="block", **QUIET)
    assert len(found.whole) == 6
    assert all(row.share > 0.99 for row in found.whole)
    assert {row.what for row in found.single} == set(group(found.whole[0].layers, "block"))
    assert sum(row.share for row in found.single) == pytest.approx(found.whole[0].share)
    assert [row.agreement for row in found.single] == sorted(row.agreement for row in found.single)
    assert all(0.5 < row.agreement <= 1.00001 for row in (*found.whole, *found.single, *found.mixed))
    assert all(row.share < found.whole[0].share for row in found.mixed)
    advice = tomllib.loads(found.advice.replace(", residuals", "\nresiduals").replace(", keep", "\nkeep"))
    assert set(advice) == {"calibration", "residuals", "keep"}
    assert json.loads(json.dumps(found.to_dict()))["model"] == "idnet"


def test_what_cannot_be_studied(bundle: Bundle, pictures: list[Path]) -> None:
    with pytest.raises(PrecisionError, match="two pictures or more, got 1"):
        study(bundle, "idnet", pictures[:1], by="layer", **QUIET)
    with pytest.raises(PrecisionError, match="not one 'stage'"):
        study(bundle, "idnet", pictures, by="stage", **QUIET)
    with pytest.raises(BundleError, match="no model 'vgg'"):
        parse_models("idnet,vgg", bundle)


def test_blocks_and_their_patterns() -> None:
    blocks = {
        "net.stem": ["net.stem.0"],
        "net.stages.0.0": ["net.stages.0.0.layers.0.0", "net.stages.0.0.layers.1.0"],
        "net.last": ["net.last.0.0"],
        "layer1.0": ["layer1.0.conv1", "layer1.0.downsample.0"],
        "rpn": ["rpn.conv", "rpn.deltas"],
        "features.0": ["features.0"],
        "fc6": ["fc6"],
    }
    layers = [layer for members in blocks.values() for layer in members]
    assert group(layers, "block") == blocks
    assert group(layers, "layer") == {layer: [layer] for layer in layers}
    assert patterns([*layers[1:3], "net.stem.0", "rpn.conv", "rpn.deltas"], layers) == [
        "net.stages.0.0.*", "net.stem.0", "rpn.*",
    ]  # fmt: skip
    assert patterns(["rpn.conv"], layers) == ["rpn.conv"]
