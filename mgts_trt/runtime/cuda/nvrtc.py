"""CUDA kernels to machine code: NVRTC, which needs neither GPU nor compiler, and a cache of what it made."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.machine.cache import DiskCache

ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121)
"""Compute capabilities every kernel is compiled for in the tests, times ten: Turing to Blackwell, Jetson Orin (87) and
Thor (110, which CUDA 12 does not know)."""

CACHE_LIMIT = 64 << 20
"""Bytes the cache may take."""

STANDARD = "c++17"
"""Of C++, in all kernels."""

FUSE_MULTIPLY_ADD = False
"""Without contraction the arithmetic is that of the host, where the references run; sums that matter say fmaf."""

_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Compiled:
    """What NVRTC made of one source.

    Attributes:
        cubin: Machine code, an ELF file.
        log: What the compiler said: warnings, or nothing.
    """

    cubin: bytes
    log: str


def kernel_sources() -> tuple[str, ...]:
    """The names of all sources, sorted."""
    return tuple(sorted(path.name for path in kernel_folder().glob("*.cu")))


def compile_kernels(source_name: str, arch: int, *, cache: Path | None = None) -> bytes:
    """Machine code of one kernel source, from the cache or compiled.

    Args:
        source_name: One of `kernel_sources()`.
        arch: Compute capability times ten: 87 for 8.7.
        cache: Folder for compiled code; None means `kernels` in the user's cache folder, if caching is on.

    Returns:
        A CUBIN for GPUs of that compute capability, or a later minor version of it.

    Raises:
        BackendError: No such source, no NVRTC here, or it refuses the architecture.
    """
    store = DiskCache(cache.name if cache else "kernels", limit=CACHE_LIMIT, root=cache and cache.parent)
    key = _key(source_name, arch)
    cubin = store.load(key)
    if cubin is None:
        cubin = compile_source(source_name, arch).cubin
        store.store(key, cubin)
    return cubin


def compile_source(source_name: str, arch: int) -> Compiled:
    """Compile one kernel source, whatever is in the cache.

    Raises:
        BackendError: See `compile_kernels`.
    """
    code = _text(source_name)
    try:
        from cuda.core import Program, ProgramOptions
    except ImportError as error:
        raise BackendError(
            f"CUDA kernels are compiled by cuda.core, which does not load: {error}. {_INSTALL}"
        ) from error
    log = io.StringIO()
    try:
        options = ProgramOptions(
            name=source_name,
            arch=f"sm_{arch}",
            std=STANDARD,
            fma=FUSE_MULTIPLY_ADD,
            include_path=str(kernel_folder()),
        )
        cubin = Program(code, "c++", options).compile("cubin", logs=log).code
    except Exception as error:  # NVRTC's own error, or cuda.core's when its library is not there
        reason = " ".join(str(error).split())
        raise BackendError(f"NVRTC cannot compile {source_name} for sm_{arch}: {reason}. {_INSTALL}") from error
    return Compiled(bytes(cubin), log.getvalue().strip("\0 \n"))


def compile_assembly(source_name: str, arch: int) -> bytes:
    """PTX of one kernel source: what a driver compiles for GPUs of this compute capability, and for later ones.

    By NVRTC itself: for PTX, cuda.core asks the driver, which need not be here.

    Raises:
        BackendError: See `compile_kernels`.
    """
    code = _text(source_name)
    _nvrtc_version()
    from cuda.bindings import nvrtc

    def call(function: Callable[..., tuple[Any, ...]], *arguments: object) -> Any:
        status, *results = function(*arguments)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise BackendError(f"NVRTC cannot compile {source_name} for compute_{arch}: {status.name}. {_INSTALL}")
        return results[0] if results else None

    program = call(nvrtc.nvrtcCreateProgram, code.encode(), source_name.encode(), 0, [], [])
    try:
        options = (
            f"--gpu-architecture=compute_{arch}",
            f"--std={STANDARD}",
            f"--fmad={str(FUSE_MULTIPLY_ADD).lower()}",
            f"--include-path={kernel_folder()}",
        )
        call(nvrtc.nvrtcCompileProgram, program, len(options), [option.encode() for option in options])
        ptx = bytes(call(nvrtc.nvrtcGetPTXSize, program))
        call(nvrtc.nvrtcGetPTX, program, ptx)
    finally:
        call(nvrtc.nvrtcDestroyProgram, program)
    return ptx.rstrip(b"\0")


_INSTALL = "NVRTC of CUDA 13 knows sm_75 and newer; install it with `pip install 'mgts-trt[rtx]'`."


def kernel_folder() -> Path:
    """Where the kernels' sources lie."""
    return engines_folder() / "kernels"


def _text(name: str) -> str:
    try:
        return (kernel_folder() / name).read_text(encoding="utf-8")
    except OSError as error:
        raise BackendError(
            f"There is no kernel source {name!r}; there are {', '.join(kernel_sources()) or 'none'}. If it should be "
            "there, reinstall mgts-trt."
        ) from error


def _with_includes(name: str) -> dict[str, str]:
    """A source and all it includes, by name."""
    texts: dict[str, str] = {}
    waiting = [name]
    while waiting:
        file = waiting.pop()
        if file not in texts:
            texts[file] = _text(file)
            waiting += _INCLUDE.findall(texts[file])
    return texts


def _key(source_name: str, arch: int) -> str:
    """All that the machine code follows from."""
    options = {"arch": arch, "std": STANDARD, "fma": FUSE_MULTIPLY_ADD}
    return json.dumps(["cubin", source_name, _nvrtc_version(), options, _with_includes(source_name)], sort_keys=True)


def _nvrtc_version() -> str:
    try:
        from cuda.bindings import nvrtc

        status, major, minor = nvrtc.nvrtcVersion()
    except Exception as error:  # no bindings, or no library: each says so in its own way
        raise BackendError(f"CUDA kernels are compiled by NVRTC, which does not load: {error}. {_INSTALL}") from error
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise BackendError(f"NVRTC does not tell its version: {status.name}. {_INSTALL}")
    return f"{major}.{minor}"
