"""A bundle's networks as DeepStream's `nvinfer` feeds them: with pixels as planes of float32, red first, 0…255.

A bundle's detector takes uint8 [B, Hc, Wc, 3], which nvinfer does not make. Its re-ID network takes pixels that are
normalised channel by channel, and nvinfer divides all channels by one number. So both take the same input here, and
what is missing lies in the graph.
"""

from collections.abc import Sequence
from typing import Any

from mgts_trt.bundle.onnx_graph import import_onnx
from mgts_trt.bundle.operators import drop_functions
from mgts_trt.errors import BuildError
from mgts_trt.plans.builder.one_picture import fix_batch, varies

INPUT = "pixels"
"""Name of the input of either."""


def feed_detector(model: Any) -> None:
    """Have a detector take planes of float32, [B, 3, Hc, Wc], in the place of its own pixels, uint8 [B, Hc, Wc, 3].

    Raises:
        BuildError: The graph does something else with its pixels than make floating numbers of them.
    """
    onnx = import_onnx()
    graph = model.graph
    (image,) = graph.input
    readers = [node for node in graph.node if image.name in node.input]
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)  # either holds 0…255
    for node in readers:
        if node.op_type != "Cast" or node.attribute[0].i not in floats:
            raise BuildError(
                f"The detector begins with {node.op_type} of uint8 pixels, and nvinfer gives float32. A detector whose "
                "graph begins with a Cast to a floating type can be fed by it."
            )
    batch, height, width, channels = image.type.tensor_type.shape.dim
    planes = onnx.helper.make_tensor_value_info(
        INPUT, onnx.TensorProto.FLOAT, [_size(each) for each in (batch, channels, height, width)]
    )
    turned = onnx.helper.make_node("Transpose", [INPUT], ["pixels.last"], "pixels.last", perm=(0, 2, 3, 1))
    for node in readers:
        node.input[0] = "pixels.last"
    graph.node.insert(0, turned)
    graph.input.remove(image)
    graph.input.append(planes)


def feed_reid(model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
    """Have a re-ID network take pixels, float32 [N, 3, Hp, Wp], and normalise them itself.

    Args:
        model: Takes what is normalised.
        mean: Per channel, on the scale of 0…255.
        std: Likewise.
    """
    onnx = import_onnx()
    graph = model.graph
    (patch,) = graph.input
    pixels = onnx.ValueInfoProto()
    pixels.CopyFrom(patch)
    pixels.name = INPUT
    constants = {"pixels.mean": mean, "pixels.std": std}
    for name, values in constants.items():
        graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, (1, 3, 1, 1), list(values)))
    graph.node.insert(0, onnx.helper.make_node("Div", ["pixels.centred", "pixels.std"], [patch.name], "pixels.scaled"))
    graph.node.insert(0, onnx.helper.make_node("Sub", [INPUT, "pixels.mean"], ["pixels.centred"], "pixels.centred"))
    graph.input.remove(patch)
    graph.input.append(pixels)


def as_plugins(model: Any, batch: int) -> None:
    """Leave the operators to plugins, and fix the number of pictures where it is one."""
    if batch == 1 and varies(model):
        fix_batch(model)
    drop_functions(model)


def _size(dimension: Any) -> int | str:
    return str(dimension.dim_param) or int(dimension.dim_value)
