import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from benchmarks.cpu_operators import CpuOperatorsReport, app, with_own_bodies
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.cpu_forms import with_cpu_forms
from mgts_trt.bundle.manifest import BundleFile, write_manifest
from mgts_trt.bundle.operators import DOMAIN, add_functions
from mgts_trt.cli.run import run_app
from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import make_tiny_bundle

PHOTO = ROOT / "docs" / "pictures" / "samples" / "17790319373_bd19b24cfc_k.jpg"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """The tiny bundle, its detector with an NMS that removes none of its boxes, which lie side by side."""
    made = Bundle.open(make_tiny_bundle(tmp_path / "bundle"))
    path = made.root / "detector.fp32.onnx"
    model = onnx.load(path)
    model.opset_import[0].version = 20  # the functions', without which onnx does not inline them
    graph = model.graph
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name == "scores":
                node.output[i] = "all_scores"
    graph.node.extend(
        [
            helper.make_node("Nms", ["boxes"], ["keep"], domain=DOMAIN, threshold=0.5),
            helper.make_node("Mul", ["all_scores", "keep"], ["scores"]),
        ]
    )
    add_functions(model)
    onnx.save(model, path)
    entry = made.model("detector")
    changed = entry.model_copy(update={"files": {"fp32": BundleFile.of(made.root, path.name)}})
    write_manifest(
        made.root, made.manifest.model_copy(update={"models": {**made.manifest.models, "detector": changed}})
    )
    return Bundle.open(made.root)


def cpu_operators(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cpu_operators", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    return int(exit_.value.code or 0)


def test_command(monkeypatch, capsys, bundle: Bundle, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    arguments = ("--bundle", bundle.root, "--image", PHOTO, "--rounds", 3, "--threads", 1, "--json", report_file)
    assert cpu_operators(monkeypatch, *arguments) == 0
    report = CpuOperatorsReport.model_validate_json(report_file.read_text())
    assert [(gain.what, gain.operators) for gain in report.gains] == [(w, ["Nms"]) for w in ("detector", "box", "net")]
    for gain in report.gains:
        low, high = gain.ratio_quartiles
        assert 0 < low <= gain.ratio <= high
        assert gain.cpu_ratio > 0
        assert gain.difference == 0
    assert "detector" in capsys.readouterr().out


def test_the_other_side_runs_the_files_own_bodies(bundle: Bundle, tmp_path: Path) -> None:
    inlined, replaced = with_own_bodies(bundle, tmp_path / "inlined")
    assert replaced == {"detector": ["Nms"]}
    path = inlined.model_path("detector", "fp32")
    assert with_cpu_forms(path) is None
    assert {node.op_type for node in onnx.load(path).graph.node} >= {"Relu", "MatMul"}


def test_a_bundle_without_operators_is_refused(monkeypatch, capsys, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    assert cpu_operators(monkeypatch, "--bundle", bundle, "--image", PHOTO) == 2
    assert "holds an operator" in capsys.readouterr().err
