"""Finding a compiler and TensorRT's headers, and saying what is missing."""

import pytest

from mgts_trt.errors import BackendError
from mgts_trt.plugins import toolchain
from mgts_trt.plugins.toolchain import find_compiler, find_headers


def headers(folder, major, minor, style="TRT_{}_ENTERPRISE"):
    """A folder that has headers of a version."""
    folder.mkdir(parents=True)
    (folder / "NvInferRuntime.h").touch()
    lines = [f"#define {style.format(name)} {value}" for name, value in (("MAJOR", major), ("MINOR", minor))]
    (folder / "NvInferVersion.h").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("version", ["10.3", "10.13", "11.1"])
def test_the_version_of_real_headers(tensorrt_headers, version):
    assert find_headers(tensorrt_headers / version / "include").version == tuple(map(int, version.split(".")))


def test_the_usual_places_are_searched_in_order(tmp_path, monkeypatch):
    first, second = headers(tmp_path / "a", 11, 1), headers(tmp_path / "b", 10, 3, "NV_TENSORRT_{}")
    monkeypatch.setattr(toolchain, "_places", lambda: iter([tmp_path / "none", first, second]))
    assert find_headers().folder == first
    assert find_headers(major=10).folder == second
    with pytest.raises(BackendError, match=r"no headers of TensorRT 12 .*/a has those of 11\.1\. .*/b has .* 10\.3"):
        find_headers(major=12)


def test_the_root_that_is_named_comes_first(tmp_path, monkeypatch):
    headers(tmp_path / "include", 10, 9)
    monkeypatch.setenv("TENSORRT_ROOT", str(tmp_path))
    assert find_headers().version == (10, 9)


def test_no_headers(tmp_path):
    with pytest.raises(BackendError, match=r"no TensorRT's headers .*libnvinfer-headers-dev.* --headers"):
        find_headers(tmp_path)


def test_the_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no_such_compiler")
    with pytest.raises(BackendError, match="CXX names no_such_compiler, which is not there"):
        find_compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match=r"no C\+\+ compiler here \(c\+\+, g\+\+, clang\+\+\).*apt install g\+\+"):
        find_compiler()
    (compiler := tmp_path / "g++").touch(0o755)
    assert find_compiler() == str(compiler)
