"""The wheel holds the product and nothing else, and runs outside the checkout with what it depends on."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from mgts_trt.pictures.image import read_image
from mgts_trt.version import __version__
from tests.helpers.paths import ROOT, SAMPLES, TRAINED

pytestmark = pytest.mark.slow

PHOTOS = ("0000.jpg", "0045.jpg")
WHERE = "240,63,80,168"
"""The man in the first one, who is in the second one, too."""

BASE_ONLY = '''"""Hides what the base install would not bring."""
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec


def find_known(name, path=None, target=None):
    return None if name.partition(".")[0] in {names!r} else find_spec(name, path, target)


PathFinder.find_spec = find_known
'''
EXTRAS = {
    "cuda", "fastapi", "fsspec", "httpx", "lancedb", "matplotlib", "multipart", "onnx", "onnxscript", "PIL",
    "prometheus_client", "pyarrow", "pycuda", "python_multipart", "ray", "safetensors", "scipy", "sklearn", "starlette",
    "tensorrt", "tensorrt_rtx", "torch", "torchvision", "uvicorn",
}  # fmt: skip
"""What the extras bring, by the names they are imported by."""


def run(*command: object, cwd: Path, code: int = 0) -> str:
    """What a command prints on stdout."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MGTS_BUNDLE")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout: by the hatchling that is installed, else by one that pip fetches."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--disable-pip-version-check", "-w", folder]
    command += ["--no-build-isolation"] * (importlib.util.find_spec("hatchling") is not None)
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode and "No matching distribution found for hatchling" in said and not os.environ.get("CI"):
        pytest.skip("needs hatchling to build the wheel: it is not installed, and pip cannot fetch it here")
    assert done.returncode == 0, said
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The `bin` of a new environment with the wheel in it, and a folder to work in, with a bundle and two photos.

    The environment sees the packages installed here, but for those of the extras; the checkout it does not see.
    """
    folder = tmp_path_factory.mktemp("outside")
    venv.create(folder / "venv", symlinks=True)
    binaries = folder / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", binaries / "python", "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "base_only.py").write_text(BASE_ONLY.format(names=EXTRAS))
    (packages / "packages_of_here.pth").write_text("\n".join([*here, "import base_only", ""]))

    work = folder / "work"
    (work / "photos").mkdir(parents=True)
    shutil.copytree(TRAINED, work / "bundle", ignore=shutil.ignore_patterns("plans", "parity"))
    for name in PHOTOS:
        shutil.copy(SAMPLES / "store_aisle" / name, work / "photos")
    return binaries, work


def test_it_holds_the_product_and_nothing_else(wheel: Path) -> None:
    wanted = {
        str(PurePosixPath(target, *path.relative_to(ROOT / source).parts))
        for source, target in (("mgts_trt", "mgts_trt"), ("engines", "mgts_trt/engines"))
        for path in (ROOT / source).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".md")
    }
    about = f"mgts_trt-{__version__}.dist-info/"
    with zipfile.ZipFile(wheel) as archive:
        held = {info.filename: info.file_size for info in archive.infolist()}
        commands = archive.read(f"{about}entry_points.txt").decode()
        metadata = archive.read(f"{about}METADATA").decode()
    assert {name for name in held if not name.startswith(about)} == wanted
    for file in (
        "py.typed", "engines/detector.toml", "engines/masknet.toml", "engines/mgts.toml", "engines/idnet.toml",
        "engines/kernels/fused_head.cu", "engines/kernels/portable.cuh", "service/api_page.css",
        "service/page/index.html", "service/page/app.js",
    ):  # fmt: skip
        assert f"mgts_trt/{file}" in held
    assert all(size for name, size in held.items() if not name.endswith("py.typed"))
    assert "mgts-trt = mgts_trt.cli.app:main" in commands
    assert "](" not in metadata, "what it says of itself links nothing: the documents are in the checkout"


def test_the_base_install_hides_all_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {"cuda-bindings": "cuda", "cuda-core": "cuda", "nvidia-cuda-nvrtc": "nvidia", "pillow": "PIL"}
    for extra, requirements in project["optional-dependencies"].items():
        for requirement in requirements if extra not in ("check", "dev") else ():
            package = requirement.partition(">")[0].partition("[")[0]
            if package != "mgts-trt":
                assert names.get(package, package.replace("-", "_")) in EXTRAS | {"nvidia"}, package


def test_python_runs_the_wheel_alone(outside: tuple[Path, Path]) -> None:
    binaries, work = outside
    says = "import mgts_trt, mgts_trt.bundle.recipe as r; print(mgts_trt.__file__, r.engines_folder(), sep='\\n')"
    for path in run(binaries / "python", "-c", says, cwd=work).splitlines():
        assert Path(path).is_relative_to(binaries.parent / "lib")
    run(binaries / "python", "-c", "import training", cwd=work, code=1)
    run(binaries / "python", "-c", "import torch", cwd=work, code=1)
    assert run(binaries / "mgts-trt", "--version", cwd=work).startswith(f"mgts-trt {__version__} ")


def test_doctor(outside: tuple[Path, Path]) -> None:
    binaries, work = outside
    shown = run(binaries / "mgts-trt", "doctor", cwd=work)
    assert "problem" not in shown
    assert "bundle is whole, and its models run: preset edge" in shown


def test_detect(outside: tuple[Path, Path]) -> None:
    binaries, work = outside
    run(binaries / "mgts-trt", "detect", "photos", "--out", "found", "--mode", "net", cwd=work)
    for name in PHOTOS:
        found = json.loads((work / "found" / f"{name}.json").read_text())
        assert len(found["people"]) >= 2
        assert len(found["people"][0]["embedding"]) == 128
        drawn, photo = read_image(work / "found" / f"{name}.people.jpg"), read_image(work / "photos" / name)
        assert drawn.shape == photo.shape


def test_bench(outside: tuple[Path, Path]) -> None:
    binaries, work = outside
    photo = f"photos/{PHOTOS[0]}"
    arguments = ["--image", photo, "--mode", "box", "--runs", 1, "--warmup", 0, "--json", "bench.json"]
    assert "reid" in run(binaries / "mgts-trt", "bench", *arguments, cwd=work)
    (mode,) = json.loads((work / "bench.json").read_text())["modes"]
    assert mode["mode"] == "box"
    assert mode["people"] >= 2


def test_search(outside: tuple[Path, Path]) -> None:
    binaries, work = outside
    query = f"photos/{PHOTOS[0]}@{WHERE}"
    written = ["--sheet", "sheet.jpg", "--json", "matches.json"]
    run(binaries / "mgts-trt", "search", "--query", query, "--gallery", "photos", *written, cwd=work)
    best = json.loads((work / "matches.json").read_text())["matches"][0]
    assert Path(best["source"]).name == PHOTOS[1]
    assert best["likeness"] > 0.7
    assert read_image(work / "sheet.jpg").size
