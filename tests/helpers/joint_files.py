"""A small joint network as SeqNet's exporters write it: boxes, scores and embeddings of a fixed number of people.

What it gives follows from the mean colour r, g, b of the picture, 0…1, and can be worked out by hand.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HW = (64, 96)
BOXES = np.array(
    [[10, 10, 30, 50], [12, 12, 30, 50], [50, 8, 70, 60], [50, 8, 70, 30], [80, 0, 92, 60], [0, 0, 6, 6]], np.float32
)
SCORES = np.array([0.6, 0.95, 0.8, 0.3, 0, 0.55], np.float32)
KEPT = (1, 2, 5, 3)
"""Rows by score; the first box overlaps the second and falls to NMS, the one of score 0 is nobody."""
LENGTH = 8
WEIGHTS = np.random.default_rng(0).normal(0, 1, (3, len(BOXES) * LENGTH)).astype(np.float32)

FORMS = ("batched", "single", "classes")
"""Outputs [1, N, 4], [1, N], [1, N, d]; [N, 4], [N], [N, d] and labels, as torchvision's; scores [1, N, 2]."""


def by_hand(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [n, 4], scores [n] and embeddings [n, d] of the people, of a picture's mean colour [3], 0…1."""
    rows = list(KEPT)
    boxes = BOXES[rows] + 4 * mean[0]
    features = (mean @ WEIGHTS).reshape(len(BOXES), LENGTH)[rows]
    return boxes, SCORES[rows] * (1 - mean[1] / 10), features / np.linalg.norm(features, axis=1, keepdims=True)


def joint_model(
    form: str = "batched", names: tuple[str, str, str] = ("boxes", "scores", "embeddings")
) -> onnx.ModelProto:
    """A network float32 [1, 3, 64, 96] → boxes, scores, embeddings.

    Args:
        form: One of `FORMS`.
        names: Of the outputs.
    """
    boxes, scores, embeddings = names
    count = len(BOXES)
    arrays = {
        "planted": BOXES[None], "judged": SCORES[None], "weights": WEIGHTS, "four": np.float32([4]),
        "tenth": np.float32([0.1]), "one": np.float32([1]), "at.0": np.array([0]), "at.1": np.array([1]),
        "at.2": np.array([2]), "axis": np.array([1]), "flat": np.array([1, 3]),
        "rows": np.array([1, count, LENGTH]), "zero": np.array([0]), "last": np.array([2]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("GlobalAveragePool", ["images"], ["pooled"]),
        node("Reshape", ["pooled", "flat"], ["mean"]),
        node("Slice", ["mean", "at.0", "at.1", "axis"], ["red"]),
        node("Slice", ["mean", "at.1", "at.2", "axis"], ["green"]),
        node("Mul", ["red", "four"], ["shift"]),
        node("Unsqueeze", ["shift", "last"], ["shifts"]),
        node("Add", ["planted", "shifts"], ["all.boxes"]),
        node("Mul", ["green", "tenth"], ["less"]),
        node("Sub", ["one", "less"], ["share"]),
        node("Mul", ["judged", "share"], ["all.scores"]),
        node("MatMul", ["mean", "weights"], ["products"]),
        node("Reshape", ["products", "rows"], ["all.embeddings"]),
    ]
    lead = () if form == "single" else (1,)
    shapes = {boxes: (*lead, count, 4), scores: (*lead, count), embeddings: (*lead, count, LENGTH)}
    inner = {boxes: "all.boxes", scores: "all.scores", embeddings: "all.embeddings"}
    if form == "classes":
        nodes += [
            node("Sub", ["one", "all.scores"], ["background"]),
            node("Unsqueeze", ["background", "last"], ["not"]),
            node("Unsqueeze", ["all.scores", "last"], ["person"]),
            node("Concat", ["not", "person"], ["all.classes"], axis=2),
        ]
        inner[scores], shapes[scores] = "all.classes", (1, count, 2)
    for name, tensor in inner.items():
        nodes.append(
            node("Squeeze", [tensor, "zero"], [name]) if form == "single" else node("Identity", [tensor], [name])
        )
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    if form == "single":
        arrays["people"] = np.ones(count, np.int64)
        nodes.append(node("Identity", ["people"], ["labels"]))
        outputs.append(helper.make_tensor_value_info("labels", TensorProto.INT64, [count]))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *HW])
    weights = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "seqnet", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
