"""A complete bundle of small networks: real ONNX graphs that build in a second and run in a millisecond.

The networks keep the contracts of the real ones and answer so that a test can foresee it. On the 64 × 96 canvas the
detector and the mask net look at twelve upright cells of 32 × 16 pixels (two rows, six columns) and call a cell a
person in proportion to its brightness: a white cell scores 1, the grey of the pad (114) and everything darker scores
less than 0.5. Of the four best cells those above 0.5 are returned, best first; the other rows are zero. The masks are
the cell's own pixels by the same rule. The embeddings are a random convolution of the patch, so that equal patches
have equal embeddings and different ones do not. A bundle with the joint network is asked for: it finds cells as the
detector does, and its embeddings, of another length, are a random function of a few points of each box.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mgts_trt.bundle.manifest import BundleFile, Manifest, Model, Normalisation, Thresholds, Training, write_manifest
from mgts_trt.bundle.recipe import MODELS, load_recipe
from mgts_trt.bundle.tensors import TensorSpec

CANVAS = (64, 96)
CELL = (32, 16)
DETECTIONS = 4
MASK = 8
PATCH = (32, 16)
EMBEDDING = 128
JOINT_EMBEDDING = 48
PROBES = 3
SEPARATE = tuple(name for name in MODELS if name != "joint")
MEAN = (123.7, 116.3, 103.5)
STD = (58.4, 57.1, 57.4)


def make_tiny_bundle(folder: Path, precisions: Sequence[str] = ("fp32",), models: Iterable[str] = SEPARATE) -> Path:
    """Write the bundle into `folder` (made if need be) and return it.

    Args:
        folder: Where to.
        precisions: Any of `"fp32"` and `"fp16"` (convolutions and GEMMs in half, the edges in float).
        models: Which networks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name in models:
        files = {}
        for precision in precisions:
            graph = make_model(name, precision)
            onnx.save(graph, folder / f"{name}.{precision}.onnx")
            files[precision] = BundleFile.of(folder, f"{name}.{precision}.onnx")
        entries[name] = Model(
            files=files,
            inputs=_specs(graph.graph.input),
            outputs=_specs(graph.graph.output),
            recipe_sha256=load_recipe(name).sha256,
        )
    manifest = Manifest(
        preset="tiny",
        canvas=CANVAS,
        pad=(114, 114, 114),
        normalisation=Normalisation(mean=MEAN, std=STD),
        patch=PATCH,
        gamma=1.3,
        embedding=EMBEDDING,
        thresholds=Thresholds(detection=0.5, instance=0.5, mask=0.5),
        models=entries,
        training=Training(trained=False, seed=0, note="random weights, for tests"),
        versions={"onnx": onnx.__version__},
    )
    write_manifest(folder, manifest)
    return folder


def make_model(name: str, precision: str = "fp32") -> onnx.ModelProto:
    """One of the networks as a checked ONNX model (opset 17)."""
    graph = _Graph(TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT)
    if name in ("detector", "masknet", "joint"):
        _brightest_cells(graph, masks=name == "masknet", described=name == "joint")
    else:
        _embed(graph, ("foreground", "original") if name == "mgts" else ("original",))
    return graph.model(name)


class _Graph:
    """Collects nodes; every method returns the name of what it added."""

    def __init__(self, real: int) -> None:
        self.real = real
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.random = np.random.default_rng(0)

    def op(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        name = f"/{kind}_{len(self.nodes)}"
        outputs = outputs or [f"{name}_output"]
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), name=name, **attributes))
        return outputs[0]

    def const(self, value: Any, dtype: Any = None) -> str:
        name = f"weight_{len(self.weights)}"
        dtype = dtype or (np.float16 if self.real == TensorProto.FLOAT16 else np.float32)
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.const(self.random.normal(0, np.prod(shape[1:]) ** -0.5, shape))

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return self.op("Cast", name, to=self.real)

    def output(self, name: str, value: str, shape: Sequence[int | str]) -> None:
        self.op("Cast", value, outputs=[name], to=TensorProto.FLOAT)
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def model(self, name: str) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model


def _brightest_cells(graph: _Graph, *, masks: bool, described: bool) -> None:
    image = graph.input("image", TensorProto.UINT8, ("B", *CANVAS, 3))
    planes = graph.op("Transpose", image, perm=[0, 3, 1, 2])
    # The mean of R, G and B, so that 128 becomes 0 and 255 becomes 8.
    grey = graph.op("Conv", planes, graph.const(np.full((1, 3, 1, 1), 1 / 48)), graph.const([-8]))
    cells = graph.op("AveragePool", grey, kernel_shape=CELL, strides=CELL)
    scores = graph.op("Sigmoid", graph.op("Reshape", cells, graph.const([0, -1], np.int64)))
    best, index = f"/TopK_{len(graph.nodes)}_values", f"/TopK_{len(graph.nodes)}_indices"
    graph.op("TopK", scores, graph.const([DETECTIONS], np.int64), outputs=[best, index])
    found = graph.op("Cast", graph.op("Greater", best, graph.const(0.5)), to=graph.real)
    boxes = graph.op("Gather", graph.const(_cell_boxes()), index)
    column = graph.op("Unsqueeze", found, graph.const([2], np.int64))
    found_boxes = graph.op("Mul", boxes, column)
    graph.output("boxes", found_boxes, ("B", DETECTIONS, 4))
    graph.output("scores", graph.op("Mul", best, found), ("B", DETECTIONS))
    if masks:
        rows, columns = CANVAS[0] // CELL[0], CANVAS[1] // CELL[1]
        step = (CELL[0] // MASK, CELL[1] // MASK)
        fine = graph.op("Sigmoid", graph.op("AveragePool", grey, kernel_shape=step, strides=step))
        split = graph.op("Reshape", fine, graph.const([0, rows, MASK, columns, MASK], np.int64))
        grid = graph.op("Transpose", split, perm=[0, 1, 3, 2, 4])
        each = graph.op("Reshape", grid, graph.const([0, rows * columns, MASK, MASK], np.int64))
        places = graph.op("Unsqueeze", index, graph.const([2], np.int64))
        alive = graph.op("Unsqueeze", found, graph.const([2, 3], np.int64))
        own = graph.op("GatherND", each, places, batch_dims=1)
        graph.output("masks", graph.op("Mul", own, alive), ("B", DETECTIONS, MASK, MASK))

    if described:
        project = graph.const(graph.random.normal(size=(JOINT_EMBEDDING, 24)), np.float32)
        given = graph.input("rois", TensorProto.FLOAT, ("B", PROBES, 4))
        own = _describe(graph, planes, found_boxes, DETECTIONS, project)
        alive = graph.op("Cast", column, to=TensorProto.FLOAT)
        graph.output("embeddings", graph.op("Mul", own, alive), ("B", DETECTIONS, JOINT_EMBEDDING))
        probed = _describe(graph, planes, given, PROBES, project)
        graph.output("roi_embeddings", probed, ("B", PROBES, JOINT_EMBEDDING))


def _describe(graph: _Graph, planes: str, boxes: str, places: int, project: str) -> str:
    """Embeddings of boxes [B, places, 4]: 4 × 2 points of each, projected at random, of length 1."""
    picture = graph.op("Cast", graph.op("Sub", planes, graph.const(100)), to=TensorProto.FLOAT)
    flat = graph.op("Reshape", graph.op("Cast", boxes, to=TensorProto.FLOAT), graph.const([-1, 4], np.int64))
    ones = graph.op("ReduceMax", graph.op("Mul", boxes, graph.const(0)), axes=[2], keepdims=0)
    counted = graph.op("CumSum", graph.op("Add", ones, graph.const(1)), graph.const(0, np.int64), exclusive=1)
    numbers = graph.op("Cast", graph.op("Reshape", counted, graph.const([-1], np.int64)), to=TensorProto.INT64)
    seen = graph.op("RoiAlign", picture, flat, numbers, output_height=4, output_width=2, sampling_ratio=2)
    vector = graph.op("Gemm", graph.op("Flatten", seen), project, transB=1)
    norm = graph.op("ReduceL2", vector, axes=[1], keepdims=1)
    unit = graph.op("Div", vector, graph.op("Max", norm, graph.const(1e-12, np.float32)))
    return graph.op("Reshape", unit, graph.const([-1, places, JOINT_EMBEDDING], np.int64))


def _cell_boxes() -> np.ndarray:
    top, left = np.mgrid[0 : CANVAS[0] : CELL[0], 0 : CANVAS[1] : CELL[1]].reshape(2, -1)
    return np.stack([left, top, left + CELL[1], top + CELL[0]], axis=1)


def _embed(graph: _Graph, streams: Sequence[str]) -> None:
    features = []
    for stream in streams:
        patch = graph.input(stream, TensorProto.FLOAT, ("N", 3, *PATCH))
        centred = graph.op("Sub", patch, graph.const(np.reshape(MEAN, (1, 3, 1, 1))))
        scaled = graph.op("Div", centred, graph.const(np.reshape(STD, (1, 3, 1, 1))))
        edges = graph.op("Relu", graph.op("Conv", scaled, graph.weight(16, 3, 3, 3), pads=[1, 1, 1, 1]))
        features.append(graph.op("AveragePool", edges, kernel_shape=(8, 8), strides=(8, 8)))
    joined = graph.op("Flatten", graph.op("Concat", *features, axis=1))
    length = len(streams) * 16 * (PATCH[0] // 8) * (PATCH[1] // 8)
    vector = graph.op("Gemm", joined, graph.weight(EMBEDDING, length), transB=1)
    # The norm is FP32 in every precision, as in the exported networks.
    single = graph.op("Cast", vector, to=TensorProto.FLOAT)
    norm = graph.op("ReduceL2", single, axes=[1], keepdims=1)
    floor = graph.const(1e-12, np.float32)
    graph.output("embedding", graph.op("Div", single, graph.op("Max", norm, floor)), ("N", EMBEDDING))


def _specs(values: Iterable[onnx.ValueInfoProto]) -> dict[str, TensorSpec]:
    return {
        value.name: TensorSpec(
            dtype=np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name,
            shape=tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim),
        )
        for value in values
    }
