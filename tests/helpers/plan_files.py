"""Plans as TensorRT might have written them, in folders of their own."""

import hashlib

import numpy as np

from mgts_trt.bundle.recipe import Profile
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.chain import Chain, EngineStep, OperatorStep
from mgts_trt.plans.constants import save_constants
from mgts_trt.plans.plan import PlanIdentity, PlanRecord

PLAN = b"what TensorRT wrote"
INPUTS = {"original": TensorSpec(dtype="float32", shape=("N", 3, 32, 16))}
OUTPUTS = {"embedding": TensorSpec(dtype="float32", shape=("N", 128))}
CONSTANT = np.arange(6, dtype=np.float32).reshape(2, 3)


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
        "lowering": "graph",
        "operators": 1,
        "batch": 1,
        "settings": {"tf32": True, "workspace_mib": 2048},
    }
    return PlanIdentity(**{**fields, **changes})


def engine(file, inputs, outputs, **macs):
    return EngineStep(
        file=file,
        sha256=hashlib.sha256(PLAN).hexdigest(),
        bytes=len(PLAN),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        macs=macs,
    )


def whole_chain(of):
    return Chain(steps=(engine(f"{of.model}.plan", INPUTS, OUTPUTS, fp16=995, fp32=5),), tensors=INPUTS | OUTPUTS)


def cut_chain(of, folder):
    """Two engines and an operator with a constant between them, which is written into `folder`."""
    maps = {name: TensorSpec(dtype="float16", shape=("N", 8, 4, 2)) for name in ("maps", "pooled")}
    constants = {"fc": CONSTANT}
    return Chain(
        steps=(
            engine(f"{of.model}.0.plan", INPUTS, ["maps"], fp16=995),
            OperatorStep(operator="SeHead", node="/head", inputs=("maps", "maps", "fc"), outputs=("pooled",)),
            engine(f"{of.model}.1.plan", ["pooled"], OUTPUTS, fp32=5),
        ),
        tensors={**INPUTS, **OUTPUTS, **maps, "fc": TensorSpec(dtype="float32", shape=CONSTANT.shape)},
        constants=tuple(constants),
        constants_sha256=save_constants(folder, constants),
    )


def record(of, chain=None):
    return PlanRecord(
        tool="0.1.0",
        identity=of,
        chain=chain or whole_chain(of),
        seconds=1.5,
        peak_memory_mib=100,
        inputs=INPUTS,
        outputs=OUTPUTS,
        profile={"N": Profile(min=1, opt=8, max=64)},
        onnx_nodes=20,
        onnx_nodes_with_layer=19,
        layers={"float32": 25, "int64": 3},
        warnings=0,
    )


def put(plans, of):
    folder = plans / of.folder
    folder.mkdir(parents=True)
    made = record(of, cut_chain(of, folder) if of.lowering == "kernel" else None)
    for step in made.chain.engines:
        (folder / step.file).write_bytes(PLAN)
    made.write(folder)
    return folder
