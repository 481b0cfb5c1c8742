"""The C++ example, built against a simulated driver and TensorRT, and the kernels compiled for the host."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.plugins.toolchain import find_compiler
from tests.helpers.fetched import JSON_CPP, fetched
from tests.helpers.host_kernels import compiled_for_host

HERE = Path(__file__).resolve().parent
STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
KERNELS = ("letterbox.cu", "select_people.cu", "paint_instances.cu", "person_patches.cu")
_CLASSES = {
    "apiv::VRuntime": "NvInferImpl.h",
    "apiv::VCudaEngine": "NvInferImpl.h",
    "apiv::VExecutionContext": "NvInferImpl.h",
    "IPluginRegistry": "NvInferRuntimeCommon.h",
}
_PURE = re.compile(r"virtual\s+([^;~]*?)\b(\w+)\s*\(([^;]*?)\)\s*(const)?\s*(noexcept)?\s*=\s*0\s*;", re.DOTALL)


@dataclass(frozen=True)
class Toolkit:
    """What the example is compiled against.

    Attributes:
        cuda: Folder with `cuda.h` and `nvrtc.h`.
        nvrtc: The library.
        json: Folder with `nlohmann/json.hpp`.
    """

    cuda: Path
    nvrtc: Path
    json: Path

    def includes(self, tensorrt: Path) -> list[str]:
        """A compiler's options that name the folders of headers.

        Args:
            tensorrt: Folder of TensorRT's headers.
        """
        # What TensorRT's headers take of CUDA's runtime; the wheel with `cuda.h` lacks a part of the real ones.
        folders = (tensorrt, engines_folder() / "plugins" / "cuda", self.cuda, self.json)
        return [f"-isystem{folder}" for folder in folders]


def find_toolkit() -> Toolkit:
    """That of the packages that are installed here, and of those that `make bindings` fetches.

    Raises:
        LookupError: Something is missing, and what brings it.
    """
    cuda = next(
        (Path(place) / "nvidia" / "cu13" for place in sys.path if (Path(place) / "nvidia" / "cu13").is_dir()), None
    )
    json = fetched(JSON_CPP) / "nlohmann_json" / "include"
    if cuda is None or not all((cuda / "include" / name).is_file() for name in ("cuda.h", "nvrtc.h")):
        raise LookupError("needs CUDA 13's headers, of the packages nvidia-cuda-runtime and nvidia-cuda-nvrtc")
    if not (json / "nlohmann" / "json.hpp").is_file():
        raise LookupError(f"needs {JSON_CPP}, which `make bindings` fetches")
    if shutil.which("cmake") is None or not Path("/usr/include/openssl/evp.h").is_file():
        raise LookupError("needs CMake and OpenSSL's headers")
    return Toolkit(cuda / "include", cuda / "lib" / "libnvrtc.so.13", json)


def compile_cpp(arguments: Sequence[str]) -> None:
    """Run the compiler; a warning fails."""
    done = subprocess.run([find_compiler(), *STRICT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def simulate(tensorrt: Path, toolkit: Toolkit, folder: Path) -> Path:
    """Compile what stands in for the driver and for TensorRT.

    Args:
        tensorrt: Folder of TensorRT's headers.
        toolkit: See there.
        folder: Where to.

    Returns:
        The library, which is both.
    """
    (folder / "unexpected.h").write_text(unexpected(tensorrt), encoding="utf-8")
    sources = [str(HERE / "simulated_cuda.cpp"), str(HERE / "simulated_nvinfer.cpp")]
    library = folder / "libsimulated.so"
    options = [
        "-shared",
        "-fPIC",
        "-Wno-deprecated-declarations",
        f"-I{folder}",
        f"-I{HERE}",
        *toolkit.includes(tensorrt),
    ]
    compile_cpp([*options, *sources, "-ldl", "-o", str(library)])
    return library


def build_example(tensorrt: Path, toolkit: Toolkit, simulated: Path, folder: Path) -> Path:
    """Build the example by its CMake file, without optimisation, which takes longer than running it.

    Args:
        tensorrt: Folder of TensorRT's headers.
        toolkit: See there.
        simulated: The library in the place of the driver and of TensorRT.
        folder: Where to; new.

    Returns:
        The program.
    """
    settings = {
        "CMAKE_BUILD_TYPE": "Plain",
        "CMAKE_CXX_FLAGS": "-Werror",
        "CMAKE_DISABLE_FIND_PACKAGE_OpenCV": "ON",
        "TENSORRT_INCLUDE": f"{tensorrt};{engines_folder() / 'plugins' / 'cuda'}",  # see `Toolkit.includes`
        "NVINFER": simulated,
        "CUDA_INCLUDE": toolkit.cuda,
        "CUDA_DRIVER": simulated,
        "NVRTC": toolkit.nvrtc,
        "JSON_INCLUDE": toolkit.json,
    }
    configure = ["cmake", "-S", engines_folder() / "cpp", "-B", folder]
    for command in ([*configure, *(f"-D{k}={v}" for k, v in settings.items())], ["cmake", "--build", folder]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "person_search_example"


def host_kernels(folder: Path) -> Path:
    """Compile the kernels that stand between the networks for the host, a library a source, into a new folder."""
    folder.mkdir()
    for source in KERNELS:
        shutil.copy(compiled_for_host(source), folder / f"{source}.so")
    return folder


def unexpected(tensorrt: Path) -> str:
    """C++ of a class for each of TensorRT's in which every pure virtual function ends the program.

    Args:
        tensorrt: Folder of TensorRT's headers.
    """
    text = ['#include <NvInferRuntime.h>\n\n#include "streams.h"\n\nusing namespace nvinfer1;\n']
    for name, header in _CLASSES.items():
        short = name.rpartition("::")[2]
        source = re.sub(r"//[^\n]*|TRT_\w+", "", (tensorrt / header).read_text(encoding="utf-8"))
        found = re.search(rf"^class {short}\b[^;{{]*\{{(.*?)^\}};", source, re.MULTILINE | re.DOTALL)
        assert found, f"{header} has no class {short}"
        base = f"nvinfer1::{name}"
        text.append(f"struct Unexpected{short.removeprefix('V').removeprefix('I')} : {base} {{")
        for kind, function, parameters, const, noexcept in _PURE.findall(found[1]):
            types = [_type_of(each) for each in parameters.split(",")] if parameters.strip() else []
            words = " ".join(word for word in (const, noexcept) if word)
            body = f'simulated::give_up("{short}::{function} was called");'
            text.append(f"    {kind.strip()} {function}({', '.join(types)}) {words} override {{ {body} }}")
        text.append("};\n")
    return "\n".join(text)


def _type_of(parameter: str) -> str:
    """A parameter without its name and default."""
    declared = parameter.partition("=")[0].strip()
    return re.sub(r"(?<=[\s*&])(?!const\b)[a-z]\w*$", "", declared) if " " in declared else declared
