import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.evaluation.bench import BenchReport
from mgts_trt.version import __version__
from tests.helpers.goldens import add_golden
from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    add_golden(root)
    return root


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    image = np.full((128, 192, 3), 90, np.uint8)
    image[:64, 32:64] = 255
    path = tmp_path_factory.mktemp("photo") / "one.png"
    cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line in this process; returns (exit code, standard output, standard error)."""

    def _run(*arguments: object) -> tuple[int, str, str]:
        from mgts_trt.cli.app import main

        monkeypatch.setattr(sys, "argv", ["mgts-trt", *(str(argument) for argument in arguments)])
        monkeypatch.delenv("MGTS_BUNDLE", raising=False)
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, " ".join(captured.err.split())

    return _run


def test_version(run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert __version__ in out


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


def test_detect_a_folder_with_a_broken_picture(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(photo, folder / "a.png")
    shutil.copy(photo, folder / "sub" / "b.PNG")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    code, out, err = run("detect", folder, "-b", pristine, "-o", tmp_path / "out", "--mode", "net")
    assert code == 0
    assert "2 people in 2 of 3 pictures" in " ".join(out.split())
    assert "broken.jpg" in err
    found = json.loads((tmp_path / "out" / "sub" / "b.PNG.json").read_text())
    assert found["people"][0]["box"] == pytest.approx([32, 0, 64, 64])
    assert found["people"][0]["mask"] == "instance"
    assert len(found["people"][0]["embedding"]) == 128
    assert cv2.imread(str(tmp_path / "out" / "a.png.people.jpg")).shape == (128, 192, 3)

    code, _, _ = run(
        "detect", folder, "-b", pristine, "-o", tmp_path / "out2", "--strict", "--no-draw", "--no-embeddings"
    )
    assert code == 1
    assert not list((tmp_path / "out2").rglob("*.jpg"))
    assert "embedding" not in json.loads((tmp_path / "out2" / "a.png.json").read_text())["people"][0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "x.jpg"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_text("hello, I am text"), "x.jpg"),
        (lambda p: p.mkdir(), "No pictures in"),
    ],
)
def test_detect_of_what_is_no_picture(run, pristine: Path, tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "x.jpg")
    code, _, err = run("detect", tmp_path / "x.jpg", "-b", pristine, "-o", tmp_path / "out")
    assert code == 2
    assert message in err
    assert not list(tmp_path.glob("out/*.json"))


def test_build_twice(run, pristine: Path, tmp_path: Path) -> None:
    from mgts_trt.plans.flavour import find_flavour

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
    monkeypatch.setattr("mgts_trt.plans.flavour.find_flavour", lambda *_: None)
    code, _, err = run("build", pristine)
    assert code == 2
    assert "pip install 'mgts-trt[rtx]'" in err


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
