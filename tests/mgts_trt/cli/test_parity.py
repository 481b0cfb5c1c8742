"""`mgts-trt parity` with labelled pictures."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.evaluation.labelled import LabelledSet
from mgts_trt.machine.cache import VARIABLE
from mgts_trt.pictures.image import read_image
from tests.helpers.fake_tensorrt import write_plan
from tests.helpers.goldens import add_golden
from tests.helpers.headed_mgts import put_headed_mgts
from tests.helpers.labelled_sets import add_labelled, alter, make_labelled_set, run_tiny
from tests.helpers.simulated_machine import TARGET, simulated_gpu
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    root = make_tiny_bundle(tmp_path_factory.mktemp("parity") / "b", ("fp32", "fp16"))
    add_golden(root)
    add_labelled(root)
    return root


@pytest.fixture
def parity(monkeypatch, capsys):
    """Run `mgts-trt parity`; returns (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from mgts_trt.cli.app import main

        monkeypatch.setattr(sys, "argv", ["mgts-trt", "parity", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, " ".join(captured.err.split())

    return run


def test_both_levels_in_one_table(parity, pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "b"))
    code, out, _ = parity(root, "--json", tmp_path / "p.json", "--picture", tmp_path / "p.png", "--record")
    assert code == 0, out
    assert "mode net" in out
    assert "detector" in out
    assert "PyTorch" in out
    assert "…" not in out, "the table fits 80 columns"
    report = json.loads((tmp_path / "p.json").read_text())
    assert report["ok"]
    assert report["task"]["people"] == 6
    assert {row["precision"] for row in report["task"]["comparisons"]} == {"fp32", "fp16"}
    assert read_image(tmp_path / "p.png").ndim == 3
    recorded = json.loads((root / "parity" / "fp16.onnxruntime.json").read_text())
    assert {row["precision"] for row in recorded["comparisons"] + recorded["task"]["comparisons"]} == {"fp16"}
    assert recorded["manifest_sha256"] == report["manifest_sha256"]
    Bundle.open(root)


def test_a_loss_on_the_task_fails(parity, pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "b"))
    run = run_tiny(root, LabelledSet.open(root / "labelled"))
    add_labelled(root, alter(run, "box", truths=lambda a: a * np.float32(0.9)))
    code, out, err = parity(root, "--json", tmp_path / "p.json")
    assert code == 1
    assert "FAILED" in out
    assert "4 of" in err, "least and mean cosine, in each precision; re-ID mAP is higher, which is no fault"
    assert not json.loads((tmp_path / "p.json").read_text())["ok"]
    code, out, _ = parity(root, "--no-task")
    assert code == 0
    assert "mode net" not in out
    code, _, _ = parity(root, "--mode", "none,net")
    assert code == 0


def test_a_set_of_ones_own_without_identities(parity, pristine: Path, tmp_path: Path) -> None:
    folder = make_labelled_set(tmp_path / "own")
    data = json.loads((folder / "labels.json").read_text())
    for picture in data["pictures"]:
        picture["identities"] = [None, None]
    (folder / "labels.json").write_text(json.dumps(data))
    code, out, err = parity(pristine, "--labelled", folder)
    assert code == 0
    assert "FP32 on ONNX Runtime" in " ".join(out.split())
    assert "retrieval was not measured" in err
    assert "search mAP" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labelled", "/nowhere"), "not a labelled set"),
        (("--no-task", "--picture", "p.png"), "--labelled"),
        (("--mode", "all,none"), "no mode"),
        (("--precision", "int8"), "not in int8"),
    ],
)
def test_errors(parity, pristine: Path, arguments, message: str) -> None:
    code, _, err = parity(pristine, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("ops", ["graph", "kernel"])
def test_plans_of_the_lowering_that_is_asked_for(parity, tmp_path: Path, monkeypatch, ops: str) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    root = make_tiny_bundle(tmp_path / "b")
    bundle = put_headed_mgts(Bundle.open(root), "fp32")
    add_golden(root)
    module, flavour = simulated_gpu(monkeypatch)
    launched, launch = [], module.device.launch
    monkeypatch.setattr(module.device, "launch", lambda each, on: (launched.append(each.kernel), launch(each, on)))
    for model in bundle.manifest.models:
        write_plan(bundle, model, flavour, TARGET, lowering=ops)
    code, out, _ = parity(root, "--backend", "tensorrt", "--ops", ops)
    assert code == 0, out
    assert "on tensorrt" in out
    heads = [name for name in launched if name.startswith("se_head")]
    assert bool(heads) == (ops == "kernel")
    other = {"graph": "kernel", "kernel": "graph"}[ops]
    code, _, said = parity(root, "--backend", "tensorrt", "--ops", other)
    assert code == 2
    assert f"--ops {other}" in said
