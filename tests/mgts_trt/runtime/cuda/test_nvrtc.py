import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda import nvrtc
from mgts_trt.runtime.cuda.nvrtc import ARCHITECTURES, compile_kernels, compile_source, kernel_sources
from tests.helpers import host_kernels

SMALL = "select_people.cu"


@pytest.fixture(autouse=True, scope="module")
def _nvrtc():
    pytest.importorskip("cuda.core", reason="NVRTC is called through cuda.core")


@pytest.fixture
def compilations(monkeypatch):
    """The (source, architecture) pairs that really went through the compiler."""
    seen = []

    def compile_and_note(source, arch):
        seen.append((source, arch))
        return compile_source(source, arch)

    monkeypatch.setattr(nvrtc, "compile_source", compile_and_note)
    return seen


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder of sources of the test's own in place of the kernels'."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "header.cuh").write_text("#pragma once\n__device__ inline float twice(float x) { return 2 * x; }\n")
    (folder / "scale.cu").write_text(
        '#include "header.cuh"\nextern "C" __global__ void scale(float* x) { *x = twice(*x); }\n'
    )
    monkeypatch.setattr(nvrtc, "kernel_folder", lambda: folder)
    return folder


class TestCompileSource:
    @pytest.mark.parametrize(("number", "source"), list(enumerate(kernel_sources())))
    def test_every_kernel_compiles_without_a_warning(self, number, source):
        """For the oldest and the newest GPU, and for one between, in turn: `benchmarks.kernel_figures` has them all."""
        oldest, *between, newest = ARCHITECTURES
        architectures = (oldest, between[number % len(between)], newest)
        with ThreadPoolExecutor() as pool:
            results = list(pool.map(lambda arch: compile_source(source, arch), architectures))
        assert len({result.cubin for result in results}) == len(architectures)
        for result in results:
            assert result.log == ""
            assert result.cubin.startswith(b"\x7fELF")
            for name in host_kernels.entry_points(source):
                assert f".text.{name}".encode() in result.cubin

    def test_there_are_kernels(self):
        assert {"se_head.cu", "letterbox.cu"} <= set(kernel_sources())

    def test_a_warning_is_in_the_log(self, sources):
        (sources / "odd.cu").write_text('extern "C" __global__ void odd() { int unused; }')
        assert "unused" in compile_source("odd.cu", 90).log

    def test_what_does_not_compile_is_told(self, sources):
        (sources / "broken.cu").write_text("this is not CUDA")
        with pytest.raises(BackendError, match=r"NVRTC cannot compile broken\.cu for sm_90: .*error"):
            compile_source("broken.cu", 90)

    def test_an_architecture_nvrtc_does_not_know(self):
        with pytest.raises(BackendError, match=r"sm_13.*newer; install it with `pip install 'mgts-trt\[rtx\]'`"):
            compile_source(SMALL, 13)

    def test_a_source_that_is_not_there(self):
        with pytest.raises(BackendError, match=r"no kernel source 'none\.cu'; there are .*letterbox\.cu, "):
            compile_source("none.cu", 90)

    @pytest.mark.parametrize("missing", ["cuda.core", "cuda.bindings"])
    def test_without_what_calls_nvrtc(self, monkeypatch, missing):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(BackendError, match=r"does not load: .*pip install 'mgts-trt\[rtx\]'"):
            compile_source(SMALL, 90) if missing == "cuda.core" else compile_kernels(SMALL, 90)


class TestCache:
    def test_compiles_once(self, tmp_path, compilations):
        first = compile_kernels(SMALL, 90, cache=tmp_path / "cubins")
        assert compile_kernels(SMALL, 90, cache=tmp_path / "cubins") == first
        assert compile_kernels(SMALL, 86, cache=tmp_path / "cubins") != first
        assert compilations == [(SMALL, 90), (SMALL, 86)]

    @pytest.mark.parametrize("file", ["scale.cu", "header.cuh"])
    def test_a_changed_source_or_header_is_compiled_again(self, sources, tmp_path, compilations, file):
        first = compile_kernels("scale.cu", 90, cache=tmp_path / "cubins")
        text = (sources / file).read_text()
        (sources / file).write_text(re.sub(r"2 \* x|twice\(\*x\)", "3 * 5.0f", text))
        assert compile_kernels("scale.cu", 90, cache=tmp_path / "cubins") != first
        assert len(compilations) == 2

    @pytest.mark.parametrize("attribute", ["_nvrtc_version", "STANDARD", "FUSE_MULTIPLY_ADD"])
    def test_another_compiler_or_option_compiles_again(self, sources, tmp_path, compilations, monkeypatch, attribute):
        compile_kernels("scale.cu", 90, cache=tmp_path / "cubins")
        other = {"_nvrtc_version": lambda: "12.9", "STANDARD": "c++20", "FUSE_MULTIPLY_ADD": True}[attribute]
        monkeypatch.setattr(nvrtc, attribute, other)
        compile_kernels("scale.cu", 90, cache=tmp_path / "cubins")
        assert len(compilations) == 2

    def test_a_damaged_entry_is_compiled_again(self, sources, tmp_path, compilations):
        good = compile_kernels("scale.cu", 90, cache=tmp_path / "cubins")
        (entry,) = (tmp_path / "cubins").glob("*.bin")
        entry.write_bytes(entry.read_bytes()[:-7])
        assert compile_kernels("scale.cu", 90, cache=tmp_path / "cubins") == good
        assert compile_kernels("scale.cu", 90, cache=tmp_path / "cubins") == good
        assert len(compilations) == 2

    def test_is_bounded(self, sources, tmp_path, monkeypatch):
        size = len(compile_kernels("scale.cu", 90, cache=tmp_path / "cubins"))
        monkeypatch.setattr(nvrtc, "CACHE_LIMIT", 3 * size)
        for arch in ARCHITECTURES:
            compile_kernels("scale.cu", arch, cache=tmp_path / "cubins")
        entries = list((tmp_path / "cubins").glob("*.bin"))
        assert 1 <= len(entries) < len(ARCHITECTURES)
        assert sum(entry.stat().st_size for entry in entries) <= 3 * size

    def test_a_folder_that_cannot_be_written_is_not_needed(self, sources, tmp_path):
        (tmp_path / "file").write_text("in the way")
        assert compile_kernels("scale.cu", 90, cache=tmp_path / "file" / "cubins").startswith(b"\x7fELF")

    @pytest.mark.parametrize(("value", "written"), [("here", True), ("off", False)])
    def test_the_users_folder(self, sources, tmp_path, monkeypatch, value, written):
        monkeypatch.setenv("MGTS_TRT_CACHE", str(tmp_path / value) if written else value)
        compile_kernels("scale.cu", 90)
        assert bool(list(tmp_path.glob("here/kernels/*.bin"))) == written
