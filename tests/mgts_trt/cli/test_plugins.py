"""`mgts-trt plugins`: what it hands on, and what it prints."""

import shutil

import pytest

from mgts_trt.plans.plugin_library import VARIABLE, library_name
from mgts_trt.plugins import compiling
from tests.helpers.plugins.described import described


@pytest.fixture
def headers(tmp_path):
    """A folder that has headers of TensorRT 10.3."""
    (folder := tmp_path / "include").mkdir()
    (folder / "NvInferRuntime.h").touch()
    (folder / "NvInferVersion.h").write_text("#define NV_TENSORRT_MAJOR 10\n#define NV_TENSORRT_MINOR 3\n")
    return folder


def test_build_and_path(run, headers, tmp_path, monkeypatch):
    """Only the compilers are played."""
    compiled = []
    library = described(tmp_path / "played", 10)
    monkeypatch.setattr(compiling, "compile_kernels", lambda source, arch: compiled.append(arch) or b"")
    monkeypatch.setattr(compiling, "compile_assembly", lambda source, arch: compiled.append(f"PTX {arch}") or b"")
    monkeypatch.setattr(compiling, "run_compiler", lambda compiler, arguments, output: shutil.copy(library, output))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "there"))
    place = tmp_path / "there" / library_name(10)

    code, _, err = run("plugins", "path", "--tensorrt-major", 10)
    assert code == 2
    assert "no library of plugins for TensorRT 10 built from this version" in err
    code, out, err = run("plugins", "build", "--targets", "sm_87,sm_75", "--headers", headers)
    assert code == 0, err
    assert "".join(out.split()) == f"Built{place}:TensorRT10,sm_87"  # what the library says of itself
    assert compiled == [75, 87, "PTX 87"] * 4
    code, out, err = run("plugins", "path", "--tensorrt-major", 10)
    assert (code, out) == (0, f"{place}\n"), err


def test_what_is_wrong_is_told(run, headers):
    code, _, err = run("plugins", "build", "--targets", "orin", "--headers", headers)
    assert (code, "There is no target 'orin'" in err) == (2, True)
    code, _, err = run("plugins", "build", "--targets", "sm_87", "--headers", headers, "--tensorrt-major", 11)
    assert code == 2
    assert "no headers of TensorRT 11" in err
