"""The wheels hold the product and a bundle and nothing else, and run outside the checkout with what they depend on."""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from mgts_trt.bundle.default import WHEEL
from mgts_trt.bundle.manifest import read_manifest
from mgts_trt.pictures.image import read_image
from mgts_trt.version import __version__
from tests.helpers.paths import ROOT, SAMPLES, TRAINED

pytestmark = pytest.mark.slow

PHOTOS = ("0000.jpg", "0045.jpg")
WHERE = "240,63,320,231"
"""The man in the first one, who is in the second one, too."""

BASE_ONLY = '''"""Hides what the base install would not bring, but for what $SHOWN names."""
import os
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec


def find_known(name, path=None, target=None):
    hidden = {names!r} - set(os.environ.get("SHOWN", "").split())
    return None if name.partition(".")[0] in hidden else find_spec(name, path, target)


PathFinder.find_spec = find_known
'''
EXTRAS = {
    "anyio", "av", "cryptography", "cuda", "fastapi", "fsspec", "httpx", "lancedb", "matplotlib", "multipart", "onnx",
    "onnxscript", "opentelemetry", "paho", "PIL", "polygraphy", "prometheus_client", "pyarrow", "pycuda",
    "python_multipart", "ray", "safetensors", "scipy", "sklearn", "starlette", "tensorrt", "tensorrt_rtx", "torch",
    "torchvision", "trackers", "trackeval", "uvicorn", "PyNvVideoCodec",
}  # fmt: skip
"""What the extras bring, by the names they are imported by."""
OPTIONAL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def run(*command: object, cwd: Path, code: int = 0, extra: str = "") -> str:
    """What a command prints on stdout, with the packages of one of the extras."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MGTS_BUNDLE")}
    environment["SHOWN"] = " ".join(requirement.partition(">")[0] for requirement in OPTIONAL.get(extra, ()))
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `make dist` builds: by the hatchling that is installed, else by one that pip fetches."""
    folder = tmp_path_factory.mktemp("wheels")
    (recipe,) = run("make", "--no-print-directory", "--dry-run", "dist", f"DIST={folder}", cwd=ROOT).splitlines()
    python, *command = shlex.split(recipe)
    assert Path(python).name == "python"
    command += ["--no-build-isolation"] * (importlib.util.find_spec("hatchling") is not None)
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode and "No matching distribution found for hatchling" in said and not os.environ.get("CI"):
        pytest.skip("needs hatchling to build the wheels: it is not installed, and pip cannot fetch it here")
    assert done.returncode == 0, said
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {"mgts_trt", "mgts_trt_edge"}
    return folder


@pytest.fixture(scope="module")
def wheel(wheels: Path) -> Path:
    """The product's."""
    return wheels / f"mgts_trt-{__version__}-py3-none-any.whl"


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
        "engines/kernels/se_head.cu", "engines/kernels/portable.cuh", "engines/plugins/plugin.cpp",
        "engines/plugins/plugin.h", "engines/plugins/cuda/cuda_runtime_api.h", "engines/operators/Nms.txt",
        "service/api_page.css", "service/page/index.html", "service/page/app.js",
    ):  # fmt: skip
        assert f"mgts_trt/{file}" in held
    assert all(size for name, size in held.items() if not name.endswith("py.typed"))
    assert "mgts-trt = mgts_trt.cli.app:main" in commands
    assert "](" not in metadata, "what it says of itself links nothing: the documents are in the checkout"


def test_the_other_holds_a_bundle_and_nothing_else(wheels: Path) -> None:
    manifest = read_manifest(TRAINED)
    with zipfile.ZipFile(wheels / WHEEL) as archive:
        held = {info.filename: info.file_size for info in archive.infolist()}
        notice = next(archive.read(name).decode() for name in held if name.endswith("licenses/NOTICE"))
    about = f"mgts_trt_edge-{__version__}.dist-info/"
    wanted = {f"mgts_trt_edge/{file.file}": file.bytes for file in manifest.files}
    found = {name: size for name, size in held.items() if not name.startswith(about)}
    assert found.pop("mgts_trt_edge/manifest.json")
    assert found == wanted
    assert f"{about}licenses/LICENSE.Apache-2.0" in held
    for golden in manifest.golden:
        assert golden.name in notice


def test_the_base_install_hides_all_extras() -> None:
    names = {"cuda-bindings": "cuda", "cuda-core": "cuda", "paho-mqtt": "paho", "pillow": "PIL"}
    names["pynvvideocodec"] = "PyNvVideoCodec"
    names |= {f"opentelemetry-{part}": "opentelemetry" for part in ("sdk", "exporter-otlp-proto-http")}
    names |= {"nvidia-cuda-nvrtc": "nvidia", "nvidia-cuda-nvrtc-cu12": "nvidia"}
    names |= {f"tensorrt-{cuda}": "tensorrt" for cuda in ("cu12", "cu13")}
    names |= {f"tensorrt-rtx-{cuda}": "tensorrt_rtx" for cuda in ("cu12", "cu13")}
    for extra, requirements in OPTIONAL.items():
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


def test_convert(outside: tuple[Path, Path]) -> None:
    """Precisions are made from the wheel with the extra `import`; without it, it is what the command asks for."""
    binaries, work = outside
    command = [binaries / "mgts-trt", "convert", "bundle", "--out", "half", "--precision", "fp16"]
    run(*command, cwd=work, extra="import")
    shown = run(binaries / "mgts-trt", "parity", "half", cwd=work)
    assert "fp16" in shown
    done = subprocess.run([*command, "--force"], cwd=work, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert "pip install 'mgts-trt[import]'" in done.stderr


def test_search(outside: tuple[Path, Path]) -> None:
    binaries, work = outside
    query = f"photos/{PHOTOS[0]}@{WHERE}"
    written = ["--sheet", "sheet.jpg", "--json", "matches.json"]
    run(binaries / "mgts-trt", "search", "--query", query, "--gallery", "photos", *written, cwd=work)
    best = json.loads((work / "matches.json").read_text())["matches"][0]
    assert Path(best["source"]).name == PHOTOS[1]
    assert best["likeness"] > 0.7
    assert read_image(work / "sheet.jpg").size


def test_the_extras_it_advises_need_no_index(outside: tuple[Path, Path]) -> None:
    """`pip install 'mgts-trt[serve]'` takes the wheel that is there, and asks an index for the packages alone."""
    binaries, work = outside
    pip = [sys.executable, "-m", "pip", "--python", binaries / "python", "install", "--no-index", "--dry-run"]
    assert "Would install" not in run(*pip, "mgts-trt[plot]", cwd=work)
    asked = subprocess.run(
        [*map(str, pip), "mgts-trt[pycuda]"], cwd=work, capture_output=True, text=True, timeout=300, check=False
    )
    assert "No matching distribution found for pycuda" in asked.stderr


def test_a_bundle_that_is_installed_is_found(outside: tuple[Path, Path], wheels: Path, tmp_path: Path) -> None:
    """Where no bundle is named, nor lies: `doctor` says how to get one, and with it, `detect` works."""
    binaries, work = outside
    photo = work / "photos" / PHOTOS[0]
    shown = run(binaries / "mgts-trt", "doctor", cwd=tmp_path, code=1)
    cure = next(line.strip() for line in reversed(shown.splitlines()) if line.strip().startswith("$ "))
    assert cure == f"$ pip install {WHEEL}"
    run(binaries / "mgts-trt", "detect", photo, "--out", "found", cwd=tmp_path, code=2)

    pip = [sys.executable, "-m", "pip", "--python", binaries / "python"]
    run(*pip, "install", "--quiet", "--no-index", wheels / WHEEL, cwd=tmp_path)
    try:
        assert "mgts_trt_edge is whole, and its models run: preset edge" in run(
            binaries / "mgts-trt", "doctor", cwd=tmp_path
        )
        run(binaries / "mgts-trt", "detect", photo, "--out", "found", cwd=tmp_path)
        says = "from mgts_trt import PersonSearch; print(PersonSearch.open(mode='none').bundle.root.name)"
        assert run(binaries / "python", "-c", says, cwd=tmp_path) == "mgts_trt_edge\n"
    finally:
        run(*pip, "uninstall", "--yes", "mgts-trt-edge", cwd=tmp_path)
    assert len(json.loads((tmp_path / "found" / f"{PHOTOS[0]}.json").read_text())["people"]) >= 2


@pytest.mark.parametrize(
    ("command", "lacking"),
    [
        (["parity", "nowhere"], "`python -m export --out DIR`"),
        (["parity", "bundle", "--labelled", "photos"], "`python -m training label-set --out DIR`"),
    ],
)
def test_what_it_lacks_it_does_not_advise(command: list[str], lacking: str, outside: tuple[Path, Path]) -> None:
    binaries, work = outside
    done = subprocess.run(
        [binaries / "mgts-trt", *command], cwd=work, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert f"{lacking} in a checkout of mgts-trt" in " ".join(done.stderr.split())
