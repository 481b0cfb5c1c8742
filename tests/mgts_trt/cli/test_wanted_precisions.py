import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the converter writes ONNX")

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.cli.wanted_precisions import with_precisions
from mgts_trt.errors import MgtsError
from mgts_trt.machine import gpus
from mgts_trt.machine.gpus import Gpu
from mgts_trt.runtime.session.tuned import FASTEST, Setting, keep
from tests.helpers.paths import SAMPLES

GPU = Gpu("NVIDIA GeForce RTX 4090", (8, 9), 24 << 30, "580.65")


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bundle"))


def held(root: Path) -> list[str]:
    return list(Bundle.open(root).model("idnet").files)


def test_what_is_asked_for_is_made_and_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, precisions = with_precisions(Bundle.open(root), "fp16,fp32", None, False)
    assert precisions == ("fp16", "fp32")
    assert list(bundle.model("idnet").files) == held(root) == ["fp32", "fp16"]
    said = capsys.readouterr()
    assert f"Made fp16 of detector, masknet, mgts, idnet in {root}" in said.out
    assert "at parity on the goldens" in said.out
    with_precisions(bundle, "fp16", None, False)
    assert capsys.readouterr().out == ""


def test_int8_is_calibrated_or_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MgtsError, match="--calibration DIR"):
        with_precisions(Bundle.open(root), "int8", None, False)
    with_precisions(Bundle.open(root), "fp16,int8", SAMPLES / "store_aisle", True)
    assert held(root) == ["fp32", "fp16", "int8"]
    assert "Made int8" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["auto,fp16", "int4", ","])
def test_what_is_no_precision(root: Path, text: str) -> None:
    with pytest.raises(MgtsError, match=r"precision"):
        with_precisions(Bundle.open(root), text, None, False)


def test_auto_is_what_was_tuned_else_half(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MGTS_TRT_CACHE", str(tmp_path / "cache"))
    bundle = Bundle.open(root)
    keep(bundle, "box", FASTEST, Setting(backend="tensorrt", precision="fp32"))
    assert with_precisions(bundle, "auto", None, False)[1] == ("fp32",)
    assert "`mgts-trt tune` found the fastest in mode box" in capsys.readouterr().out
    keep(bundle, "box", FASTEST, Setting(backend="onnxruntime", precision="fp32"))
    assert with_precisions(bundle, "auto", None, False)[1] == ("fp16",)
    assert held(root) == ["fp32", "fp16"]
    assert "The precision auto is fp16" in capsys.readouterr().out


def test_without_a_word_half_is_made_for_a_gpu_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "find_gpus", list)
    assert with_precisions(Bundle.open(root), None, None, False)[1] is None
    assert held(root) == ["fp32"]
    monkeypatch.setattr(gpus, "find_gpus", lambda: [GPU])
    assert with_precisions(Bundle.open(root), None, None, False)[1] is None
    assert held(root) == ["fp32", "fp16"]


def test_without_a_word_what_cannot_be_made_is_a_note(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpus, "find_gpus", lambda: [GPU])
    (root / "signature.json").write_text("{}")
    with_precisions(Bundle.open(root), None, None, False)
    assert held(root) == ["fp32"]
    said = " ".join(capsys.readouterr().err.split())
    assert "Note: there are no plans in FP16" in said
    assert "is signed" in said


def test_build_makes_and_builds(run, root: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX")
    code, out, err = run("build", root, "--precision", "fp16", "--model", "idnet")
    assert code == 0, err
    assert "Made fp16" in out
    assert "1 of 1 plans built" in out
    code, out, _ = run("build", root, "--precision", "fp16", "--model", "idnet")
    assert (code, "Made" in out, "up to date" in out) == (0, False, True)
