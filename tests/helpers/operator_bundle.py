"""The tiny networks with operators of the domain `mgts`: detector and mask net suppress, MGTS ends in `SeHead`."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mgts_trt.bundle import operators
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, write_manifest
from tests.helpers.tiny_bundle import DETECTIONS, EMBEDDING, make_model

CHANNELS, HIDDEN = 16, 8
"""Of a stream's features, and of the head."""


def with_operators(name: str, precision: str = "fp32") -> onnx.ModelProto:
    """One of the tiny networks, its operators called; IDNet has none."""
    model = make_model(name, precision)
    model.ir_version = 10
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 20))
    if name in ("detector", "masknet"):
        _suppress(model.graph)
    elif name == "mgts":
        _end_in_head(model.graph, precision)
    else:
        return make_model(name, precision)
    operators.add_functions(model)
    onnx.checker.check_model(model)
    return model


def call_operators(bundle: Bundle, *precisions: str) -> Bundle:
    """Put these networks into a bundle in place of the tiny ones, under the same names."""
    models = dict(bundle.manifest.models)
    for name, entry in models.items():
        files = {}
        for precision in precisions:
            file = f"{name}.{precision}.onnx"
            onnx.save(with_operators(name, precision), Path(bundle.root, file))
            files[precision] = BundleFile.of(bundle.root, file)
        models[name] = entry.model_copy(update={"files": files})
    write_manifest(bundle.root, bundle.manifest.model_copy(update={"models": models}))
    return Bundle.open(bundle.root)


def _suppress(graph: onnx.GraphProto) -> None:
    """Boxes, which do not overlap, go through `Nms` twice over, which leaves out the second ones.

    TensorRT-RTX 1.7 does not come to an end with the layers of `Nms` for exactly four boxes.
    """
    for node in graph.node:
        for place, output in enumerate(node.output):
            if output in ("boxes", "scores"):
                node.output[place] = f"{output}.all"
    for name, values in (("first", [0]), ("rows", [1]), ("last", [2]), ("many", [DETECTIONS])):
        graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    for kind, inputs, output, attributes in (
        ("Concat", ["boxes.all", "boxes.all"], "boxes.twice", {"axis": 1}),
        ("Nms", ["boxes.twice"], "kept.twice", {"domain": operators.DOMAIN, "threshold": 0.5}),
        ("Slice", ["kept.twice", "first", "many", "rows"], "kept", {}),
        ("Unsqueeze", ["kept", "last"], "kept.column", {}),
        ("Mul", ["boxes.all", "kept.column"], "boxes", {}),
        ("Mul", ["scores.all", "kept"], "scores", {}),
    ):
        graph.node.append(helper.make_node(kind, inputs, [output], name=f"/{output}", **attributes))


def _end_in_head(graph: onnx.GraphProto, precision: str) -> None:
    """Both streams' features go into `SeHead`; in FP16 its weights are half behind a cast."""
    first, second = [place for place, node in enumerate(graph.node) if node.op_type == "AveragePool"]
    features = [graph.node[place].output[0] for place in (first, second)]
    del graph.node[second + 1 :]
    random = np.random.default_rng(0)
    shapes = {"squeeze": (HIDDEN, 2 * CHANNELS), "excite": (2 * CHANNELS, HIDDEN), "fc": (EMBEDDING, 2 * CHANNELS)}
    for name, shape in shapes.items():
        matrix = random.normal(0, 0.5, shape).astype(np.float16)
        if precision == "fp16":
            graph.initializer.append(numpy_helper.from_array(matrix, f"{name}.half"))
            graph.node.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"/{name}", to=TensorProto.FLOAT))
        else:
            graph.initializer.append(numpy_helper.from_array(matrix.astype(np.float32), name))
    graph.node.append(
        helper.make_node("SeHead", [*features, *shapes], ["embedding"], name="/head", domain=operators.DOMAIN)
    )
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
