"""MGTS in miniature with the head of the real one: what `export` writes behind the feature maps, in each precision."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, write_manifest
from tests.helpers.small_graphs import node
from tests.helpers.tiny_bundle import EMBEDDING, PATCH

CHANNELS = 16
HIDDEN = 8
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


@dataclasses.dataclass
class Parts:
    """Nodes and constants, to be changed before they become a model."""

    nodes: list[NodeProto]
    constants: dict[str, np.ndarray]

    def named(self, name: str) -> NodeProto:
        """The node that computes a tensor."""
        return next(each for each in self.nodes if name in each.output)

    def model(self, patch: Sequence[int | str] = PATCH, *, sound: bool = True) -> onnx.ModelProto:
        """A model with the tiny bundle's inputs and output; a `sound` one passes ONNX's checker."""
        patches = [helper.make_tensor_value_info(name, FLOAT, ("N", 3, *patch)) for name in ("foreground", "original")]
        embedding = helper.make_tensor_value_info("embedding", FLOAT, ("N", EMBEDDING))
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "mgts", patches, [embedding], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        if sound:
            onnx.checker.check_model(model, full_check=True)
        return model


def headed_mgts(precision: str = "fp32") -> Parts:
    """Random weights, of which those of the head are float16 numbers.

    Args:
        precision: `fp32`; `fp16`, with casts around float islands; `int8`, with weights and what enters a layer
            quantised as well.
    """
    random = np.random.default_rng(0)
    real = np.float32 if precision == "fp32" else np.float16
    parts = Parts([], {"space": np.array([2, 3]), "one": np.array([1]), "floor": np.array(1e-12, np.float32)})

    def layer(kind: str, source: str, output: str, shape: Sequence[int], scale: float, **attributes: object) -> None:
        weight = f"{output}.weight"
        values = random.normal(0, scale, shape).astype(np.float16)
        if precision == "int8":
            parts.constants |= {f"{source}.scale": np.array(0.02, real), f"{source}.zero": np.array(0, np.int8)}
            scales = (np.abs(values.astype(np.float32)).reshape(shape[0], -1).max(1) / 127).astype(real)
            integers = np.rint(values / scales.reshape(-1, *[1] * (len(shape) - 1)).astype(np.float32))
            parts.constants |= {f"{weight}.int8": integers.clip(-127, 127).astype(np.int8), f"{weight}.scale": scales}
            edge = f"{source}.scale {source}.zero"
            parts.nodes += [
                node("QuantizeLinear", f"{source} {edge}", f"{source}.quantised"),
                node("DequantizeLinear", f"{source}.quantised {edge}", f"{source}.dequantised"),
                node("DequantizeLinear", f"{weight}.int8 {weight}.scale", f"{weight}.dequantised", axis=0),
            ]
            source, weight = f"{source}.dequantised", f"{weight}.dequantised"
        else:
            parts.constants[weight] = values.astype(real)
        parts.nodes.append(node(kind, f"{source} {weight}", output, **attributes))

    def cast(source: str, output: str, kind: int) -> str:
        if precision == "fp32":
            return source
        parts.nodes.append(node("Cast", source, output, to=kind))
        return output

    for stream in ("foreground", "original"):
        parts.constants["bright"] = np.array(255, real)
        parts.nodes.append(node("Div", f"{cast(stream, f'{stream}.half', HALF)} bright", f"{stream}_scaled"))
        layer("Conv", f"{stream}_scaled", f"{stream}_edges", (CHANNELS, 3, 3, 3), 0.3, pads=[1, 1, 1, 1])
        parts.nodes.append(node("Relu", f"{stream}_edges", f"{stream}_relu"))
        pool = {"kernel_shape": [8, 8], "strides": [8, 8]}
        parts.nodes.append(node("AveragePool", f"{stream}_relu", f"{stream}_features", **pool))
        wide = cast(f"{stream}_features", f"{stream}_features.float", FLOAT)
        parts.nodes.append(node("ReduceMean", f"{wide} space", f"{stream}_mean", keepdims=0))
    parts.nodes.append(node("Concat", "foreground_mean original_mean", "pooled", axis=1))
    layer("Gemm", cast("pooled", "pooled.half", HALF), "squeezed", (HIDDEN, 2 * CHANNELS), 0.5, transB=1)
    parts.nodes.append(node("Relu", "squeezed", "hidden"))
    layer("Gemm", "hidden", "excited", (2 * CHANNELS, HIDDEN), 2, transB=1)
    parts.nodes.append(node("Sigmoid", cast("excited", "excited.float", FLOAT), "gates"))
    parts.nodes.append(node("Mul", "pooled gates", "weighted"))
    layer("Gemm", cast("weighted", "weighted.half", HALF), "vector", (EMBEDDING, 2 * CHANNELS), 1, transB=1)
    vector = cast("vector", "vector.float", FLOAT)
    parts.nodes.append(node("ReduceL2", f"{vector} one", "norm", keepdims=1))
    parts.nodes.append(node("Clip", "norm floor", "length"))
    parts.nodes.append(node("Div", f"{vector} length", "embedding"))
    return parts


def put_headed_mgts(bundle: Bundle, *precisions: str) -> Bundle:
    """Put these networks into a bundle in place of its MGTS."""
    entry = bundle.model("mgts")
    files = {}
    for precision in precisions:
        file = f"mgts.{precision}.onnx"
        onnx.save(headed_mgts(precision).model(), Path(bundle.root, file))
        files[precision] = BundleFile.of(bundle.root, file)
    models = {**bundle.manifest.models, "mgts": entry.model_copy(update={"files": files})}
    write_manifest(bundle.root, bundle.manifest.model_copy(update={"models": models}))
    return Bundle.open(bundle.root)
