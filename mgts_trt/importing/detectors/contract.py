"""The contract model of a detector: canvas in, boxes and scores out, in one static graph."""

from dataclasses import replace

from onnx import ModelProto, TensorProto, helper

from mgts_trt.bundle.operators import add_functions
from mgts_trt.importing.detectors.any_batch import any_batch
from mgts_trt.importing.detectors.boxes_out import write_output
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.folding import fold
from mgts_trt.importing.detectors.node_writer import NodeWriter
from mgts_trt.importing.detectors.picture_in import write_input
from mgts_trt.importing.detectors.recognise import recognise_form
from mgts_trt.importing.detectors.recognised import Recognised
from mgts_trt.importing.detectors.static_form import StaticForm, rename_tensors

PREFIX = "contract"


def contract_model(original: ModelProto, options: DetectorOptions | None = None) -> ModelProto:
    """A detector as the pipeline takes it.

    Args:
        original: Its ONNX file, with its weights; it is not changed.
        options: What is known of it already.

    Returns:
        A model `image` uint8 [B, Hc, Wc, 3] → `boxes` float32 [B, K, 4], `scores` float32 [B, K]: xyxy in canvas
        pixels, best first, 0 where nobody is. B is symbolic where the graph allows, else 1.

    Raises:
        OnnxError: It cannot be imported; the message says what to do.
    """
    found, form = recognise_form(original, options or DetectorOptions())
    return write_contract(form, found)


def write_contract(form: StaticForm, found: Recognised) -> ModelProto:
    """The contract model of a detector whose static graph is at hand; a joint network's has `embeddings` [B, K, d]."""
    model = ModelProto()
    model.CopyFrom(form.model)
    names = {name: f"original.{name}" for name in ("image", "boxes", "scores", "embeddings")}
    rename_tensors(model, names)
    described = found.outputs.get("embeddings")
    taken = names.get(found.image.name, found.image.name)
    found = replace(found, outputs={role: names.get(name, name) for role, name in found.outputs.items()})
    graph = model.graph
    front, back = NodeWriter(f"{PREFIX}.in"), NodeWriter(f"{PREFIX}.out")
    moved = write_input(front, "image", found, taken)
    write_output(back, found, moved)
    front.into(model, front=True)
    back.into(model)
    height, width = found.canvas
    del graph.input[:], graph.output[:], graph.value_info[:], model.metadata_props[:]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3]))
    graph.output.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, found.places, 4]))
    graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, found.places]))
    if described:
        length = form.shapes[described][-1]
        graph.output.append(helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, found.places, length]))
    graph.name, graph.doc_string, model.doc_string = "joint" if described else "detector", "", ""
    add_functions(model)
    fold(model)
    batched = None if found.image.layout == "CHW" or found.unbatched else any_batch(model)
    return batched if batched is not None else model
