"""TensorRT's real Python bindings without TensorRT: fetched, and imported over an empty library.

`make bindings` fetches those of each version in `VERSIONS` (a megabyte each) into the environment; they bring none of
NVIDIA's libraries. A stub of the three that they are linked to lets them be imported: every class, enum and signature
is real, and only what needs TensorRT itself answers nothing.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers.fetched import fetched
from tests.helpers.paths import ROOT

VERSIONS = {"10.3.0": "cu12", "10.8.0.43": "cu12", "10.13.3.9": "cu13", "11.4.0.106": "cu13"}
"""JetPack 6.2's, the lowest of our extra, JetPack 7's, and the newest; and the CUDA of the wheel."""

_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
_ENTRIES = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getBuilderSafePluginRegistry",
    "getInferLibVersion",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def requirement(version: str) -> str:
    """The wheel of a version's bindings."""
    return f"tensorrt-{VERSIONS[version]}-bindings=={version}"


def folder(version: str) -> Path:
    """Where the bindings of a version are kept."""
    return fetched(requirement(version))


def make_stub(version: str, where: Path) -> Path:
    """Libraries of the names that the bindings of a version are linked to, which do nothing.

    Args:
        version: Of `VERSIONS`.
        where: An empty folder.
    """
    [bindings] = (folder(version) / "tensorrt_bindings").glob("tensorrt*.so")
    needed = set(re.findall(rb"lib(?:%s)\.so\.\d+" % "|".join(_LIBRARIES).encode(), bindings.read_bytes()))
    source = where / "stub.c"
    source.write_text("\n".join(f"void *{name}() {{ return 0; }}" for name in _ENTRIES))
    for library in needed:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(where / library.decode()), str(source)], check=True)
    return where


def run(version: str, stub: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python that has the bindings as `tensorrt_bindings`, and this checkout."""
    path = os.pathsep.join([str(folder(version)), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "LD_LIBRARY_PATH": str(stub)}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
