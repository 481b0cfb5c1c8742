"""The contract model of a re-ID network: normalised patches in, embeddings of length 1 out, any number of them."""

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, shape_inference

from mgts_trt._typing import Floats
from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.any_batch import open_batch
from mgts_trt.importing.detectors.folding import fold
from mgts_trt.importing.detectors.measuring import run
from mgts_trt.importing.detectors.node_writer import NodeWriter, ints, write_unit_rows
from mgts_trt.importing.detectors.static_form import in_opset, name_nodes, rename_tensors
from mgts_trt.importing.recognised_reid import Reid
from mgts_trt.importing.reid_reference import unit_rows

N = "N"
INPUT, OUTPUT = "original", "embedding"

_CLOSE = 1e-4
"""Largest difference of a number of an embedding of length 1 that counts as the same."""

_TRIED = (1, 2, 3)
"""Numbers of people on which the contract model is compared with the original."""


def reid_contract(original: ModelProto, found: Reid) -> tuple[ModelProto, bool]:
    """A re-ID network as the pipeline takes it.

    Args:
        original: Its ONNX file, with its weights; it is not changed.
        found: What it is.

    Returns:
        A model `original` float32 [N, 3, H, W], RGB, → `embedding` float32 [N, D], rows of length 1. And whether it
        takes people together; if not, it runs them one by one inside, by a Scan. Either way it was compared with the
        original on 1, 2 and 3 people.

    Raises:
        OnnxError: No way of running it gives what the original gives; the message says what to do.
    """
    static = _static(original, found)
    together = _together(static, original, found)
    if together is not None:
        return together, True
    if found.batch not in (None, 1):
        raise OnnxError(
            f"The network takes {found.batch} crops at a time, and its graph computes something else for another "
            "number. Export it with a dynamic batch, or with a batch of 1."
        )
    scanned = _with_ends(_one_by_one(static), found)
    if not _computes_the_same(original, scanned, found):
        raise OnnxError(
            "The network gives other features here than alone in ONNX Runtime. Export it again, with a dynamic batch "
            "and a newer opset."
        )
    return scanned, False


def _static(original: ModelProto, found: Reid) -> ModelProto:
    """The network for as many crops as it takes, one where it takes any number, its output [N, D]."""
    model = ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    batch = found.batch or 1
    rename_tensors(model, {name: f"author.{name}" for name in (INPUT, OUTPUT)})
    taken = f"author.{found.input}" if found.input in (INPUT, OUTPUT) else found.input
    given = f"author.{found.output}" if found.output in (INPUT, OUTPUT) else found.output
    del graph.input[:], graph.output[:]
    back = NodeWriter("contract.rows")
    rows = back("Flatten", given, output="contract.features", axis=1)
    back.into(model)
    graph.input.append(helper.make_tensor_value_info(taken, TensorProto.FLOAT, [batch, 3, *found.hw]))
    graph.output.append(helper.make_tensor_value_info(rows, TensorProto.FLOAT, [batch, found.embedding]))
    fold(model)
    model = in_opset(model)
    name_nodes(model)
    fold(model)
    return model


def _together(static: ModelProto, original: ModelProto, found: Reid) -> ModelProto | None:
    try:
        opened = open_batch(static, N)
    except OnnxError:
        return None
    model = _with_ends(opened, found)
    return model if _computes_the_same(original, model, found) else None


def _one_by_one(static: ModelProto) -> ModelProto:
    """The same for any number of crops, each through the graph by itself."""
    model = ModelProto()
    model.CopyFrom(static)
    graph = model.graph
    (crop,), (features,) = graph.input, graph.output
    shape = [dim.dim_value for dim in crop.type.tensor_type.shape.dim]
    length = features.type.tensor_type.shape.dim[1].dim_value
    one = helper.make_node("Unsqueeze", ["scan.crop", "scan.axis"], [crop.name], name="scan.unsqueeze")
    row = helper.make_node("Squeeze", [features.name, "scan.axis"], ["scan.row"], name="scan.squeeze")
    body = helper.make_graph(
        [one, *graph.node, row],
        "crop",
        [helper.make_tensor_value_info("scan.crop", TensorProto.FLOAT, shape[1:])],
        [helper.make_tensor_value_info("scan.row", TensorProto.FLOAT, [length])],
    )
    scan = helper.make_node("Scan", ["scan.crops"], ["scan.rows"], name="scan", num_scan_inputs=1, body=body)
    weights = [*graph.initializer, helper.make_tensor("scan.axis", TensorProto.INT64, [1], [0])]
    outer = helper.make_graph(
        [scan],
        "reid",
        [helper.make_tensor_value_info("scan.crops", TensorProto.FLOAT, [N, *shape[1:]])],
        [helper.make_tensor_value_info("scan.rows", TensorProto.FLOAT, [N, length])],
        weights,
    )
    result: ModelProto = helper.make_model(outer, opset_imports=model.opset_import, ir_version=model.ir_version)
    return result


def _with_ends(opened: ModelProto, found: Reid) -> ModelProto:
    """The channels' order in front, and length 1 behind."""
    model = ModelProto()
    model.CopyFrom(opened)
    graph = model.graph
    (taken,), (given,) = graph.input, graph.output
    front, back = NodeWriter("contract.in"), NodeWriter("contract.out")
    if found.options.colour == "bgr":
        front("Gather", INPUT, ints(2, 1, 0), output=taken.name, axis=1)
    else:
        front("Identity", INPUT, output=taken.name)
    write_unit_rows(back, given.name, 1, output=OUTPUT)
    front.into(model, front=True)
    back.into(model)
    del graph.input[:], graph.output[:], graph.value_info[:], model.metadata_props[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [N, 3, *found.hw]))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [N, found.embedding]))
    graph.name, graph.doc_string, model.doc_string = "idnet", "", ""
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    graph.value_info.extend(inferred.graph.value_info)
    return model


def _computes_the_same(original: ModelProto, model: ModelProto, found: Reid) -> bool:
    crops = np.random.default_rng(1).normal(0, 1, (max(_TRIED), 3, *found.hw)).astype(np.float32)
    expected = _alone(original, found, crops)
    patches = crops[:, ::-1] if found.options.colour == "bgr" else crops
    for count in _TRIED:
        try:
            rows = run(model, {INPUT: np.ascontiguousarray(patches[:count])})[OUTPUT]
        except OnnxError:
            return False
        if rows.shape != (count, found.embedding) or not np.abs(rows - expected[:count]).max() <= _CLOSE:
            return False
    return True


def _alone(original: ModelProto, found: Reid, crops: Floats) -> Floats:
    """The original's features of each crop by itself, brought to length 1."""
    rows: list[Any] = []
    for crop in crops:
        filled = np.repeat(crop[None], found.batch or 1, axis=0)
        rows.append(run(original, {found.input: filled})[found.output].reshape(len(filled), -1)[0])
    return unit_rows(np.stack(rows))
