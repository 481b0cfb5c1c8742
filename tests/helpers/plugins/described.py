"""Libraries that say what they are, and hold no plugins."""

import json
from pathlib import Path
from typing import Any

from mgts_trt.plans.plugin_library import DESCRIPTION, library_name, sources_digest
from mgts_trt.plugins.compiling import run_compiler
from mgts_trt.plugins.toolchain import find_compiler


def described(folder: Path, tensorrt: int, **changes: Any) -> Path:
    """Write a library that is found for a major version of TensorRT, and says so but for some changes."""
    said = {"tensorrt": tensorrt, "operators": 1, "digest": sources_digest(), "targets": ["sm_87"], **changes}
    source, library = folder / "described.cpp", folder / library_name(tensorrt)
    folder.mkdir(parents=True, exist_ok=True)
    source.write_text(
        f'extern "C" char const {DESCRIPTION}[];\nchar const {DESCRIPTION}[] = {json.dumps(json.dumps(said))};\n'
    )
    run_compiler(find_compiler(), ["-shared", "-fPIC", str(source)], library)
    return library
