"""A library of plugins under the sanitizers, and what comes of each case when TensorRT's part is played towards it."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.plugins import compiling
from mgts_trt.plugins.toolchain import find_compiler, find_headers
from mgts_trt.runtime.cuda.launch import Launch, Pointer
from tests.helpers.host_kernels import CODES, entry_points
from tests.helpers.operators.case import Case

HERE = Path(__file__).resolve().parent
SANITIZED = ("-O0", "-g", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SCRATCH = Pointer((99 << 32) + 256)
"""Where the scratch memory begins: the workspace begins at 99 · 2³² + 8, and is aligned to 256 bytes."""


def place(tensor: int) -> Pointer:
    """Where `play_tensorrt.cpp` lets an operator's inputs lie, and after them its output."""
    return Pointer((tensor + 1) << 32)


@dataclass(frozen=True)
class Played:
    """A library that was compiled with the sanitizers, and what plays TensorRT's part."""

    program: Path
    library: Path

    def answers(self, lines: Iterable[str]) -> list[dict[str, Any]]:
        """What each `run` among the lines comes to; see `play_tensorrt.cpp`."""
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self.program.parent)}
        done = subprocess.run(
            [self.program, self.library], input="\n".join(lines), env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def played(headers: Path, folder: Path, capabilities: list[int]) -> Played:
    """Compile library, fake driver and program.

    Args:
        headers: Of a TensorRT.
        folder: Empty.
        capabilities: That the library has images for; an image is a word that names it, and no machine code.
    """
    compiler, found = find_compiler(), find_headers(headers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "compile_kernels", lambda source, arch: f"sm_{arch} {source}".encode())
        patch.setattr(compiling, "compile_assembly", lambda source, arch: f"compute_{arch} {source}".encode())
        compiling.write_images(folder, capabilities, found.version[0])
    library, program = folder / "plugins.so", folder / "play_tensorrt"
    compiling.run_compiler(compiler, [*compiling.compiler_arguments(found, folder), *SANITIZED], library)
    fake = [HERE / "fake_cuda.cpp", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    compiling.run_compiler(compiler, ["-std=c++17", *map(str, fake), *SANITIZED], folder / "libcuda.so.1")
    system = [f"-isystem{found.folder}", f"-isystem{engines_folder() / 'plugins' / 'cuda'}"]
    sources = [HERE / "play_tensorrt.cpp", folder / "libcuda.so.1", "-ldl"]
    compiling.run_compiler(compiler, ["-std=c++17", *system, *map(str, sources), *SANITIZED], program)
    return Played(program, library)


def kernels(launches: Iterable[Launch]) -> list[str]:
    """The lines that tell which kernels there are, those of some launches."""
    for launch in launches:
        assert launch.kernel in entry_points(launch.source)
    return [
        f"kernel {launch.kernel} {''.join(CODES[type(value)] for value in launch.arguments)}" for launch in launches
    ]


def lines(operator: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any], wide: bool = False) -> list[str]:
    """The lines of one case.

    Args:
        operator: Its name.
        inputs: Arrays by name.
        attributes: By name.
        wide: Whether numbers come as 64 bits.
    """
    told = [f"case {operator}"]
    for name, value in attributes.items():
        values = value if isinstance(value, list | tuple) else [value]
        kind = ("d" if wide else "f") if isinstance(values[0], float) else ("l" if wide else "i")
        told.append(f"attribute {name} {kind} {' '.join(map(str, values))}")
    told += [f"input {np.asarray(a).dtype} {' '.join(map(str, a.shape))}" for a in inputs.values()]
    return [*told, "run"]


def as_told(launch: Launch) -> dict[str, Any]:
    """A launch as `play_tensorrt.cpp` tells it."""
    values = (np.uint64(a.address) if isinstance(a, Pointer) else a for a in launch.arguments)
    return {
        "kernel": launch.kernel,
        "grid": list(launch.grid),
        "block": list(launch.block),
        "shared_bytes": launch.shared_bytes,
        "arguments": [value.tobytes().hex() for value in values],
    }


def case_lines(operator: str, case: Case) -> list[str]:
    """The lines of a case of the operators' tables."""
    return lines(operator, case.inputs, case.attributes)
