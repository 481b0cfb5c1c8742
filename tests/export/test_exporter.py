import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.paths import ROOT

pytest.importorskip("torch", reason="exporting needs PyTorch")

import onnx

from export.errors import ExportError
from export.exporter import STEPS, Export, export_bundle
from export.graphs.check import Check, CheckedGraph, require
from mgts_trt import PersonSearch
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import MANIFEST
from mgts_trt.bundle.recipe import MODELS, load_recipe
from mgts_trt.errors import BundleError, ImageError, PrecisionError
from mgts_trt.evaluation.parity import compare_bundle
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.session.backends import Runtime
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from training.checkpoint import CheckpointError, save_checkpoint
from training.models import create
from training.preset import load_preset

CPU = Runtime("onnxruntime", "CPU", "asked for")


def test_an_exported_bundle_runs_and_is_at_parity(bundle: Bundle, pictures: list[Path]) -> None:
    assert {path.name for path in bundle.root.iterdir()} == {
        "manifest.json", "golden", "detector.fp32.onnx", "masknet.fp32.onnx", "mgts.fp32.onnx", "idnet.fp32.onnx",
        "joint.fp32.onnx",
    }  # fmt: skip
    assert [golden.name for golden in bundle.manifest.golden] == ["landscape", "portrait", "tiny"]
    assert not bundle.manifest.training.trained
    assert all(comparison.ok for comparison in compare_bundle(bundle, CPU))
    with PersonSearch(bundle, mode="net") as search:
        people = search(read_image(pictures[0]), top=5)
    assert people.embeddings.shape == (5, bundle.manifest.embedding)


def test_all_precisions(tiny, pictures, tmp_path, gradients) -> None:
    """Each is checked against PyTorch and at parity; INT8 says what it was calibrated on, and that it was little."""
    steps, notes, seen = [], [], []
    job = Export(
        tiny,
        tmp_path / "bundle",
        pictures[:1],
        precisions=("fp32", "fp16", "int8"),
        calibration=[pictures[1], gradients],
        on_step=lambda *step: steps.append(step),
        on_picture=lambda *numbers: seen.append(numbers),
        on_note=notes.append,
    )
    bundle, checks = export_bundle(job)
    assert {check.precision for check in checks} == {"fp32", "fp16", "int8"}
    assert steps == [(model, step) for model in MODELS for step in STEPS]
    assert seen == [(model, done, 2) for model in MODELS for done in (1, 2)]
    assert ["calibrated on 2 pictures" in note for note in notes] == [True]
    for name, model in bundle.manifest.models.items():
        assert list(model.files) == ["fp32", "fp16", "int8"]
        assert not model.kept_float32
        assert model.files["fp16"].bytes < model.files["fp32"].bytes
        ranges = json.loads((bundle.root / f"ranges/{name}.json").read_text())
        assert ranges["pictures"] == ["landscape", "portrait", "gradients"]
        assert all(row["overflow"] == 0 for row in ranges["ranges"])
        assert model.quantisation.calibration == load_recipe(name).of("int8").calibration
    assert list(bundle.manifest.calibration.pictures) == ["portrait.png", "gradients.png"]
    assert [golden.name for golden in bundle.manifest.golden] == ["landscape"]
    assert all(comparison.ok for comparison in compare_bundle(bundle, CPU, precisions=("fp32", "fp16")))

    (bundle.root / "ranges" / "idnet.json").write_text("{}")
    with pytest.raises(BundleError, match=r"idnet\.json has 2 bytes"):
        Bundle.open(bundle.root)


def test_half_alone_and_over_another_bundle(bundle: Bundle, tiny, pictures, tmp_path) -> None:
    """FP32 does not come into the bundle unasked; what overflows half stays in float32, and the manifest names it."""
    import torch

    out = Path(shutil.copytree(bundle.root, tmp_path / "bundle"))
    checkpoint = tmp_path / "idnet.safetensors"
    network = create("idnet", tiny, seed=0)
    with torch.no_grad():  # nothing after it scales this down again, but the final normalisation
        network.o_net.conv1.weight *= 1e5
    save_checkpoint(checkpoint, network, model="idnet", preset="tiny")
    job = Export(tiny, out, pictures[:1], {"idnet": checkpoint}, precisions=("fp16",), force=True)
    half, _ = export_bundle(job)
    assert {path.name for path in out.glob("*.onnx")} == {f"{name}.fp16.onnx" for name in MODELS if name != "joint"}
    kept = half.manifest.models["idnet"].kept_float32["fp16"]
    model = onnx.load(out / "idnet.fp16.onnx")
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions[0].name in kept
    assert set(kept) <= {node.name for node in model.graph.node}
    assert not half.manifest.models["mgts"].kept_float32


def test_no_path_of_the_machine_is_in_the_bundle(bundle: Bundle) -> None:
    for path in bundle.root.rglob("*.onnx"):
        assert str(ROOT).encode() not in path.read_bytes()
    assert str(ROOT) not in (bundle.root / MANIFEST).read_text()


def test_a_second_export_replaces_the_first_and_keeps_other_files(bundle: Bundle, tiny, pictures, tmp_path) -> None:
    """And takes a checkpoint: two things in one export, which takes a while."""
    import torch

    out = Path(shutil.copytree(bundle.root, tmp_path / "bundle"))
    with pytest.raises(BundleError, match="--force"):
        export_bundle(Export(tiny, out, pictures))
    (out / "README.md").write_text("a model card")
    (out / "plans").mkdir()
    (out / "stale.int8.onnx").write_text("of another export")
    for folder in ("labelled", "parity"):
        (out / folder).mkdir()
    checkpoint = tmp_path / "idnet.safetensors"
    network = create("idnet", tiny, seed=5)
    save_checkpoint(checkpoint, network, model="idnet", preset="tiny")

    job = Export(tiny, out, pictures[:1], checkpoints={"idnet": checkpoint}, seed=3, force=True)
    again, _ = export_bundle(job)

    assert (out / "README.md").exists()
    assert (out / "plans").is_dir()
    assert not (out / "stale.int8.onnx").exists()
    assert not (out / "labelled").exists()
    assert not (out / "parity").exists(), "measured of the old bundle"
    assert [path.name for path in (out / "golden").iterdir() if path.suffix == ".png"] == ["landscape.png"]
    assert again.manifest.models["mgts"] != bundle.manifest.models["mgts"], "another seed, other weights"
    training = again.manifest.training
    assert (training.seed, training.trained, list(training.checkpoints)) == (3, False, ["idnet"])
    assert "idnet" not in training.note
    patch = np.random.default_rng(0).normal(size=(2, 3, *tiny.patch)).astype(np.float32)
    want = network.eval()(torch.from_numpy(patch)).detach().numpy()
    got = OnnxRuntimeSession(again, "idnet", "fp32").run({"original": patch})["embedding"]
    assert (want * got).sum(axis=1).min() > 0.99999


@pytest.mark.parametrize("stage", ["detector trace", "detector record"])
def test_a_failed_export_leaves_what_was_there(bundle: Bundle, tiny, pictures, tmp_path: Path, stage: str) -> None:
    out = Path(shutil.copytree(bundle.root, tmp_path / "bundle"))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def fail(model: str, step: str) -> None:
        if f"{model} {step}" == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(Export(tiny, out, pictures[:1], force=True, on_step=fail))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == [out], "nothing half-made is left"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pictures": []}, ExportError, "--golden"),
        ({"pictures": [Path("/nowhere.jpg")]}, ImageError, "nowhere"),
        ({"checkpoints": {"detector": Path("/nowhere.safetensors")}}, CheckpointError, "nowhere"),
        ({"precisions": ("fp64",)}, PrecisionError, "no precision fp64"),
    ],
)
def test_what_cannot_be_exported(tiny, pictures, tmp_path: Path, change, error, message: str) -> None:
    with pytest.raises(error, match=message):
        export_bundle(Export(**{"preset": tiny, "out": tmp_path / "b", "pictures": pictures[:1], **change}))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["detector", "masknet", "mgts", "idnet"])
def test_a_graph_of_other_weights_is_caught(networks, tiny, exported, pictures, name: str) -> None:
    """Check the file of one network against the same network with one weight changed a little."""
    import copy

    import torch

    other = copy.deepcopy(networks[name])
    layer = {"detector": "fc7", "masknet": "score_maps"}.get(name, "fc")
    with torch.no_grad():
        weight = other.get_submodule(layer).weight
        weight += 0.02 * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    patches = {key: np.random.default_rng(1).normal(size=(3, 3, *tiny.patch)).astype(np.float32) for key in "fo"}

    def checks(network) -> list[Check]:
        graph = CheckedGraph(name, network, exported(name))
        if name in ("detector", "masknet"):
            canvas = np.random.default_rng(0).integers(0, 256, (*tiny.canvas, 3), np.uint8)
            return graph.check_picture("noise", canvas)
        inputs = {"foreground": patches["f"], "original": patches["o"]}
        return graph.check_patches("noise", inputs if name == "mgts" else {"original": patches["o"]})

    require(checks(networks[name]))
    with pytest.raises(ExportError, match=f"The exported graph is not the network: {name}"):
        require(checks(other))


def test_not_a_number_fails_a_check() -> None:
    assert not Check("m", "p", "w", float("nan"), 1.0).ok
    assert not Check("m", "p", "w", float("inf"), 1.0).ok
    assert Check("m", "p", "w", 1.0, 1.0).ok


@pytest.mark.slow
def test_the_edge_preset_on_real_pictures(pictures: list[Path], tmp_path: Path) -> None:
    """Boxes to 0.05 px, scores 1e-4, masks 1e-3, cosine 0.99999 (export.graphs.check)."""
    bundle, checks = export_bundle(Export(load_preset("edge"), tmp_path / "edge", pictures[:1]))
    assert {check.picture for check in checks} == {"landscape"}
    assert all(check.ok for check in checks)
    assert sum(file.bytes for file in bundle.manifest.files) < 30 * 2**20
    assert all(comparison.ok for comparison in compare_bundle(bundle, CPU))


def test_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export", "--out", str(tmp_path / "b"), "--preset", "huge"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "There is no preset 'huge'; there are edge, paper" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
