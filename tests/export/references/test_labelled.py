"""A bundle exported with a labelled set, and the sessions its reference is made with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs PyTorch")

from export.exporter import Export, export_bundle
from export.references.torch_session import TorchSession
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import MODELS
from mgts_trt.choices import MODES
from mgts_trt.errors import BackendError, LabelError
from mgts_trt.evaluation.labelled import LabelledPicture, Labels
from mgts_trt.evaluation.task import compare_task
from mgts_trt.pictures.image import read_image, write_image
from mgts_trt.runtime.session.backends import Runtime
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from training.models import create

CPU = Runtime("onnxruntime", "CPU", "asked for")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, public_photos: list[Path]) -> Path:
    """Two photos, one in a folder of its own, with two people in both."""
    folder, pictures = tmp_path_factory.mktemp("labelled") / "set", []
    (folder / "deeper").mkdir(parents=True)
    for number, file in enumerate(("a.png", "deeper/b.png")):
        photo = read_image(public_photos[number])[:300, :500]
        write_image(folder / file, photo)
        boxes = ((20.0, 30.0, 90.5, 220.0), (200.0 + 30 * number, 40.0, 260.0 + 30 * number, 250.0))
        pictures.append(LabelledPicture(file=file, boxes=boxes, identities=(0, 1)))
    Labels(format=1, pictures=tuple(pictures)).write(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(tiny, labelled: Path, public_photos: list[Path], tmp_path_factory) -> Bundle:
    job = Export(tiny, tmp_path_factory.mktemp("out") / "bundle", [public_photos[0]], labelled=labelled)
    return export_bundle(job)[0]


def test_an_exported_set_is_at_parity(bundle: Bundle) -> None:
    entry = bundle.manifest.labelled
    assert entry is not None
    assert [file.file for file in entry.pictures] == ["labelled/a.png", "labelled/deeper/b.png"]
    report = compare_task(bundle, CPU, threads=1)
    assert [row for row in report.comparisons if not row.ok] == []
    assert report.reference.modes.keys() == set(MODES)
    cosines = [row.value for row in report.comparisons if row.metric == "cosine"]
    assert len(cosines) == len(MODES)
    # Not the exported graphs' own result again: PyTorch rounds differently.
    ours = report.runs["fp32"].modes["box"]
    assert any((a.truths != b.truths).any() for a, b in zip(report.reference.modes["box"], ours, strict=True))


def test_a_malformed_set_is_refused_first(tiny, labelled: Path, public_photos, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(labelled, tmp_path / "set"))
    data = json.loads((folder / "labels.json").read_text())
    data["pictures"][0]["boxes"][0][2] = 501
    (folder / "labels.json").write_text(json.dumps(data))
    with pytest.raises(LabelError, match="500×300 pixels, but has the box"):
        export_bundle(Export(tiny, tmp_path / "b", [public_photos[0]], labelled=folder))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", MODELS)
def test_pytorch_behind_the_session_protocol(bundle: Bundle, tiny, public_photos, name: str) -> None:
    ours = TorchSession(name, create(name, tiny, seed=0), bundle.model(name))
    theirs = OnnxRuntimeSession(bundle, name, "fp32", threads=1, batch=2)
    rng = np.random.default_rng(0)
    if "image" in ours.inputs:
        photo = read_image(public_photos[0])
        canvases = [photo[:92, :155], photo[100:192, 200:355]]
        inputs = {"image": np.stack(canvases)}
    else:
        inputs = {key: rng.normal(size=(3, 3, *tiny.patch)).astype(np.float32) for key in ours.inputs}
    if "rois" in ours.inputs:
        inputs["rois"] = np.tile(np.array([10, 5, 60, 90], np.float32), (2, tiny.joint.probes, 1))
    found, expected = ours.run(inputs), theirs.run(inputs)
    assert found.keys() == expected.keys()
    for key, array in found.items():
        assert (array.shape, array.dtype) == (expected[key].shape, expected[key].dtype)
    main = "embedding" if "embedding" in found else "scores"
    assert found[main] == pytest.approx(expected[main], abs=1e-4)
    with pytest.raises(BackendError, match="unknown"):
        ours.run({**inputs, "other": inputs[next(iter(inputs))]})
    ours.close()
    ours.close()
    with pytest.raises(BackendError, match="closed"):
        ours.run(inputs)
