"""A file of another project on its way into a bundle: what it is, its model there, and what its author's code gives."""

from collections.abc import Callable
from dataclasses import dataclass, field

from onnx import ModelProto

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.manifest import Normalisation, Provenance
from mgts_trt.evaluation.golden import AUTHOR, PERSONS
from mgts_trt.importing.detectors.contract import write_contract
from mgts_trt.importing.detectors.detector_options import Colour, DetectorOptions
from mgts_trt.importing.detectors.recognise import recognise_form
from mgts_trt.importing.detectors.recognised import Recognised, Row
from mgts_trt.importing.detectors.reference import reference, reference_rows
from mgts_trt.importing.original import Original
from mgts_trt.importing.recognised_joint import recognise_joint
from mgts_trt.importing.recognised_reid import recognise_reid
from mgts_trt.importing.reid_contract import reid_contract
from mgts_trt.importing.reid_options import USUAL_SIZE, ReidOptions, Triple
from mgts_trt.importing.reid_reference import describe_crops
from mgts_trt.precisions.onnx_file import open_session
from mgts_trt.precisions.recording import Recording
from mgts_trt.stages import expand_boxes

_LONGEST = 200
"""Characters of a name in the manifest."""


@dataclass(frozen=True)
class Part:
    """A file recognised, and made a model of a bundle; nothing is written yet.

    Attributes:
        name: Of the bundle's model: `detector`, `idnet` or `joint`.
        original: The file.
        model: What the bundle will hold.
        rows: What was recognised, for people.
        manifest: Fields of the manifest that it decides.
        record: Adds what the author's code gives for a picture to a golden in the making.
        notes: What whoever imports it should know.
    """

    name: str
    original: Original
    model: ModelProto
    rows: list[Row]
    manifest: dict[str, object]
    record: Callable[[Recording], None]
    notes: list[str] = field(default_factory=list)

    def provenance(self, licence: str | None, recordings: list[Recording]) -> Provenance:
        """Where it is from, once the goldens are recorded."""
        turned = [
            float(cosine)
            for each in recordings
            if f"{self.name}.{AUTHOR}" in each.outputs
            for cosine in (each.outputs[f"{self.name}.{AUTHOR}"] * each.outputs[f"{self.name}.none"]).sum(axis=1)
        ]
        return Provenance(
            file=_line(self.original.path.name),
            sha256=self.original.sha256,
            opset=self.original.opset,
            producer=_line(self.original.producer),
            licence=_line(licence) if licence else None,
            options={_line(row.what): _line(row.value) for row in self.rows if row.value},
            resize_cosine=min(max(min(turned), -1.0), 1.0) if turned else None,
        )


def detector_part(original: Original, options: DetectorOptions) -> Part:
    """A detector recognised, and made the bundle's.

    Raises:
        OnnxError: It cannot be imported; the message says what to do.
    """
    found, form = recognise_form(original.model, options)
    model = write_contract(form, found)
    graph = form.model if found.cut else original.model

    def record(recording: Recording) -> None:
        recording.outputs.update(_detections(graph, found, recording.canvas))

    return Part(
        "detector",
        original,
        model,
        found.table(),
        {"canvas": found.canvas, "pad": found.pad},
        record,
        _one_by_one(original, model),
    )


def joint_part(original: Original, options: DetectorOptions) -> Part:
    """A network that finds and describes people, recognised, and made the bundle's.

    Raises:
        OnnxError: It cannot be imported; the message says what to do.
    """
    joint = recognise_joint(original.model, options)
    model, found = joint.contract(), joint.as_file

    def record(recording: Recording) -> None:
        rows = zip(
            ("boxes", "scores", "embeddings"), reference_rows(joint.reference, found, recording.canvas), strict=True
        )
        recording.outputs.update({f"joint.{name}": array for name, array in rows})

    update = {
        "canvas": found.canvas,
        "pad": found.pad,
        "patch": USUAL_SIZE,  # of no network here, but a manifest has one
        "embedding": joint.embedding,
        "gamma": 1.0,
        "normalisation": _in_rgb(found.mean, found.std, found.colour),
    }
    return Part("joint", original, model, joint.table(), update, record, _one_by_one(original, model))


def reid_part(original: Original, options: ReidOptions) -> Part:
    """A re-ID network recognised, and made the bundle's.

    Raises:
        OnnxError: It cannot be imported; the message says what to do.
    """
    found = recognise_reid(original, options)
    model, together = reid_contract(original.model, found)
    batch = "any number of people at once" if together else "people one by one, inside the graph"
    rows = [*found.table(), Row("batch", batch, "compared with the file on 1, 2 and 3")]
    notes = []
    if not together:
        notes.append(
            f"{original.path.name} has its batch of 1 written into its graph, so people are described one by one, "
            "and on ONNX Runtime alone, since TensorRT-RTX takes no Scan: export it with a dynamic batch"
        )
    session = open_session(original.model.SerializeToString())

    def record(recording: Recording) -> None:
        crops = crops_of(recording)
        recording.outputs["idnet.none"] = describe_crops(session, found, crops, "bilinear")
        recording.outputs[f"idnet.{AUTHOR}"] = describe_crops(session, found, crops)

    update = {
        "patch": found.hw,
        "embedding": found.embedding,
        "gamma": 1.0,
        "normalisation": normalisation(options),
    }
    return Part("idnet", original, model, rows, update, record, notes)


def normalisation(options: ReidOptions) -> Normalisation:
    """Mean and standard deviation as the manifest has them: RGB, for pixels of 0…255."""
    return _in_rgb(*options.in_bytes, options.colour)


def _in_rgb(mean: Triple, std: Triple, colour: Colour) -> Normalisation:
    if colour == "bgr":
        mean, std = mean[::-1], std[::-1]
    return Normalisation(mean=mean, std=std)


def _one_by_one(original: Original, model: ModelProto) -> list[str]:
    if model.graph.input[0].type.tensor_type.shape.dim[0].dim_value != 1:
        return []
    return [f"{original.path.name} takes one picture at a time: several are run one by one"]


def crops_of(recording: Recording) -> list[Image]:
    """The crops of a picture's people, whole pixels of the canvas, without a margin: uint8 [h, w, 3] each."""
    boxes = expand_boxes(recording.outputs[PERSONS], 1.0, recording.letterbox.content_hw)
    return [recording.canvas[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes]


def _detections(graph: ModelProto, found: Recognised, canvas: Image) -> dict[str, Array]:
    boxes, scores = reference(graph, found, canvas)
    real = scores > 0
    return {"detector.boxes": boxes[real], "detector.scores": scores[real]}


def _line(text: str) -> str:
    """A text as the manifest takes it: one line, not empty, not too long."""
    return "".join(c if c.isprintable() else "�" for c in text[:_LONGEST]) or "unknown"
