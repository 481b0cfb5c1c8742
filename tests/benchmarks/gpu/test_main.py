import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.parts.pipeline import DEPTHS
from benchmarks.gpu.report import Report
from mgts_trt.cli.run import run_app
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.plans.lowering import RUNNABLE
from tests.helpers.tiny_bundle import CANVAS, make_tiny_bundle

pytest.importorskip("matplotlib")
pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", ("fp32", "fp16"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two pictures with people in them, and a broken one."""
    folder = tmp_path_factory.mktemp("photos")
    for name, columns in (("a", (0, 48)), ("b", (16, 80))):
        image = np.full((*CANVAS, 3), 90, np.uint8)
        for i, x in enumerate(columns):
            image[32 * i : 32 * i + 32, x : x + 16] = 255 - 10 * i
        cv2.imwrite(str(folder / f"{name}.png"), image)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    return folder


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command here; returns (exit code, standard output, standard error)."""

    def _run(*arguments: object) -> tuple[int, str, str]:
        words = ["benchmarks.gpu", *map(str, arguments), "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as exit_:
            run_app(command.app)
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, " ".join(captured.err.split())

    return _run


def test_all_that_can_run_on_a_cpu(run, bundle, photos, tmp_path) -> None:
    code, out, _ = run(
        bundle, "--backend", "onnxruntime", "--quick", "--baseline", "no", "--image", photos / "a.png", "--people", 2,
        "--pictures", photos, "--images", 20, "--batch", "1,2",
    )  # fmt: skip
    assert code == 0
    assert "Written to" in out
    (json_file,) = (tmp_path / "out").glob("*.json")
    assert json_file.stem == "gpu_tiny_cpu"
    report = Report.model_validate_json(json_file.read_text())
    assert report.left_out.keys() == {"plans", "kernels", "operators", str(photos / "broken.png")}
    assert {(group.what, group.precision) for group in report.pipeline} == {
        (mode, precision) for mode in ("none", "net", "box") for precision in ("fp32", "fp16")
    }
    for group in (*report.pipeline, *report.networks):
        for side in group.sides:
            assert side.error is None
            assert side.latency is not None
            assert side.latency.runs == 6
    for group in report.pipeline:
        assert group.sides[0].stages.keys() >= {"letterbox", "detector", "separate", "reid"}
        assert group.sides[0].images_per_second.keys() == set(DEPTHS)
        assert not group.sides[0].notes
        assert group.sides[0].at_once.keys() == {1, 2}
    assert len(report.networks) == 8
    assert {(row.model, row.precision) for row in report.roofline} == {(g.what, g.precision) for g in report.networks}
    assert all(row.over_floor > 0 for row in report.roofline)
    assert report.ceilings is not None
    assert {(row.mode, row.precision, row.passed) for row in report.parity} == {
        (group.what, group.precision, True) for group in report.pipeline
    }
    assert all(row.people == 4 and row.pictures == 2 for row in report.parity)
    assert report.soak[0].images == 20
    assert report.soak[0].memory[-1].images == 20
    assert (tmp_path / "out" / "gpu_tiny_cpu.md").read_text().startswith("# tiny on the CPU")
    assert cv2.imread(str(tmp_path / "out" / "gpu_tiny_cpu.png")) is not None


def test_one_part_alone_beside_what_pytorch_cannot_do(run, bundle, photos, tmp_path) -> None:
    code, out, _ = run(
        bundle, "networks", "--backend", "onnxruntime", "--quick", "--mode", "none", "--precision", "fp32",
        "--baseline", "eager,ort-cuda", "--image", photos / "a.png",
    )  # fmt: skip
    assert code == 0
    report = json.loads((tmp_path / "out" / "gpu_tiny_cpu_networks.json").read_text())
    assert [group["what"] for group in report["networks"]] == ["detector", "idnet"]
    assert not report["pipeline"]
    # The tiny bundle is of no preset, and this ONNX Runtime is the CPU's.
    assert "There is no preset 'tiny'" in report["left_out"]["PyTorch eager, fp32, CPU, detector"]
    assert any("CUDA provider" in why for why in report["left_out"].values())
    assert "## Left out" in out


def test_parity_that_fails_ends_with_1(run, bundle, photos, monkeypatch) -> None:
    from benchmarks.gpu.parts import parity

    def swapped(job, mode, precision, form=None):
        search = parity.PersonSearch(job.bundle, mode=mode, backend="onnxruntime", precision=precision)
        # Upside down, people are elsewhere.
        return Turned(search)

    class Turned:
        def __init__(self, search) -> None:
            self.search = search

        def __enter__(self):
            return lambda picture, top: self.search(np.ascontiguousarray(picture[::-1]), top=top)

        def __exit__(self, *exception: object) -> None:
            self.search.close()

    monkeypatch.setattr(parity, "open_pipeline", swapped)
    code, _, err = run(
        bundle, "parity", "--backend", "onnxruntime", "--quick", "--mode", "box", "--precision", "fp32",
        "--image", photos / "a.png", "--people", 2, "--pictures", photos,
    )  # fmt: skip
    assert code == 1
    assert "box, fp32: 0.0% of boxes" in err


def test_a_dry_run_measures_nothing(run, bundle, photos, tmp_path) -> None:
    code, out, _ = run(bundle, "--dry-run", "--image", photos / "a.png", "--pictures", photos)
    assert code == 0
    for part in command.PARTS:
        assert f"\n{part}\n" in f"\n{out}"
    assert "mgts in fp16, portable, operators as graph: build if missing, load, run" in out
    sides = (f"TensorRT, {how}, operators as {ops}" for ops in RUNNABLE for how in ("launches", "CUDA graphs"))
    assert f"mode net in fp16: {'; '.join(sides)}" in out
    assert "; 1, 4, 8 pictures at once" in out
    assert "detector in fp16, portable, operators as graph, up to 8 pictures: build if missing, load, run" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "There is no part 'speed'; the parts are floors, plans"),
        (["--dry-run", "--precision", "int8"], "holds fp16, fp32, not 'int8'"),
        (["--dry-run", "--baseline", "jax"], "no baseline 'jax'; there are eager"),
        (["--dry-run", "--mode", "mask"], "no mode 'mask'"),
        (["--dry-run", "--batch", "4,many"], "--batch is '4,many', but numbers from 1 to 64"),
    ],
)
def test_what_cannot_be_asked_for(run, bundle, arguments, message) -> None:
    code, _, err = run(bundle, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_without_a_gpu_it_says_so(run, bundle, monkeypatch) -> None:
    monkeypatch.setattr(command, "find_gpus", list)
    code, _, err = run(bundle)
    assert code == 2
    assert "There is no NVIDIA GPU here with a working driver" in err
    assert "--dry-run" in err


def test_a_plan_is_tried_as_far_as_it_comes(bundle) -> None:
    pytest.importorskip("tensorrt_rtx")
    from benchmarks.gpu.parts.try_plan import try_plan
    from mgts_trt.bundle.bundle import Bundle

    trial = try_plan(Bundle.open(bundle), "idnet", "fp32", "portable", "graph", 1, 2)
    assert trial.milliseconds["build"] > 0
    if find_gpus():
        assert trial.reached == "ran" or trial.message
    else:
        assert trial.reached == "built"
        assert trial.message
    current = try_plan(Bundle.open(bundle), "idnet", "fp32", "current", "graph", 1, 2)
    assert find_gpus() or ("no NVIDIA GPU" in current.message and current.reached == "nothing")


@pytest.mark.gpu
def test_on_a_gpu(run, bundle, photos, tmp_path) -> None:
    code, _, _ = run(
        bundle, "--quick", "--baseline", "no", "--image", photos / "a.png", "--people", 2, "--pictures", photos
    )
    (json_file,) = (tmp_path / "out").glob("*.json")
    report = Report.model_validate_json(json_file.read_text())
    assert report.plans
    assert len(report.kernels) >= 6
    assert report.environment.gpu
    # Where TensorRT refuses this GPU, the report says so in its words, and the rest has been measured.
    usual = [trial for trial in report.plans if (trial.lowering, trial.target) == ("graph", "portable")]
    if all(trial.reached == "ran" for trial in usual):
        assert code == 0
        assert all(group.sides for group in report.pipeline)
        assert report.soak[0].flat is not False
    else:
        assert any(trial.message for trial in report.plans)
