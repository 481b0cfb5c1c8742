"""Load a library of plugins into TensorRT-RTX's registry, have it create each plugin, and print what came of it.

    python -m tests.helpers.plugins.registering LIBRARY

In a process of its own, since a registry keeps what it is given. TensorRT-RTX has a registry, but its networks have no
layers for plugins.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt_rtx as trt

from mgts_trt.bundle.operators import OPERATORS
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.plugin_library import read_library, register

FIELDS: dict[str, dict[str, Any]] = {
    "Nms": {"threshold": np.array([0.7], np.float32)},
    "AlignRois": {
        "size": np.array([7], np.int32),
        "samples": np.array([2, 2], np.int32),
        "stride": np.array([16], np.float32),
        "dtype": np.array([10], np.int32),
    },
    "PsAssemble": {
        "bins": np.array([3], np.int32),
        "size": np.array([9], np.int32),
        "stride": np.array([8], np.float32),
    },
    "SeHead": {},
}
KINDS = {"float32": trt.PluginFieldType.FLOAT32, "int32": trt.PluginFieldType.INT32}


def created(operator: str, without: int = 0) -> bool:
    """Whether a plugin is made from all of an operator's fields but the last ones."""
    creator = trt.get_plugin_registry().get_creator(operator, "1", "")
    values = list(FIELDS[operator].items())
    fields = [trt.PluginField(name, v, KINDS[v.dtype.name]) for name, v in values[: len(values) - without]]
    plugin = creator.create_plugin("one", trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD)
    return plugin is not None


def main(library: Path) -> None:
    """See above."""
    flavour = Flavour("tensorrt_rtx", trt.__version__, trt)
    for _ in range(2):  # the second time does nothing
        register(flavour, read_library(library))
    found: dict[str, Any] = {}
    for operator in OPERATORS:
        creator = trt.get_plugin_registry().get_creator(operator, "1", "")
        found[operator] = {
            "fields": [field.name for field in creator.field_names],
            "created": created(operator),
            "created_without_a_field": bool(FIELDS[operator]) and created(operator, without=1),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
