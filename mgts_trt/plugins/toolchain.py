"""What a library of plugins is compiled with: a C++ compiler, and TensorRT's headers."""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mgts_trt.errors import BackendError

COMPILERS = ("c++", "g++", "clang++")
HEADER = "NvInferRuntime.h"
_VERSION = re.compile(r"^#define (?:NV_TENSORRT|TRT)_(MAJOR|MINOR)(?:_ENTERPRISE)? +(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Headers:
    """TensorRT's headers.

    Attributes:
        folder: Has `NvInferRuntime.h`.
        version: Major and minor.
    """

    folder: Path
    version: tuple[int, int]


def find_compiler() -> str:
    """The C++ compiler: the one that `CXX` names, else the first of `COMPILERS`.

    Raises:
        BackendError: There is none.
    """
    named = os.environ.get("CXX")
    for name in [named] if named else COMPILERS:
        found = shutil.which(name)
        if found:
            return found
    if named:
        raise BackendError(f"CXX names {named}, which is not there. Name a C++17 compiler, or unset it.")
    raise BackendError(
        f"There is no C++ compiler here ({', '.join(COMPILERS)}). Install one (on Debian, Ubuntu and JetPack: "
        "`sudo apt install g++`), or name it in CXX."
    )


def find_headers(named: Path | None = None, major: int | None = None) -> Headers:
    """TensorRT's headers.

    Args:
        named: The only folder to look in; by default the usual places.
        major: Version they must have; by default the first ones found.

    Raises:
        BackendError: There are none, or none of that version.
    """
    places = [named] if named else list(_places())
    found = [headers for place in places if (headers := _read(place))]
    for headers in found:
        if major in (None, headers.version[0]):
            return headers
    wanted = "TensorRT's headers" if major is None else f"headers of TensorRT {major}"
    there = "".join(f" {each.folder} has those of {'.'.join(map(str, each.version))}." for each in found)
    raise BackendError(
        f"There are no {wanted} ({HEADER}) in {', '.join(map(str, places))}.{there} JetPack and the package "
        "libnvinfer-headers-dev bring them, and TensorRT's archive has them in include: name that folder with "
        "--headers, or the one it is in in TENSORRT_ROOT."
    )


def _places() -> Iterator[Path]:
    root = os.environ.get("TENSORRT_ROOT")
    if root:
        yield Path(root) / "include"
    yield Path(f"/usr/include/{platform.machine()}-linux-gnu")
    yield from map(Path, ("/usr/include", "/usr/local/tensorrt/include", "/usr/local/include"))


def _read(folder: Path) -> Headers | None:
    try:
        text = (folder / "NvInferVersion.h").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    parts = {name: int(value) for name, value in _VERSION.findall(text)}
    if not (folder / HEADER).is_file() or parts.keys() != {"MAJOR", "MINOR"}:
        return None
    return Headers(folder, (parts["MAJOR"], parts["MINOR"]))
