"""Run the CUDA kernels' own source on the CPU: compiled by a C++ compiler against `host_shim.h`."""

import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.runtime.cuda.launch import Launch, Pointer
from tests.helpers.paths import ROOT

HERE = Path(__file__).resolve().parent
KEPT = ROOT / ".pytest_cache" / "host_kernels"
CODES = {Pointer: "p", np.int32: "i", np.float32: "f", np.float64: "d"}


def pointer(array: np.ndarray | None) -> Pointer:
    """The address of a host array, as a kernel takes it; the caller keeps the array alive."""
    if array is None:
        return Pointer(0)
    assert array.flags.c_contiguous
    return Pointer(array.ctypes.data)


def run(*launches: Launch) -> None:
    """Run launches one after the other on host memory, through the interface of cuLaunchKernel."""
    for launch in launches:
        library = _library(launch.source)
        declared = getattr(library, f"parameters_{launch.kernel}")
        declared.restype = ctypes.c_char_p
        assert declared().decode() == "".join(CODES[type(a)] for a in launch.arguments), launch.kernel
        values = [np.uint64(a.address) if isinstance(a, Pointer) else a for a in launch.arguments]
        boxes = [np.array([value]) for value in values]
        addresses = (ctypes.c_void_p * len(boxes))(*(box.ctypes.data for box in boxes))
        dimensions = (ctypes.c_uint * 6)(*launch.grid, *launch.block)
        entry = getattr(library, f"run_{launch.kernel}")
        entry.restype = ctypes.c_char_p
        failure = entry(dimensions, addresses)
        assert failure is None, f"{launch.kernel}: {failure.decode()}"


def entry_points(source: str) -> list[str]:
    """The names of the kernels in a source, including those a macro makes."""
    text = (engines_folder() / "kernels" / source).read_text(encoding="utf-8")
    made = re.findall(r"^[A-Z][A-Z_]+\((.*)\)$", text, re.MULTILINE)
    names = [name.strip() for arguments in made for name in arguments.split(",")[:-1]]
    plain = re.findall(r'^extern "C" __global__ void __launch_bounds__\([^)]*\)\s+(\w+)\(', text, re.MULTILINE)
    return plain + names


@cache
def _library(source: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(compiled_for_host(source)))


def compiled_for_host(source: str) -> Path:
    """A library that has `run_KERNEL` and `parameters_KERNEL` for each kernel of a source of `engines/kernels`.

    It is compiled once for all processes, and again where anything it is made of has changed.
    """
    made_of = hashlib.sha256()
    for file in (*sorted((engines_folder() / "kernels").iterdir()), *sorted(HERE.glob("host_*"))):
        made_of.update(file.read_bytes() if file.is_file() else b"")
    KEPT.mkdir(parents=True, exist_ok=True)
    library = KEPT / f"{Path(source).stem}-{made_of.hexdigest()[:16]}.so"
    with (KEPT / f"{Path(source).stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            with TemporaryDirectory(dir=KEPT) as folder:
                _compile(source, Path(folder) / "unit.so")
                os.replace(Path(folder) / "unit.so", library)
    return library


def _compile(source: str, library: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("needs a C++ compiler, and there is none")
        pytest.skip("needs a C++ compiler")
    unit = library.with_suffix(".cpp")
    kernels = "\n".join(f"HOST_KERNEL({name})" for name in entry_points(source))
    unit.write_text(f'#include "host_shim.h"\n#include "{source}"\n{kernels}\n', encoding="utf-8")
    options = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    includes = [f"-I{HERE}", f"-I{engines_folder() / 'kernels'}"]
    done = subprocess.run(
        [compiler, *options, *includes, str(unit), "-o", str(library)], capture_output=True, text=True, check=False
    )
    unit.unlink()
    assert done.returncode == 0, done.stderr
