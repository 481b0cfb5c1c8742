"""What the compiler makes of each CUDA kernel: registers, shared memory and spills, by GPU. Needs no GPU.

    python -m benchmarks.kernel_figures [--nvrtc libnvrtc.so.12] --json benchmarks/results/kernel_figures.json

`--nvrtc` names further NVRTC libraries, such as CUDA 12's beside an installed CUDA 13's.
"""

import ctypes
import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.table import Table

from mgts_trt.cli.console import out, progress
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from mgts_trt.runtime.cuda.nvrtc import ARCHITECTURES, FUSE_MULTIPLY_ADD, STANDARD, kernel_folder, kernel_sources

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(
    r"Used (\d+) registers(?:, used \d+ barriers)?(?:, \d+ bytes cumulative stack size)?(?:, (\d+) bytes smem)?"
)


class Figures(BaseModel):
    """Of one kernel on one GPU.

    Attributes:
        registers: A thread; 255 at most, and 65,536 for all threads of a multiprocessor.
        shared: Bytes a block, static; 49,152 at most.
        spilled: Bytes stored and loaded because registers ran out.
    """

    registers: int
    shared: int
    spilled: int


class Report(BaseModel):
    """The figures of every kernel.

    Attributes:
        sources: SHA-256 of each file of the kernels' folder, by name.
        figures: NVRTC's version → compute capability times ten → kernel → figures.
    """

    sources: dict[str, str]
    figures: dict[str, dict[int, dict[str, Figures]]]


class NVRTC:
    """A library of NVRTC, called directly: the product's way to it knows only the one that is installed.

    Args:
        path: The shared library; its builtins lie beside it.

    Raises:
        MgtsError: It does not load.
    """

    def __init__(self, path: Path) -> None:
        try:
            path = path.resolve()  # or a bare name is looked for on the loader's path
            for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
                ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise MgtsError(f"{path} cannot be loaded: {error}. Name a libnvrtc.so.") from error
        major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        self._library.nvrtcGetSupportedArchs(known)
        self.version = f"{major.value}.{minor.value}"
        self.architectures = [arch for arch in ARCHITECTURES if arch in known]

    def compile(self, name: str, text: bytes, arch: int) -> tuple[bool, str]:
        """Whether a source compiles for a GPU, and all that the compiler says of it."""
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        self._library.nvrtcCreateProgram(ctypes.byref(program), text, name.encode(), 0, None, None)
        # What `compile_source` gives; and the assembler's figures.
        options = [f"--gpu-architecture=sm_{arch}", f"--std={STANDARD}", "--ptxas-options=-v"]
        options.append(f"--fmad={str(FUSE_MULTIPLY_ADD).lower()}")
        options.append(f"--include-path={kernel_folder()}")
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = self._library.nvrtcCompileProgram(program, len(options), given)
        self._library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self._library.nvrtcGetProgramLog(program, log)
        self._library.nvrtcDestroyProgram(ctypes.byref(program))
        return status == 0, log.value.decode()


def installed_nvrtc() -> Path:
    """The NVRTC that the product uses here.

    Raises:
        MgtsError: There is none.
    """
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return Path(str(load_nvidia_dynamic_lib("nvrtc").abs_path))
    except Exception as error:  # no pathfinder, or its own error that there is no library
        raise MgtsError(f"There is no NVRTC: {error}. Install it with pip install 'mgts-trt[rtx]'.") from error


def read_figures(log: str) -> dict[str, Figures]:
    """The figures of each kernel in what the assembler said of a source.

    Raises:
        MgtsError: Something else was said, such as a warning; or a kernel's figures are missing.
    """
    kernel, spilled, found = "", 0, {}
    for line in log.splitlines():
        if entry := _ENTRY.search(line):
            kernel, spilled = entry[1], 0
        elif spills := _SPILLS.search(line):
            spilled = int(spills[1]) + int(spills[2])
        elif used := _USED.search(line):
            found[kernel] = Figures(registers=int(used[1]), shared=int(used[2] or 0), spilled=spilled)
        elif line.strip("\0 ") and not re.match(r"ptxas (info )?\s*[:.]", line):
            raise MgtsError(f"The compiler says of a kernel: {line.strip()}")
    if set(found) != set(_ENTRY.findall(log)) or not found:
        raise MgtsError(f"The compiler gives no figures of every kernel, but says: {log.strip()}")
    return found


def source_digests() -> dict[str, str]:
    """SHA-256 of each file that kernels are compiled from, by name."""
    files = sorted(path for path in kernel_folder().iterdir() if path.suffix in (".cu", ".cuh"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def measure(library: NVRTC, architectures: Collection[int] = ARCHITECTURES) -> dict[int, dict[str, Figures]]:
    """The figures of every kernel for every GPU that a compiler knows of ours.

    Args:
        library: The compiler.
        architectures: For these alone.

    Raises:
        MgtsError: A kernel does not compile, or not without a warning.
    """
    figures: dict[int, dict[str, Figures]] = {}
    known = [arch for arch in library.architectures if arch in architectures]
    with progress() as bar:
        task = bar.add_task(f"NVRTC {library.version}", total=len(known))
        for arch in known:
            figures[arch] = {}
            for name in kernel_sources():
                done, log = library.compile(name, (kernel_folder() / name).read_bytes(), arch)
                if not done:
                    raise MgtsError(f"NVRTC {library.version} cannot compile {name} for sm_{arch}: {log.strip()}")
                figures[arch] |= read_figures(log)
            bar.advance(task)
    return figures


@app.command()
def main(
    nvrtc: Annotated[list[Path] | None, typer.Option(help="A further NVRTC library; may be repeated.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Compile every kernel for every GPU, and print what each takes."""
    libraries = [NVRTC(path) for path in [installed_nvrtc(), *(nvrtc or [])]]
    report = Report(sources=source_digests(), figures={library.version: measure(library) for library in libraries})
    for version, figures in report.figures.items():
        table = Table(title=f"NVRTC {version}, {', '.join(f'sm_{arch}' for arch in figures)}")
        for column in ("kernel", "registers", "bytes shared", "spilled"):
            table.add_column(column, justify="left" if column == "kernel" else "right")
        for kernel in next(iter(figures.values())):
            on = {arch: one[kernel] for arch, one in figures.items()}
            spilled = ", ".join(f"{one.spilled} on sm_{arch}" for arch, one in on.items() if one.spilled)
            registers, shared = ({getattr(one, field) for one in on.values()} for field in ("registers", "shared"))
            table.add_row(kernel, _range(registers), _range(shared), spilled or "–")
        out.print(table)
    if json_file:
        write_json(json_file, report.model_dump_json(indent=1))


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low}–{high}"


if __name__ == "__main__":
    run_app(app)
