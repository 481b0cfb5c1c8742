"""Building the library: what is in it, what it refuses, and who can load it."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mgts_trt.bundle.operators import OPERATORS
from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.plans.plugin_library import KERNELS, library_name, sources_digest
from mgts_trt.plugins import compiling
from mgts_trt.plugins.compiling import build_library
from mgts_trt.plugins.toolchain import find_compiler, find_headers
from tests.helpers.host_kernels import entry_points
from tests.helpers.paths import ROOT

OPENED = """
import ctypes, sys
tensorrt = ctypes.CDLL(sys.argv[2])
tensorrt.registered.restype = ctypes.c_char_p
ctypes.CDLL(sys.argv[1])
print(tensorrt.registered().decode())
"""


@pytest.fixture(scope="module")
def built(tensorrt_headers, tmp_path_factory):
    pytest.importorskip("cuda.core", reason="NVRTC is called through cuda.core")
    return build_library(tmp_path_factory.mktemp("built"), ["sm_87"], tensorrt_headers / "10.3" / "include")


def test_what_is_built(built):
    assert built.path.name == library_name(10)
    assert (built.tensorrt, built.operators, built.digest, built.targets) == (10, 1, sources_digest(), ("sm_87",))
    held = built.path.read_bytes()
    assert held.count(b".target sm_87") == len(KERNELS)
    for source in KERNELS.values():
        for kernel in entry_points(source):
            assert f".entry {kernel}(".encode() in held
            assert f".text.{kernel}\0".encode() in held  # a section of the machine code
    assert list(built.path.parent.iterdir()) == [built.path]


def test_it_needs_neither_tensorrt_nor_a_driver(built):
    assert not hasattr(ctypes.CDLL(str(built.path)), "cuLaunchKernel")
    needed = subprocess.run(["ldd", built.path], capture_output=True, text=True, check=True).stdout
    assert "libnvinfer" not in needed
    assert "libcuda" not in needed


def test_a_registry_loads_it_and_creates_plugins(built):
    pytest.importorskip("tensorrt_rtx")
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.plugins.registering", built.path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {operator: each["fields"] for operator, each in found.items()} == {
        "Nms": ["threshold"],
        "AlignRois": ["size", "samples", "stride", "dtype"],
        "PsAssemble": ["bins", "size", "stride"],
        "SeHead": [],
    }
    assert all(each["created"] and not each["created_without_a_field"] for each in found.values())
    assert "The attribute threshold is missing." in done.stderr


def test_it_registers_itself_when_it_is_asked_to(built, tensorrt_headers, tmp_path, monkeypatch):
    nvinfer = tmp_path / "libnvinfer.so.10"
    folders = [tensorrt_headers / "10.3" / "include", engines_folder() / "plugins" / "cuda"]
    source = ROOT / "tests" / "helpers" / "plugins" / "nvinfer.cpp"
    arguments = [
        "-shared",
        "-fPIC",
        f"-Wl,-soname,{nvinfer.name}",
        *(f"-isystem{each}" for each in folders),
        str(source),
    ]
    compiling.run_compiler(find_compiler(), arguments, nvinfer)

    def opened():
        command = [sys.executable, "-c", OPENED, built.path, nvinfer]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert opened() == []
    monkeypatch.setenv("MGTS_TRT_REGISTER_PLUGINS", "1")
    assert opened() == list(OPERATORS)
    alone = subprocess.run(
        [sys.executable, "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])", built.path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert alone.stderr == "mgts-trt plugins: libnvinfer.so.10 is not loaded: the plugins are not registered.\n"


@pytest.mark.parametrize("version", ["10.13", "11.1"])
def test_it_compiles_without_a_warning(tensorrt_headers, version, tmp_path):
    """10.3 is compiled so where the plugins are driven."""
    headers = find_headers(tensorrt_headers / version / "include")
    (tmp_path / "images.cpp").write_text("")
    arguments = [a for a in compiling.compiler_arguments(headers, tmp_path) if a not in compiling.LINK]
    compiling.run_compiler(find_compiler(), [*arguments, "-Werror", "-fsyntax-only"], tmp_path / "nothing")


@pytest.mark.parametrize("targets", [["sm_xy"], ["87"], ["sm_87", "orin"]])
def test_a_target_that_is_none(targets):
    with pytest.raises(BackendError, match=r"There is no target '.*A target is a compute capability, such as sm_87"):
        build_library(targets=targets)


def test_no_gpu_and_no_target(monkeypatch):
    monkeypatch.setattr(compiling, "find_gpus", list)
    with pytest.raises(BackendError, match=r"no GPU here to compile the kernels for.* --targets sm_87"):
        build_library()


def test_what_the_compiler_refuses_is_told(tmp_path):
    (source := tmp_path / "wrong.cpp").write_text("int main() { return nothing; }\n")
    with pytest.raises(BackendError, match=r"does not compile the plugins: .*nothing.*this was the command: .*wrong"):
        compiling.run_compiler(find_compiler(), [str(source)], tmp_path / "out")
    with pytest.raises(BackendError, match=r"Cannot run no_compiler: .* Name a C\+\+17 compiler in CXX"):
        compiling.run_compiler("no_compiler", [], Path("out"))
