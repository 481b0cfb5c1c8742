"""A graph for one picture made one for any number B of them, and the proof that it computes the same."""

import math

import numpy as np
from onnx import ModelProto, helper, numpy_helper, shape_inference

from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.folding import constants, drop_unread, infer
from mgts_trt.importing.detectors.measuring import run

BATCH = "B"

_MARK = 10007
"""A prime that no size of a network is a multiple of: where a dimension is, it holds the batch."""

_CLOSE = 1e-3
"""Largest difference of a score, and in pixels of a coordinate by the canvas's side, that counts as the same."""


def any_batch(model: ModelProto) -> ModelProto | None:
    """A contract model for B pictures at a time.

    Exporters write the batch they were given into the targets of Reshape; there it is made the dimension that is
    computed. Whether that was all is found by running two pictures together and alone.

    Args:
        model: For one picture; it is not changed.

    Returns:
        The model whose first dimensions are `B`; None if the graph computes something else for two pictures.
    """
    try:
        batched = open_batch(model, BATCH)
    except OnnxError:
        return None
    return batched if _computes_the_same(model, batched) else None


def open_batch(model: ModelProto, name: str) -> ModelProto:
    """A static model whose first dimension has a name instead of a size; what it then computes is not looked at.

    Args:
        model: Of one input, its constants folded; it is not changed.
        name: Of the first dimension of its input and outputs.

    Raises:
        OnnxError: A Reshape mixes pictures, or an output does not follow the batch.
    """
    batched = ModelProto()
    batched.CopyFrom(model)
    _open_reshapes(batched, name)
    for value in (*batched.graph.input, *batched.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = name
    return batched


def _open_reshapes(model: ModelProto, name: str) -> None:
    graph = model.graph
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = _MARK
    known = constants(model)
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    opened: set[str] = set()
    while True:
        shapes = _shapes(model)
        changed = False
        for number, node in enumerate(graph.node):
            data = shapes.get(node.input[0]) if node.op_type == "Reshape" and node.name not in opened else None
            if data is None or node.input[1] not in known or not any(size % _MARK == 0 for size in data):
                continue
            target = [int(size) for size in known[node.input[1]]]
            wanted = f"{node.input[1]}.batch_{number}"
            graph.initializer.append(numpy_helper.from_array(np.array(_opened(data, target), np.int64), wanted))
            node.input[1] = wanted
            opened.add(node.name)
            changed = True
            break
        if not changed:
            break
    _write_shapes(model, shapes, name)
    drop_unread(model)


def _opened(data: tuple[int, ...], target: list[int]) -> list[int]:
    """The target of a Reshape with the dimension that holds the batch left to be computed.

    Args:
        data: Shape of what is reshaped, `_MARK` pictures.
        target: For one picture.

    Raises:
        OnnxError: There is no such dimension.
    """
    axis = next(number for number, size in enumerate(data) if size % _MARK == 0)
    one = [size // _MARK if number == axis else size for number, size in enumerate(data)]
    sizes = [one[number] if size == 0 else size for number, size in enumerate(target)]
    rest = math.prod(size for size in sizes if size != -1)
    sizes = [math.prod(one) // max(rest, 1) if size == -1 else size for size in sizes]
    elements = math.prod(one[axis:])  # of a picture, from its dimension on
    places = [number for number in range(len(sizes)) if math.prod(sizes[number:]) == elements]
    if not places:
        raise OnnxError(f"A Reshape from {one} to {sizes} mixes pictures.")
    ones = [number for number in places if sizes[number] == 1]
    return [-1 if number == (ones or places)[0] else size for number, size in enumerate(sizes)]


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    try:
        return infer(model)
    except shape_inference.InferenceError as error:
        raise OnnxError(f"Shapes do not fit: {error}") from error


def _write_shapes(model: ModelProto, shapes: dict[str, tuple[int, ...]], name: str) -> None:
    """Name the batch in the shapes of inner tensors and of the outputs."""
    graph = model.graph
    for value in graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value == _MARK:
                dim.dim_param = name
            elif dim.dim_value and dim.dim_value % _MARK == 0:
                dim.Clear()
    for value in graph.output:
        shape = shapes.get(value.name)
        if shape is None or shape[:1] != (_MARK,) or any(size % _MARK == 0 for size in shape[1:]):
            raise OnnxError(f"{value.name} does not follow the batch.")
        kind = value.type.tensor_type
        kind.CopyFrom(helper.make_tensor_type_proto(kind.elem_type, [name, *shape[1:]]).tensor_type)


def _computes_the_same(one: ModelProto, any_number: ModelProto) -> bool:
    shape = [dim.dim_value for dim in one.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    # Coarse noise: detectors answer to it, and find other things in each.
    small = rng.integers(0, 256, (2, math.ceil(shape[1] / 16), math.ceil(shape[2] / 16), 3), np.uint8)
    pictures = small.repeat(16, axis=1).repeat(16, axis=2)[:, : shape[1], : shape[2]]
    try:
        together = run(any_number, {"image": pictures})
    except OnnxError:
        return False
    side = max(shape[1:3])
    for number in range(2):
        alone = run(one, {"image": pictures[number : number + 1]})
        for name, scale in (("scores", 1.0), ("boxes", side), ("embeddings", 1.0)):
            if name not in alone:
                continue  # of joint networks alone
            if together[name].shape[1:] != alone[name].shape[1:]:
                return False
            if np.abs(together[name][number] - alone[name][0]).max() > _CLOSE * scale:
                return False
    return True
