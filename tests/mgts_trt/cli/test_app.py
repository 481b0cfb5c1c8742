import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from mgts_trt.evaluation.bench import BenchReport
from mgts_trt.version import __version__
from tests.helpers.paths import ROOT


def test_version(run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert __version__ in out


def _commands() -> list[list[str]]:
    from typer.main import get_command

    from mgts_trt.cli.app import app

    words: list[list[str]] = [[]]
    for name, command in get_command(app).commands.items():
        words += [[name], *([name, below] for below in getattr(command, "commands", ()))]
    return words


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_help(run, words: list[str]) -> None:
    from tests.helpers.command_lines import fault

    code, out, _ = run(*words, "-h")
    assert code == 0
    assert "<bool>" not in out
    for example in re.findall(r"Example: (mgts-trt .*(?:\n .*)*?)\n\s*\n", out):
        assert fault(example.split()) is None
    if words and not {"gallery", "bundle", "plugins", "keys"} & set(words):
        assert f"Example: mgts-trt {words[0]} " in out


def test_the_bundle_is_named_alike(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    """By --bundle where it is a tool, as the first argument where it is the object."""
    for tool in ("detect", "search", "index", "serve"):
        assert "--bundle" in run(tool, "--help")[1]
    for about in ("bench", "parity", "doctor", "build"):
        assert "--bundle" not in run(about, "--help")[1]
    code, _, err = run("index", pristine, photo, "-g", tmp_path / "g")
    assert code == 2
    assert f"--bundle {pristine}" in err


def test_no_command_shows_help(run) -> None:
    _, out, err = run()
    assert "bench" in out + err


def test_bench(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    code, out, err = run(
        "bench", pristine, "--image", photo, "--runs", 2, "--warmup", 1,
        "--json", tmp_path / "r.json", "--plot", tmp_path / "p.png", "--picture", tmp_path / "a.png",
    )  # fmt: skip
    assert code == 0, err
    assert "Tesla K80" in out
    assert "1270 ms" in out
    assert "weights are untrained" in err
    report = BenchReport.model_validate_json((tmp_path / "r.json").read_text())
    assert [result.mode for result in report.modes] == ["none", "net", "box"]
    assert all(result.people == 1 for result in report.modes)
    assert "masknet" in report.modes[1].stages
    assert report.modes[1].images_per_second == pytest.approx(1e3 / report.modes[1].stages["total"].mean)
    assert cv2.imread(str(tmp_path / "p.png")) is not None
    assert cv2.imread(str(tmp_path / "a.png")).shape == (128, 192, 3)


def test_bench_of_one_mode(run, pristine: Path, photo: Path) -> None:
    code, out, _ = run("bench", pristine, "--image", photo, "--runs", 1, "--mode", "box", "--people", 1)
    assert code == 0
    assert "1 person" in out
    assert "690 ms" in out
    assert "masknet" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mode", "mask"), "no mode 'mask'"),
        (("--image", "/nowhere.jpg"), "nowhere.jpg"),
        (("--precision", "int8"), "not in int8"),
        (("--backend", "tensorrt"), "cannot run here"),
        (("--json", "/nowhere/r.json"), "Cannot write"),
        (("--picture", "/nowhere/a.png"), "/nowhere"),
    ],
)
def test_bench_errors_are_one_paragraph(run, pristine: Path, photo: Path, arguments, message: str) -> None:
    code, _, err = run("bench", pristine, "--image", photo, "--runs", 1, "--warmup", 0, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch, pristine: Path) -> None:
    from mgts_trt.cli.app import main
    from mgts_trt.errors import ImageError

    monkeypatch.setattr(sys, "argv", ["mgts-trt", "bench", str(pristine), "--image", "/nowhere.jpg", "--debug"])
    with pytest.raises(ImageError):
        main()


def test_parity_passes_and_fails(run, pristine: Path, tmp_path: Path) -> None:
    code, out, _ = run("parity", pristine, "--json", tmp_path / "p.json")
    assert code == 0
    assert "within tolerance" in out
    assert all(row["ok"] for row in json.loads((tmp_path / "p.json").read_text())["comparisons"])

    wrong = Path(shutil.copytree(pristine, tmp_path / "wrong"))
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.evaluation.golden import load_goldens
    from tests.helpers.goldens import write_golden

    case = load_goldens(Bundle.open(wrong))[0]
    write_golden(wrong, case.canvas, {**case.outputs, "mgts.box": -case.outputs["mgts.box"]})
    code, out, err = run("parity", wrong)
    assert code == 1
    assert "FAILED" in out
    assert "out of tolerance" in err


def test_build_twice(run, pristine: Path, tmp_path: Path) -> None:
    from mgts_trt.plans.installed import find_flavour

    if find_flavour() is None:
        pytest.skip("TensorRT is not installed")
    folder = Path(shutil.copytree(pristine, tmp_path / "b"))
    code, out, err = run("build", folder)
    assert code == 0, err
    assert "4 of 4 plans built" in out
    assert len(list((folder / "plans").glob("*/plan.json"))) == 4
    code, out, _ = run("build", folder)
    assert code == 0
    assert "Nothing to do: all 4 plans are up to date" in out
    code, _, err = run("build", folder, "--target", "sm_1")
    assert code == 2
    assert "sm_1" in err
    code, _, err = run("build", folder, "--model", "vgg")
    assert code == 2
    assert "vgg" in err


def test_build_without_tensorrt_says_what_to_install(run, pristine: Path, monkeypatch) -> None:
    monkeypatch.setattr("mgts_trt.plans.installed._load", lambda name: "No module")
    code, _, err = run("build", pristine)
    assert code == 2
    assert "pip install 'mgts-trt[rtx]'" in err


def test_the_flavour_that_is_asked_for_and_missing(run, pristine: Path, monkeypatch) -> None:
    monkeypatch.setattr("mgts_trt.plans.installed._load", lambda name: "No module")
    monkeypatch.setattr("mgts_trt.plans.installed.importlib.util.find_spec", lambda name: None)
    monkeypatch.delenv("MGTS_TRT_FLAVOUR", raising=False)
    code, _, err = run("build", pristine, "--flavour", "tensorrt")
    assert code == 2
    assert "TensorRT is asked for (MGTS_TRT_FLAVOUR, --flavour)" in " ".join(err.split())
    assert "MGTS_TRT_FLAVOUR" not in os.environ
    code, _, err = run("build", pristine, "--flavour", "tensorflow")
    assert code == 2
    assert "tensorrt_rtx" in err


def test_inspect(run, pristine: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    code, out, _ = run("inspect", pristine / "idnet.fp32.onnx", "--layers", 1)
    assert code == 0
    assert "Most work" in out
    for path, kind in ((pristine, "bundle"), (pristine / "idnet.fp32.onnx", "onnx")):
        code, out, _ = run("inspect", path, "--json", "-")
        assert code == 0
        assert json.loads(out)["kind"] == kind
    code, _, err = run("inspect", tmp_path)
    assert code == 2
    assert "is none of these" in err


def test_doctor(run, pristine: Path, tmp_path: Path) -> None:
    code, out, _ = run("doctor", pristine)
    assert code == 0
    assert "ONNX Runtime" in out
    folder = Path(shutil.copytree(pristine, tmp_path / "b"))
    (folder / "mgts.fp32.onnx").write_bytes(b"")
    code, out, _ = run("doctor", folder)
    assert code == 1


def test_an_altered_bundle(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pristine, tmp_path / "b"))
    data = bytearray((folder / "detector.fp32.onnx").read_bytes())
    data[100] ^= 255
    (folder / "detector.fp32.onnx").write_bytes(data)
    for command in (["bench", folder, "--image", photo], ["parity", folder], ["build", folder]):
        code, _, err = run(*command)
        assert code == 2
        assert "detector.fp32.onnx is altered" in err


def in_fresh_python(code: str, **environment: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


def test_the_package_never_imports_torch() -> None:
    walk = (
        "import sys, pkgutil, importlib, mgts_trt\n"
        "sys.modules['torch'] = None\n"
        "for m in pkgutil.walk_packages(mgts_trt.__path__, 'mgts_trt.'): importlib.import_module(m.name)\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torchvision', 'training', 'export')))"
    )
    assert in_fresh_python(walk).strip() == "[]"


def test_importing_loads_nothing_heavy() -> None:
    heavy = "('cv2', 'numpy', 'onnxruntime', 'onnx', 'tensorrt_rtx', 'pydantic', 'typer', 'matplotlib')"
    loaded = in_fresh_python(f"import sys, mgts_trt; print([m for m in {heavy} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_help_loads_nothing_heavy() -> None:
    heavy = "('cv2', 'numpy', 'onnxruntime', 'onnx', 'matplotlib', 'lancedb', 'rich.progress')"
    for words in (["--help"], ["--version"], ["detect", "--help"]):
        asked = f"from mgts_trt.cli.app import app; app({words}, standalone_mode=False)"
        loaded = in_fresh_python(f"import sys; {asked}; print([m for m in {heavy} if m in sys.modules])")
        assert loaded.splitlines()[-1] == "[]"


def test_the_public_names() -> None:
    import mgts_trt

    assert mgts_trt.PersonSearch.__module__ == "mgts_trt.runtime.pipeline"
    assert {getattr(mgts_trt, name) for name in mgts_trt.__all__}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = mgts_trt.Nothing
