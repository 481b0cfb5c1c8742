"""Small re-ID networks as other projects' exporters write them: one convolution, its mean, a product."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = 16
SIZE = (32, 16)

HEADS = ("flatten", "reshape", "shape", "token", "softmax", "scaled-softmax", "unit", "map", "nonzero")
"""How features come out: by Flatten; by Reshape to a constant, or to what Shape says; joined with a constant for each
crop, as vision transformers do; as classes; of length 1; as a map; as many as there are."""


def reid_model(
    head: str = "flatten", batch: int | str | None = 1, size: Sequence[int | str | None] = SIZE, opset: int = 17
) -> onnx.ModelProto:
    """A network float32 [batch, 3, H, W] → [batch, 16], its channels weighted apart.

    Args:
        head: One of `HEADS`.
        batch: The number of crops, or its name.
        size: Height and width, or their names.
        opset: Of the file.
    """
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(0, 0.3, (8, 3, 3, 3)) * np.array([3, 1, 0.2]).reshape(1, 3, 1, 1),
        "product": rng.normal(0, 1, (8, FEATURES)),
        "bias": rng.normal(0, 1, FEATURES) * 0.1,
    }
    arrays: dict[str, Any] = {name: value.astype(np.float32) for name, value in weights.items()}
    nodes = [
        helper.make_node("Conv", ["crops", "kernel"], ["conv"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"], name="relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["mean"], name="mean"),
    ]
    outputs = ["features"]
    if head in ("reshape", "shape"):
        target = "target"
        if head == "reshape":
            arrays["target"] = np.array([batch if isinstance(batch, int) else -1, 8], np.int64)
        else:
            arrays |= {"zero": np.array([0], np.int64), "rest": np.array([-1], np.int64)}
            nodes += [
                helper.make_node("Shape", ["mean"], ["shape"], name="shape"),
                helper.make_node("Gather", ["shape", "zero"], ["first"], name="first"),
                helper.make_node("Concat", ["first", "rest"], [target], name="target", axis=0),
            ]
        nodes.append(helper.make_node("Reshape", ["mean", target], ["rows"], name="rows"))
    elif head == "token":
        arrays["token"] = rng.normal(0, 1, (1, 1, 8)).astype(np.float32)
        arrays["target"] = np.array([0, 1, 8], np.int64)
        nodes += [
            helper.make_node("Reshape", ["mean", "target"], ["patch"], name="patch"),
            helper.make_node("Concat", ["token", "patch"], ["tokens"], name="tokens", axis=1),
            helper.make_node("ReduceMean", ["tokens"], ["rows"], name="rows", axes=[1], keepdims=0),
        ]
    else:
        nodes.append(helper.make_node("Flatten", ["mean"], ["rows"], name="rows"))
    last = "features" if head in ("flatten", "reshape", "shape", "token", "map") else "logits"
    nodes.append(helper.make_node("Gemm", ["rows", "product", "bias"], [last], name="gemm"))
    if head == "softmax":
        nodes.append(helper.make_node("Softmax", ["logits"], ["features"], name="softmax"))
    elif head == "scaled-softmax":  # by another name
        arrays["least"] = np.array(1e-9, np.float32)
        nodes += [
            helper.make_node("Exp", ["logits"], ["exp"], name="exp"),
            helper.make_node("ReduceL1", ["exp"], ["sum"], name="sum", axes=[1]),
            helper.make_node("Div", ["exp", "sum"], ["share"], name="share"),
            helper.make_node("Max", ["share", "least"], ["features"], name="max"),
        ]
    elif head == "unit":
        nodes.append(helper.make_node("LpNormalization", ["logits"], ["features"], name="unit", axis=1, p=2))
    elif head == "map":
        outputs = ["relu"]
    elif head == "nonzero":
        nodes += [
            helper.make_node("NonZero", ["logits"], ["places"], name="places"),
            helper.make_node("GatherND", ["logits", "indices"], ["features"], name="features"),
            helper.make_node("Transpose", ["places"], ["indices"], name="indices", perm=[1, 0]),
        ]
        nodes[-1], nodes[-2] = nodes[-2], nodes[-1]
    crops = helper.make_tensor_value_info("crops", TensorProto.FLOAT, [batch, 3, *size])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    initializers = [numpy_helper.from_array(value, name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "reid", [crops], results, initializers)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tests", producer_version="1")


def save_reid(path: Path, head: str = "flatten", **how: Any) -> Path:
    """Write one of them."""
    onnx.save(reid_model(head, **how), path)
    return path
