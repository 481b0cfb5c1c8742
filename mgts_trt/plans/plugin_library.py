"""The library of TensorRT plugins for the operators of the domain `mgts`: where it lies, what it is, and loading it.

`mgts_trt.plugins` builds it, from `engines/plugins` and `engines/kernels`.
"""

import ctypes
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mgts_trt.bundle.operators import VERSION as DOMAIN_VERSION
from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.machine.cache import VARIABLE as CACHE_VARIABLE
from mgts_trt.machine.cache import cache_root
from mgts_trt.plans.flavour import Flavour

VARIABLE = "MGTS_TRT_PLUGINS"
"""Environment variable that names the library, or the folder it lies in."""

BUILD = "mgts-trt plugins build"
DESCRIPTION = "mgts_trt_plugins"
"""The symbol of a library that holds JSON of what it is: `PluginLibrary` but for its path."""

KERNELS: Mapping[str, str] = {
    "Nms": "nms.cu",
    "AlignRois": "align_rois.cu",
    "PsAssemble": "ps_assemble.cu",
    "SeHead": "se_head.cu",
}
"""Operator → the source in `engines/kernels` of its kernels, which the library holds compiled."""


@dataclass(frozen=True)
class PluginLibrary:
    """A library that was built.

    Attributes:
        path: The file.
        tensorrt: Major version of TensorRT that it serves.
        operators: Version of the domain `mgts`.
        digest: Of the sources it was built from.
        targets: GPUs it has machine code for, as `sm_87`; it runs on those newer than the newest of them, too.
    """

    path: Path
    tensorrt: int
    operators: int
    digest: str
    targets: tuple[str, ...]


@cache
def sources_digest() -> str:
    """Sixteen hexadecimal digits of all that a library is built from: plugins, kernels, and what these include."""
    digest = hashlib.sha256()
    for folder in ("plugins", "kernels"):
        for path in sorted((engines_folder() / folder).rglob("*")):
            if path.suffix in (".cpp", ".h", ".cuh") or path.name in KERNELS.values():
                text = path.read_bytes()
                digest.update(f"{folder}/{path.name} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:16]


def library_name(tensorrt: int) -> str:
    """The file's name, by TensorRT's major version: what was built from other sources lies beside it."""
    return f"libmgts_trt_plugins-trt{tensorrt}-mgts{DOMAIN_VERSION}-{sources_digest()}.so"


def default_folder() -> Path:
    """Where libraries are built to, and looked for.

    Raises:
        BackendError: Caching is off, and `MGTS_TRT_PLUGINS` names no place either.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).parent if named.endswith(".so") else Path(named)
    root = cache_root()
    if root is None:
        raise BackendError(
            f"There is no place for the plugins: {CACHE_VARIABLE} is off. Name a folder with --out, and {VARIABLE} "
            "after it where plans are built and run."
        )
    return root / "plugins"


def find_library(tensorrt: int) -> PluginLibrary | None:
    """The library for a major version of TensorRT, or None where none was built.

    Raises:
        BackendError: `MGTS_TRT_PLUGINS` names a file that is none, or was built for something else.
    """
    named = os.environ.get(VARIABLE)
    if named and named.endswith(".so"):
        return _fitting(Path(named), tensorrt)
    try:
        path = default_folder() / library_name(tensorrt)
    except BackendError:
        return None
    return _fitting(path, tensorrt) if path.is_file() else None


def require_library(tensorrt: int) -> PluginLibrary:
    """Like `find_library`, for what cannot go on without.

    Raises:
        BackendError: There is none; the message says how to build it.
    """
    library = find_library(tensorrt)
    if library is None:
        raise BackendError(
            f"There is no library of plugins for TensorRT {tensorrt} built from this version of mgts-trt. Build it "
            f"with `{BUILD}`, or build plans with --ops kernel or graph, which need none."
        )
    return library


def read_library(path: Path) -> PluginLibrary:
    """What a library is, by its own word. It is loaded for it, which needs neither TensorRT nor a GPU.

    Raises:
        BackendError: It does not load, or is no library of ours.
    """
    try:
        said = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(ctypes.CDLL(str(path.resolve())), DESCRIPTION)))
        described = json.loads(said)
        return PluginLibrary(
            path, described["tensorrt"], described["operators"], described["digest"], tuple(described["targets"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendError(f"{path} is no library of mgts-trt's plugins: {error}. Build one with `{BUILD}`.") from error


def major_version(flavour: Flavour) -> int:
    """Of a flavour: 10 of `"10.13.3.9"`."""
    return int(flavour.version.partition(".")[0])


def load_library(flavour: Flavour) -> None:
    """Give TensorRT's plugin registry the operators, once a process.

    Raises:
        BackendError: There is no library for this version, or TensorRT refuses it.
    """
    register(flavour, require_library(major_version(flavour)))


def register(flavour: Flavour, library: PluginLibrary) -> None:
    """Load a library into a flavour's registry, unless the operators are in it.

    Raises:
        BackendError: TensorRT refuses it, and what it logs.
    """
    registry = flavour.module.get_plugin_registry()
    if all(_has(registry, operator) for operator in KERNELS):
        return
    with flavour.collect() as messages:
        registry.load_library(str(library.path.resolve()))
    missing = [operator for operator in KERNELS if not _has(registry, operator)]
    if missing:
        errors = "; ".join(message.text for message in messages if message.level == "error")
        raise BackendError(
            f"{flavour} finds no {', '.join(missing)} in {library.path}: {errors or 'it gives no reason'}. Build it "
            f"again with `{BUILD}`."
        )


def _has(registry: object, operator: str) -> bool:
    return registry.get_creator(operator, str(DOMAIN_VERSION), "") is not None  # type: ignore[attr-defined]


def _fitting(path: Path, tensorrt: int) -> PluginLibrary:
    library = read_library(path)
    wanted = {"TensorRT": tensorrt, "operators of version": DOMAIN_VERSION, "sources of digest": sources_digest()}
    found = dict(zip(wanted, (library.tensorrt, library.operators, library.digest), strict=True))
    if found != wanted:
        differs = " and ".join(
            f"{name} {found[name]}, wanted is {wanted[name]}" for name in wanted if found[name] != wanted[name]
        )
        raise BackendError(f"The plugins in {path} are built for {differs}. Build them again with `{BUILD}`.")
    return library
