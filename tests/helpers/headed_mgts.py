"""MGTS in miniature with the head of the real one: a convolution for each stream, and the operator `SeHead`."""

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, write_manifest
from mgts_trt.bundle.operators import DOMAIN, VERSION, add_functions
from tests.helpers.small_graphs import node
from tests.helpers.tiny_bundle import EMBEDDING, PATCH

CHANNELS = 16
HIDDEN = 8
STREAMS = ("foreground", "original")


def headed_mgts(precision: str = "fp32") -> onnx.ModelProto:
    """A model with the tiny bundle's inputs and output, and random weights.

    Args:
        precision: `fp32`; or `fp16`, with maps and weights in half.
    """
    random = np.random.default_rng(0)
    real, kind = (np.float32, TensorProto.FLOAT) if precision == "fp32" else (np.float16, TensorProto.FLOAT16)
    nodes: list[NodeProto] = []
    both = 2 * CHANNELS
    constants = {
        "bright": np.array(255),
        "squeeze": random.normal(0, 0.5, (HIDDEN, both)),
        "excite": random.normal(0, 2, (both, HIDDEN)),
        "fc": random.normal(0, 1, (EMBEDDING, both)),
    }
    for stream in STREAMS:
        constants[f"{stream}.weight"] = random.normal(0, 0.3, (CHANNELS, 3, 3, 3))
        pool = {"kernel_shape": [8, 8], "strides": [8, 8]}
        nodes += [
            node("Cast", stream, f"{stream}_real", to=kind),
            node("Div", f"{stream}_real bright", f"{stream}_scaled"),
            node("Conv", f"{stream}_scaled {stream}.weight", f"{stream}_edges", pads=[1, 1, 1, 1]),
            node("Relu", f"{stream}_edges", f"{stream}_relu"),
            node("AveragePool", f"{stream}_relu", f"{stream}_features", **pool),
        ]
    features = " ".join(f"{stream}_features" for stream in STREAMS)
    nodes.append(node("SeHead", f"{features} squeeze excite fc", "embedding", domain=DOMAIN))
    patches = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", 3, *PATCH)) for name in STREAMS]
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ("N", EMBEDDING))
    weights = [numpy_helper.from_array(array.astype(real), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "mgts", patches, [embedding], weights)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    add_functions(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def put_headed_mgts(bundle: Bundle, *precisions: str) -> Bundle:
    """Put these networks into a bundle in place of its MGTS."""
    entry = bundle.model("mgts")
    files = {}
    for precision in precisions:
        file = f"mgts.{precision}.onnx"
        onnx.save(headed_mgts(precision), Path(bundle.root, file))
        files[precision] = BundleFile.of(bundle.root, file)
    models = {**bundle.manifest.models, "mgts": entry.model_copy(update={"files": files})}
    write_manifest(bundle.root, bundle.manifest.model_copy(update={"models": models}))
    return Bundle.open(bundle.root)
