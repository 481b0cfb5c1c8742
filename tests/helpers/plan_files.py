"""Plans as TensorRT might have written them, in folders of their own."""

import hashlib

from mgts_trt.bundle.recipe import Profile
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.plan import (
    PlanIdentity,
    PlanRecord,
)

PLAN = b"what TensorRT wrote"


def identity(**changes):
    fields = {
        "model": "mgts",
        "precision": "fp32",
        "flavour": "tensorrt_rtx",
        "flavour_version": "1.7.1.116",
        "target": "portable",
        "platform": "linux-x86_64",
        "onnx_sha256": "a" * 64,
        "recipe_sha256": "b" * 64,
        "head": "graph",
        "settings": {"tf32": True, "workspace_mib": 2048},
    }
    return PlanIdentity(**{**fields, **changes})


def record(of):
    return PlanRecord(
        tool="0.1.0",
        identity=of,
        plan_sha256=hashlib.sha256(PLAN).hexdigest(),
        plan_bytes=len(PLAN),
        seconds=1.5,
        peak_memory_mib=100,
        inputs={"original": TensorSpec(dtype="float32", shape=("N", 3, 32, 16))},
        outputs={"embedding": TensorSpec(dtype="float32", shape=("N", 128))},
        profile={"N": Profile(min=1, opt=8, max=64)},
        onnx_nodes=20,
        onnx_nodes_with_layer=19,
        layers={"float32": 25, "int64": 3},
        macs={"fp16": 995, "fp32": 5},
        warnings=0,
    )


def put(plans, of):
    folder = plans / of.folder
    folder.mkdir(parents=True)
    (folder / f"{of.model}.plan").write_bytes(PLAN)
    record(of).write(folder)
    return folder
