"""ONNX graphs whose outputs have the shapes a test asks for; no PyTorch."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF, BYTE, LONG = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT64


def graph(
    outputs: Mapping[str, Sequence[int]],
    *,
    shape: Sequence[int | str] = (1, 3, 64, 96),
    kind: int = FLOAT,
    output_kind: int = FLOAT,
    opset: int = 17,
    more: Sequence[onnx.NodeProto] = (),
    domains: Sequence[str] = (),
    inputs: Sequence[onnx.ValueInfoProto] = (),
    names: str | None = None,
    seed: int = 0,
) -> onnx.ModelProto:
    """A model whose outputs are seeded numbers of 0 … 1 plus the mean of the picture, in these shapes.

    Args:
        outputs: Name → shape.
        shape: Of the input `images`; names are dynamic.
        kind: ONNX's type of the input.
        output_kind: Of the outputs.
        opset: Of the standard operators.
        more: Further nodes, before the outputs'.
        domains: Further domains.
        inputs: Further inputs.
        names: What Ultralytics' exporter would write of the classes.
        seed: Of the numbers.
    """
    rng = np.random.default_rng(seed)
    nodes, weights = [helper.make_node("Cast", ["images"], ["picture"], to=FLOAT)], []
    nodes.append(helper.make_node("ReduceMax", ["picture"], ["level"], keepdims=0))
    for name, sizes in outputs.items():
        weights.append(numpy_helper.from_array(rng.random(sizes).astype(np.float32), f"{name}.numbers"))
        nodes.append(helper.make_node("Mul", [f"{name}.numbers", "level"], [f"{name}.scaled"]))
        nodes.append(helper.make_node("Cast", [f"{name}.scaled"], [name], to=output_kind))
    model = helper.make_model(
        helper.make_graph(
            [*nodes, *more],
            "detector",
            [helper.make_tensor_value_info("images", kind, shape), *inputs],
            [helper.make_tensor_value_info(name, output_kind, sizes) for name, sizes in outputs.items()],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)],
        ir_version=8,
    )
    if names is not None:
        model.metadata_props.add(key="names", value=names)
    return model
