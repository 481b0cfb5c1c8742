"""mgts-trt: mask-guided two-stream person search (ECCV 2018) on ONNX Runtime and TensorRT."""

import os
from typing import TYPE_CHECKING, Any

from mgts_trt.version import __version__

if TYPE_CHECKING:
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.errors import MgtsError
    from mgts_trt.gallery.store import Gallery
    from mgts_trt.pictures.image import read_image
    from mgts_trt.runtime.people import People
    from mgts_trt.runtime.pipeline import PersonSearch

__all__ = ["Bundle", "Gallery", "MgtsError", "People", "PersonSearch", "__version__", "read_image"]

# From 1.29 on, ONNX Runtime tells its makers of each model that is loaded, its file's name included, and keeps a number
# of this machine in the user's cache. It reads this when it is imported, once; "0" in the environment lets it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Bundle": "mgts_trt.bundle.bundle",
    "Gallery": "mgts_trt.gallery.store",
    "MgtsError": "mgts_trt.errors",
    "People": "mgts_trt.runtime.people",
    "PersonSearch": "mgts_trt.runtime.pipeline",
    "read_image": "mgts_trt.pictures.image",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: `import mgts_trt` then costs nothing, and the CLI starts at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
