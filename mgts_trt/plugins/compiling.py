"""From `engines/plugins` and `engines/kernels` to the shared library that TensorRT loads."""

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mgts_trt.bundle.operators import VERSION as DOMAIN_VERSION
from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.machine.files import replace_file
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.plans.plugin_library import (
    DESCRIPTION,
    KERNELS,
    PluginLibrary,
    default_folder,
    library_name,
    read_library,
    sources_digest,
)
from mgts_trt.plugins.toolchain import Headers, find_compiler, find_headers
from mgts_trt.runtime.cuda.nvrtc import compile_assembly, compile_kernels

OPTIONS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wpedantic")
"""Warnings are errors in the tests; a newer compiler's new one is no reason to have no library."""

LINK = ("-shared", "-Wl,--no-undefined", "-Wl,-z,nodelete", "-ldl", "-pthread")
"""The library stays where it was loaded: a registry may hold its creators, and plans its plugins."""


def build_library(
    folder: Path | None = None,
    targets: Sequence[str] | None = None,
    headers: Path | None = None,
    tensorrt: int | None = None,
) -> PluginLibrary:
    """Build the library for one major version of TensorRT.

    Args:
        folder: Where it is written; by default where it is looked for.
        targets: GPUs, as `sm_87`; by default those of this machine. The kernels run on newer ones than the newest,
            too, where the driver knows the compiler's PTX.
        headers: Folder of TensorRT's headers; by default the usual places are searched.
        tensorrt: Major version; by default that of the headers found first.

    Raises:
        BackendError: A target is no GPU, what is needed is not here, or it does not compile.
    """
    capabilities = _capabilities(targets)
    found = find_headers(headers, tensorrt)
    compiler = find_compiler()
    folder = folder or default_folder()
    path = folder / library_name(found.version[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as work, replace_file(path) as temporary:
            write_images(Path(work), capabilities, found.version[0])
            run_compiler(compiler, compiler_arguments(found, Path(work)), temporary)
    except OSError as error:
        raise BackendError(
            f"Cannot write the plugins to {folder}: {error.strerror}. Name another with --out."
        ) from error
    return read_library(path)


def compiler_arguments(headers: Headers, images: Path) -> list[str]:
    """All that the compiler is told but for where to write.

    Args:
        headers: TensorRT's.
        images: Folder that `write_images` wrote into.
    """
    sources = engines_folder() / "plugins"
    system = [f"-isystem{headers.folder}", f"-isystem{sources / 'cuda'}"]
    files = [*sorted(sources.rglob("*.cpp")), images / "images.cpp"]
    return [*OPTIONS, f"-I{sources}", *system, *map(str, files), *LINK]


def run_compiler(compiler: str, arguments: Sequence[str], output: Path) -> None:
    """Run a C++ compiler.

    Raises:
        BackendError: It cannot be run, or refuses; the message has its first errors.
    """
    command = [compiler, *arguments, "-o", str(output)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise BackendError(f"Cannot run {compiler}: {error.strerror}. Name a C++17 compiler in CXX.") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise BackendError(
            f"{compiler} does not compile the plugins: {'; '.join(said[:3]) or 'it gives no reason'}. It must know "
            f"C++17, and the headers must be whole; this was the command: {shlex.join(command)}"
        )


def write_images(folder: Path, capabilities: Sequence[int], tensorrt: int) -> None:
    """Compile the kernels, and write `images.cpp`, which puts them and what the library is into it.

    Args:
        folder: Empty.
        capabilities: Compute capabilities times ten, ascending; of the last one the assembly goes in, too.
        tensorrt: Major version.

    Raises:
        BackendError: NVRTC is not here, or does not know one of them.
    """
    entries: list[tuple[str, int, bool]] = []
    for source in KERNELS.values():
        codes = [(each, False, compile_kernels(source, each)) for each in capabilities]
        codes.append((capabilities[-1], True, compile_assembly(source, capabilities[-1])))
        for capability, ptx, code in codes:
            (folder / f"{len(entries)}.bin").write_bytes(code)
            entries.append((source, capability, ptx))
    described = {
        "tensorrt": tensorrt,
        "operators": DOMAIN_VERSION,
        "digest": sources_digest(),
        "targets": [f"sm_{each}" for each in capabilities],
    }
    binaries = "".join(
        f'        "image_{i}: .incbin {_quoted(_quoted(folder / f"{i}.bin"))[1:-1]}\\n.byte 0\\n.balign 64\\n"\n'
        for i in range(len(entries))
    )
    declared = "".join(
        f'extern "C" __attribute__((visibility("hidden"))) unsigned char const image_{i}[];\n'
        for i in range(len(entries))
    )
    listed = "".join(
        f"    {{{_quoted(source)}, {capability}, {str(ptx).lower()}, image_{i}}},\n"
        for i, (source, capability, ptx) in enumerate(entries)
    )
    (folder / "images.cpp").write_text(
        f'#include "device.h"\n\n__asm__(".pushsection .rodata\\n.balign 64\\n"\n{binaries}'
        f'        ".popsection\\n");\n{declared}\nnamespace mgts {{\n\nImage const images[] = {{\n{listed}}};\n'
        "std::size_t const image_count = sizeof images / sizeof *images;\n\n}  // namespace mgts\n\n"
        f'extern "C" __attribute__((visibility("default"))) char const {DESCRIPTION}[] =\n'
        f"    {_quoted(json.dumps(described))};\n",
        encoding="utf-8",
    )


def _capabilities(targets: Sequence[str] | None) -> list[int]:
    named = targets or [gpu.sm for gpu in find_gpus()]
    if not named:
        raise BackendError(
            "There is no GPU here to compile the kernels for. Name those that will run them, such as --targets sm_87 "
            "for a Jetson Orin or sm_80,sm_90 for an A100 and an H100."
        )
    wrong = [each for each in named if not re.fullmatch(r"sm_\d{2,3}", each)]
    if wrong:
        raise BackendError(f"There is no target {wrong[0]!r}. A target is a compute capability, such as sm_87.")
    return sorted({int(each.removeprefix("sm_")) for each in named})


def _quoted(text: object) -> str:
    """A C string literal."""
    return json.dumps(str(text), ensure_ascii=False)
