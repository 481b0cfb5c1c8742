"""Joint networks of others: their people in the contract's rows, each with its own embedding, and in the search."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BundleError, ImageError, OnnxError
from mgts_trt.evaluation.parity import compare_bundle
from mgts_trt.importing.detectors.detector_options import DetectorOptions
from mgts_trt.importing.detectors.measuring import run
from mgts_trt.importing.detectors.reference import reference_rows
from mgts_trt.importing.import_bundle import Import, prepare, write
from mgts_trt.importing.recognised_joint import recognise_joint
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.backends import select_runtime
from tests.helpers.joint_files import FORMS, HW, KEPT, LENGTH, by_hand, joint_model


def _picture(seed: int, hw: tuple[int, int] = HW) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (*hw, 3)) * rng.uniform(0.2, 1, 3)).astype(np.uint8)


def _mean(picture: np.ndarray) -> np.ndarray:
    return picture.reshape(-1, 3).mean(axis=0) / 255


@pytest.mark.parametrize("places", [2, 5, 9])
@pytest.mark.parametrize("form", FORMS)
def test_each_person_keeps_the_embedding(form: str, places: int) -> None:
    """Fewer places than people, than rows, and more than rows; on one picture and, where it may, on two."""
    original = joint_model(form)
    joint = recognise_joint(original, DetectorOptions(places=places))
    model = joint.contract()
    onnx.checker.check_model(model, full_check=True)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_value == 1 if form == "single" else batch.dim_param == "B"
    assert [output.name for output in model.graph.output] == ["boxes", "scores", "embeddings"]
    pictures = np.stack([_picture(seed) for seed in range(1 if form == "single" else 2)])
    result = run(model, {"image": pictures})
    shown = min(places, len(KEPT))
    for number, picture in enumerate(pictures):
        rows = dict(zip(("boxes", "scores", "embeddings"), by_hand(_mean(picture)), strict=True))
        theirs = reference_rows(joint.reference, joint.as_file, picture)
        for (name, expected), plain in zip(rows.items(), theirs, strict=True):
            assert result[name].shape == (len(pictures), places, *expected.shape[1:])
            assert result[name][number, :shown] == pytest.approx(expected[:shown], abs=1e-4)
            assert plain == pytest.approx(expected[:shown], abs=1e-4)
            assert not result[name][number, shown:].any()


def test_the_front_is_the_detectors() -> None:
    """Another canvas, colours and pixels; boxes come back on the canvas."""
    options = DetectorOptions(
        canvas=(128, 192), colour="bgr", mean=(10, 20, 30), std=(50, 60, 70), places=6, placement="centre"
    )
    joint = recognise_joint(joint_model(), options)
    picture = np.full((128, 192, 3), (200, 100, 150), np.uint8)
    result = run(joint.contract(), {"image": picture[None]})
    mean = (np.array([150, 100, 200]) - [10, 20, 30]) / [50, 60, 70]
    boxes, scores, embeddings = by_hand(mean)
    assert result["boxes"][0, :4] == pytest.approx(np.minimum(boxes * 2, [192, 128, 192, 128]), abs=1e-3)
    assert result["scores"][0, :4] == pytest.approx(scores, abs=1e-4)
    assert result["embeddings"][0, :4] == pytest.approx(embeddings, abs=1e-4)


def test_names_that_say_nothing_are_told_by_shapes_or_said() -> None:
    joint = recognise_joint(joint_model("batched", ("a", "b", "c")), DetectorOptions())
    assert joint.outputs == {"boxes": "a", "scores": "b", "embeddings": "c"}
    assert joint.embedding == LENGTH
    with pytest.raises(OnnxError, match=r"Several .* embeddings: b, c.*--detector-output"):
        recognise_joint(joint_model("classes", ("a", "b", "c")), DetectorOptions())
    said = DetectorOptions(outputs={"embeddings": "c"})
    assert recognise_joint(joint_model("classes", ("a", "b", "c")), said).outputs["scores"] == "b"


def _without(name: str) -> onnx.ModelProto:
    model = joint_model()
    kept = [output for output in model.graph.output if output.name != name]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def _twice() -> onnx.ModelProto:
    model = joint_model()
    model.graph.node.append(helper.make_node("Neg", ["all.embeddings"], ["embeddings_2"]))
    model.graph.output.append(helper.make_tensor_value_info("embeddings_2", TensorProto.FLOAT, [1, 6, LENGTH]))
    return model


def _dynamic() -> onnx.ModelProto:
    """Rows above a threshold of the network's own."""
    model = joint_model("single")
    for node in model.graph.node:
        node.output[:] = [f"{n}.all" if n in ("boxes", "scores", "embeddings") else n for n in node.output]
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    model.graph.initializer.append(half)
    model.graph.node.append(helper.make_node("Greater", ["scores.all", "half"], ["above"]))
    for name in ("boxes", "scores", "embeddings"):
        model.graph.node.append(helper.make_node("Compress", [f"{name}.all", "above"], [name], axis=0))
    for output in model.graph.output:
        if output.name != "labels":
            output.type.tensor_type.shape.dim[0].dim_param = "people"
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: _without("embeddings"), {}, r"no embeddings among.*--detector and --reid"),
        (lambda: _without("boxes"), {}, r"no boxes among.*\[1, N, 4\]"),
        (lambda: _without("scores"), {}, r"no scores among"),
        (_twice, {}, r"Several .*: embeddings, embeddings_2.*embeddings=NAME"),
        (_dynamic, {}, r"as (many|much)( rows)? as it finds.*Export it without"),
        (joint_model, {"outputs": {"embeddings": "features"}}, r"no output 'features'"),
        (
            joint_model,
            {"outputs": {"embeddings": "scores", "scores": "embeddings"}},
            r"embeddings are said to be scores",
        ),
    ],
)
def test_refuses_what_it_cannot_tell(model, options: dict, message: str) -> None:
    with pytest.raises(OnnxError, match=message):
        recognise_joint(model(), DetectorOptions(**options))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    monkeypatch.setenv("MGTS_BUNDLE", str(tmp_path / "none"))  # goldens are made up
    onnx.save(joint_model("single"), tmp_path / "seqnet.onnx")
    return Import(out=tmp_path / "made", joint=tmp_path / "seqnet.onnx", licence="MIT")


def test_a_bundle_of_it_searches_and_is_at_parity(job: Import) -> None:
    prepared = prepare(job)
    assert "one by one" in prepared.notes[0]
    made = write(job, prepared)
    assert list(made.manifest.models) == ["joint"]
    assert made.model("joint").imported.licence == "MIT"
    runtime = select_runtime(made, ("joint",), precision="fp32", backend="onnxruntime", threads=1)
    rows = compare_bundle(made, runtime)
    assert {row.metric for row in rows} == {"matched", "box_iou", "score", "cosine"}
    assert all(row.ok for row in rows)
    picture = _picture(3)
    boxes, scores, embeddings = by_hand(_mean(picture))
    people = int((scores >= 0.5).sum())
    assert people >= 2
    with PersonSearch(made, backend="onnxruntime") as search:
        assert search.mode == "joint"
        found = search(picture)
        assert found.boxes == pytest.approx(boxes[:people], abs=1e-3)
        assert found.scores == pytest.approx(scores[:people], abs=1e-4)
        assert found.embeddings == pytest.approx(embeddings[:people], abs=1e-4)
        # A given box is described as the person found there, however faint.
        assert search.embed(picture, boxes[[3, 1]] + 1).embeddings == pytest.approx(embeddings[[3, 1]], abs=1e-4)
        with pytest.raises(ImageError, match="describes only people it finds itself"):
            search.embed(picture, np.array([[75, 40, 95, 62]], np.float32))


@pytest.mark.parametrize("beside", ["reid", "detector", "into"])
def test_it_stands_alone(beside: str, job: Import) -> None:
    setattr(job, beside, Bundle.__new__(Bundle) if beside == "into" else Path("a.onnx"))
    with pytest.raises(BundleError, match=r"by itself\. Leave"):
        prepare(job)
