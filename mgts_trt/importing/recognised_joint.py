"""What the ONNX file of a network that finds and describes people at once is: boxes, scores and embeddings.

Beyond its embeddings such a network is a detector of boxes with class scores, and is recognised and decoded as one.
"""

from dataclasses import dataclass, replace

from onnx import ModelProto, TensorProto, helper

from mgts_trt.errors import OnnxError
from mgts_trt.importing.detectors.contract import write_contract
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.families import Outputs
from mgts_trt.importing.detectors.folding import infer
from mgts_trt.importing.detectors.node_writer import NodeWriter, ints
from mgts_trt.importing.detectors.recognise import recognise_outputs
from mgts_trt.importing.detectors.recognised import Recognised, Row
from mgts_trt.importing.detectors.static_form import StaticForm, static_form

_WORDS = {
    "boxes": ("box", "dets", "loc"),
    "scores": ("score", "logit", "conf", "prob"),
    "embeddings": ("embed", "feat", "reid", "re_id"),
}
_LABELS = ("label", "class", "cls")
_NAMED = "name each: --detector-output boxes=NAME, scores=NAME, embeddings=NAME"


@dataclass(frozen=True)
class Joint:
    """A joint network as it will be imported.

    Attributes:
        found: What it is; its outputs are those of `form`.
        form: Its static graph.
        outputs: Role → output of the graph that the reference runs.
        reference: That graph: the file's own, or before an NMS that was left out.
        embedding: Length of an embedding, d.
    """

    found: Recognised
    form: StaticForm
    outputs: dict[str, str]
    reference: ModelProto
    embedding: int

    @property
    def as_file(self) -> Recognised:
        """What it is, by the outputs of `reference`."""
        return replace(self.found, outputs=self.outputs)

    def contract(self) -> ModelProto:
        """The model `image` uint8 [B, Hc, Wc, 3] → `boxes` [B, K, 4], `scores` [B, K], `embeddings` [B, K, d]."""
        return write_contract(self.form, self.found)

    def table(self) -> list[Row]:
        """All of it for people, a line each."""
        rows = [
            row._replace(value="boxes, scores and embeddings") if row.what == "family" else row
            for row in self.as_file.table()
        ]
        return [*rows, Row("embedding", f"{self.embedding} numbers", "read from the graph, brought to length 1")]


def recognise_joint(original: ModelProto, options: DetectorOptions) -> Joint:
    """What a joint network is.

    Args:
        original: Its ONNX file, with its weights; it is not changed.
        options: What is known already; those of a detector.

    Raises:
        OnnxError: It cannot be imported, or not without saying more; the message says what to do.
    """
    form = static_form(original, options)
    if form.cut is not None and form.cut.kind == "inputs":
        raise OnnxError(
            "The joint network gives as many people as it finds, chosen by an NMS that its embeddings come behind. "
            "Export it without NMS and thresholds, with boxes, scores and embeddings of a fixed number of people: an "
            "NMS is added here."
        )
    shapes = {
        output.name: form.shapes.get(output.name)
        for output in form.model.graph.output
        if output.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    roles = _roles(shapes, options)
    count = _rows(shapes[roles["boxes"]])
    reference = form.model if form.cut is not None else original
    form, read = _with_classes(form, roles, count)
    classes = form.shapes[read["scores"]][-1]
    why = f"{count} boxes, each with {'a score' if classes == 1 else f'{classes} scores'} and an embedding"
    found = recognise_outputs(original, form, Outputs("ssd", read, count, classes, why), options)
    return Joint(found, form, roles, reference, form.shapes[read["embeddings"]][-1])


def _roles(shapes: dict[str, tuple[int, ...] | None], options: DetectorOptions) -> dict[str, str]:
    """Role → output, by what is said, by names, by shapes."""
    said = {role: name for role, name in options.outputs.items() if role in _WORDS}
    if unknown := sorted(set(said.values()) - shapes.keys()):
        raise OnnxError(f"The joint network has no output {unknown[0]!r} of numbers. {_table(shapes)}.")
    if dynamic := [name for name, shape in shapes.items() if shape is None]:
        raise OnnxError(
            f"The joint network gives as many rows as it finds in {', '.join(dynamic)}, which no plan of static shapes "
            "holds. Export it without NMS and thresholds, with boxes, scores and embeddings of a fixed number of "
            "people: an NMS is added here."
        )
    known = {name: shape for name, shape in shapes.items() if shape is not None}
    free = {name: shape for name, shape in known.items() if name not in said.values()}
    boxes = said.get("boxes") or _one("boxes", [n for n, s in free.items() if _tabular(s) and s[-1] == 4], shapes)
    count = _rows(known[boxes])
    rest = {name: shape for name, shape in free.items() if name != boxes}
    tables = [n for n, s in rest.items() if _tabular(s) and s[-2] == count and s[-1] > 1 and not _is(n, "scores")]
    embeddings = said.get("embeddings") or _one("embeddings", tables, shapes)
    judging = [
        name
        for name, shape in rest.items()
        if name != embeddings and (shape in ((count,), (1, count)) or (_tabular(shape) and shape[-2] == count))
    ]
    scores = said.get("scores") or _one("scores", judging, shapes)
    roles = {"boxes": boxes, "scores": scores, "embeddings": embeddings}
    for role, name in roles.items():
        shape = known[name]
        flat = role == "scores" and shape in ((count,), (1, count))
        if not flat and not (_tabular(shape) and shape[-2] == count and (role != "boxes" or shape[-1] == 4)):
            raise OnnxError(
                f"The joint network's {role} are said to be {name} {list(shape)}, and {count} rows are expected, as "
                f"many as boxes [1, N, 4]. {_table(shapes)}; {_NAMED}."
            )
    return roles


def _one(role: str, candidates: list[str], shapes: dict[str, tuple[int, ...] | None]) -> str:
    """The output that has a role: the only one whose name says so, else the only one whose name says nothing else."""
    named = [name for name in candidates if _is(name, role)]
    others = [each for each in _WORDS if each != role]
    silent = [n for n in candidates if not any(_is(n, other) for other in others) and not _is_label(n)]
    chosen = named or silent
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise OnnxError(
            f"Several of the joint network's outputs could be its {role}: {', '.join(chosen)}. {_table(shapes)}; "
            f"{_NAMED}."
        )
    advice = "for a detector without embeddings take --detector and --reid" if role == "embeddings" else "export it so"
    raise OnnxError(
        f"The joint network has no {role} among its outputs. {_table(shapes)}. Expected are boxes [1, N, 4], scores "
        f"[1, N] or [1, N, C] and embeddings [1, N, d]: {advice}, or {_NAMED}."
    )


def _is(name: str, role: str) -> bool:
    return any(word in name.lower() for word in _WORDS[role])


def _is_label(name: str) -> bool:
    return any(word in name.lower() for word in _LABELS)


def _tabular(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[0] == 1)


def _rows(shape: tuple[int, ...] | None) -> int:
    return shape[-2] if shape is not None else 0


def _with_classes(form: StaticForm, roles: dict[str, str], count: int) -> tuple[StaticForm, dict[str, str]]:
    """The form with scores [N, 1] where the network gives [N], and its outputs' names."""
    if form.shapes[roles["scores"]] not in ((count,), (1, count)):
        return form, roles
    model = ModelProto()
    model.CopyFrom(form.model)
    write = NodeWriter("joint")
    name = write("Unsqueeze", roles["scores"], ints(-1))
    write.into(model)
    shape = (*form.shapes[roles["scores"]], 1)
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return replace(form, model=model, shapes=infer(model)), {**roles, "scores": name}


def _table(shapes: dict[str, tuple[int, ...] | None]) -> str:
    texts = (f"{name} {list(shape) if shape is not None else 'as many as it finds'}" for name, shape in shapes.items())
    return f"Its outputs are {'; '.join(texts)}"
