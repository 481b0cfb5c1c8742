import os

import pytest

from benchmarks.kernel_figures import NVRTC, Figures, Report, installed_nvrtc, measure, read_figures, source_digests
from mgts_trt.errors import MgtsError
from mgts_trt.runtime.cuda.nvrtc import ARCHITECTURES, kernel_sources
from tests.helpers import host_kernels
from tests.helpers.fetched import NVRTC_12, fetch, fetched
from tests.helpers.paths import ROOT

RECORDED = ROOT / "benchmarks/results/kernel_figures.json"
KERNELS = {name for source in kernel_sources() for name in host_kernels.entry_points(source)}

LOG = """ptxas info    : 20 bytes gmem, 40 bytes cmem[4]
ptxas info    : Compiling entry function 'twice' for 'sm_87'
ptxas info    : Function properties for twice
ptxas         .     8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 16 bytes cumulative stack size, 6145 bytes smem, 432 bytes cmem[0]
ptxas info    : Compile time = 50.855 ms
ptxas info    : Compiling entry function 'thrice' for 'sm_87'
ptxas info    : Function properties for thrice
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, 432 bytes cmem[0]
"""


def test_figures_of_a_log():
    assert read_figures(LOG) == {
        "twice": Figures(registers=40, shared=6145, spilled=28),
        "thrice": Figures(registers=8, shared=0, spilled=0),
    }


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (LOG + "odd.cu(3): warning #177-D: variable was declared but never referenced", "never referenced"),
        (LOG.replace("Used 8 registers", "Unused"), "no figures of every kernel"),
        ("", "no figures of every kernel"),
    ],
)
def test_a_log_that_says_something_else(log, says):
    with pytest.raises(MgtsError, match=says):
        read_figures(log)


def test_a_library_that_is_none(tmp_path):
    (tmp_path / "libnvrtc.so").write_text("no library")
    with pytest.raises(MgtsError, match="cannot be loaded"):
        NVRTC(tmp_path / "libnvrtc.so")


@pytest.fixture
def recorded() -> Report:
    return Report.model_validate_json(RECORDED.read_bytes())


def test_what_is_recorded_is_of_these_kernels(recorded):
    assert recorded.sources == source_digests(), "run python -m benchmarks.kernel_figures again, as its help says"
    assert {version.partition(".")[0] for version in recorded.figures} == {"12", "13"}
    known = {arch for figures in recorded.figures.values() for arch in figures}
    assert known == set(ARCHITECTURES)
    for figures in recorded.figures.values():
        assert all(set(one) == KERNELS for one in figures.values())


def check(library: NVRTC, recorded: Report) -> None:
    """Every kernel compiles without a warning, leaves room for 1,024 threads at a time, and is as recorded.

    For the oldest GPU, an appliance's and the newest; `python -m benchmarks.kernel_figures` measures all, and
    test_nvrtc.py compiles for all.
    """
    sample = {min(library.architectures), 87, max(library.architectures)}
    figures = measure(library, sample)
    assert figures.keys() == sample
    for one in figures.values():
        assert set(one) == KERNELS
        assert all(kernel.registers <= 64 and kernel.shared <= 48 << 10 for kernel in one.values())
    if library.version in recorded.figures:
        assert figures == {arch: recorded.figures[library.version][arch] for arch in sample}


def test_the_installed_compiler(recorded):
    pytest.importorskip("cuda.core", reason="NVRTC is called through cuda.core")
    check(NVRTC(installed_nvrtc()), recorded)


def test_the_compiler_of_cuda_12(recorded):
    if os.environ.get("CI"):
        fetch(NVRTC_12)
    if not fetched(NVRTC_12).is_dir():
        pytest.skip("NVRTC of CUDA 12 is not here; `make bindings` fetches it")
    [path] = fetched(NVRTC_12).glob("nvidia/*/lib/libnvrtc.so.12")
    library = NVRTC(path)
    assert library.version.startswith("12.")
    assert set(ARCHITECTURES) - set(library.architectures) == {110}
    check(library, recorded)
