import json
import re
import shutil
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from rich.console import Console

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, Calibration, Converted, FalseMatches, Quantisation, write_manifest
from mgts_trt.cli import facts as module
from mgts_trt.cli.facts import inspect
from mgts_trt.cli.facts_text import facts_report
from mgts_trt.errors import BundleError, MgtsError, OnnxError, PlanError
from mgts_trt.machine.files import file_sha256
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.listeners import Message
from tests.helpers.plan_files import identity, put
from tests.helpers.tiny_bundle import make_tiny_bundle

ROW = {"op": "Conv", "tensor": "y", "min": -1.0, "max": 1.0, "subnormal": 0.0}
RANGES = {
    "pictures": ["one.jpg", "two.jpg"],
    "ranges": [
        {**ROW, "node": "conv1", "largest": 3.5, "overflow": 0.0},
        {**ROW, "node": "conv2", "largest": 70000.0, "overflow": 0.25},
    ],
}
MGTS = {"fp32": 3801088}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", ("fp32", "fp16"), ("mgts", "detector"))


@pytest.fixture
def root(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "bundle")


def shown(facts, width=1000):
    """What the report says; at a narrow width, where a line breaks depends on the length of the paths in it."""
    console = Console(width=width)
    with console.capture() as captured:
        console.print(facts_report(facts))
    return captured.get()


def with_ranges(root, text):
    """The bundle with ranges of mgts, and a node kept in float32."""
    (root / "ranges").mkdir()
    (root / "ranges" / "mgts.json").write_text(text)
    manifest = Bundle.open(root).manifest
    update = {"ranges": BundleFile.of(root, "ranges/mgts.json"), "kept_float32": {"fp16": ("/Conv_4",)}}
    models = {**manifest.models, "mgts": manifest.models["mgts"].model_copy(update=update)}
    write_manifest(root, manifest.model_copy(update={"models": models}))


def test_an_onnx_file(root):
    facts = inspect(root / "mgts.fp16.onnx", layers=2)
    assert facts.inputs["original"] == "float32 [N, 3, 32, 16]"
    assert facts.sizes == {"N": 8}
    assert facts.macs == {"fp16": MGTS["fp32"]}
    assert [layer.macs for layer in facts.layers] == [8 * 16 * 27 * 32 * 16] * 2
    assert facts.bytes == (root / "mgts.fp16.onnx").stat().st_size
    text = shown(facts)
    for words in ("float32 [N, 3, 32, 16]", "ai.onnx 17", "3.8 MMACs at N = 8", "100% fp16", "46.6%", "1 Gemm"):
        assert words in text


def test_a_bundle(root):
    with_ranges(root, json.dumps(RANGES))
    facts = inspect(root, layers=1)
    assert list(facts.models) == ["mgts", "detector"]
    assert facts.models["mgts"]["fp32"].graph.macs == MGTS
    assert facts.models["mgts"]["fp16"].kept_float32 == ["/Conv_4"]
    assert facts.ranges["mgts"].largest == 70000
    assert inspect(root / "manifest.json", layers=1) == facts
    text = shown(facts)
    for words in (
        "bundle of preset tiny, untrained",
        "96×64",
        "detection 0.5, instance 0.5, mask 0.5",
        "mgts.fp16.onnx keeps in float32, for their values: /Conv_4",
        "2 tensors on 2 pictures, largest magnitude 70000 at conv2, 25.0% at most beyond half",
        "goldens",
        "No plans yet",
        "not calibrated",
    ):
        assert words in text


def test_how_far_a_bundle_is_calibrated(root):
    manifest = Bundle.open(root).manifest
    curve = FalseMatches(
        cosines=(0, 0.5), far=(1, 2e-5), pairs=10**6, people=9, of="a square", network=manifest.models["mgts"].weights
    )
    write_manifest(root, manifest.model_copy(update={"likeness": {"box": curve}}))
    facts = inspect(root)
    assert facts.likeness == {"box": 2e-5}
    assert "box: FAR to 2e-05" in shown(facts)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pictures": [], "ranges": []}', '{"pictures": 1, "ranges": [{}]}'])
def test_ranges_that_make_no_sense_cost_themselves_alone(root, text):
    with_ranges(root, text)
    facts = inspect(root)
    assert "is not what the export writes" in facts.ranges["mgts"].problem
    assert "is not what the export writes" in " ".join(shown(facts).split())


def test_where_a_file_was_converted_from(root):
    manifest = Bundle.open(root).manifest
    origin = Converted(
        fp32_sha256="a" * 64, calibration_sha256="b" * 64, versions={"onnx": "1.19", "numpy": "2.1"}, at_parity=False
    )
    models = {**manifest.models, "mgts": manifest.models["mgts"].model_copy(update={"converted": {"fp16": origin}})}
    write_manifest(root, manifest.model_copy(update={"models": models}))
    facts = inspect(root)
    assert facts.models["mgts"]["fp16"].converted == origin
    assert facts.models["mgts"]["fp32"].converted is None
    said = "mgts.fp16.onnx was made from FP32 aaaaaaaaaaaa…, calibration bbbbbbbbbbbb… (onnx 1.19, numpy 2.1), NOT at"
    assert said in " ".join(shown(facts).split())


def test_int8_and_parity_of_a_bundle(root):
    manifest = Bundle.open(root).manifest
    how = Quantisation(calibration="mse", residuals=False, kept=("stem",))
    models = {**manifest.models, "mgts": manifest.models["mgts"].model_copy(update={"quantisation": how})}
    calibration = Calibration.of([root / "mgts.fp32.onnx", root / "mgts.fp16.onnx"])
    write_manifest(root, manifest.model_copy(update={"models": models, "calibration": calibration}))
    row = {"precision": "int8", "metric": "a number", "value": None, "bound": 0.9, "ok": True}
    tensor = {**row, "model": "mgts", "picture": "one"}
    task = {**row, "part": "net", "reference": 0.5, "delta": None}
    report = {
        "version": "0.1.0", "backend": "onnxruntime", "device": "CPU", "ok": True, "comparisons": [tensor, tensor],
        "task": {"reference": "fp32", "pictures": 9, "people": 34, "comparisons": [task]},
        "manifest_sha256": file_sha256(root / "manifest.json"),
    }  # fmt: skip
    (root / "parity").mkdir()
    (root / "parity" / "int8.onnxruntime.json").write_text(json.dumps(report))
    failed = {**report, "ok": False, "task": None, "manifest_sha256": "0" * 64}
    (root / "parity" / "fp16.onnxruntime.json").write_text(json.dumps(failed))
    (root / "parity" / "odd.json").write_text("[]")
    text = shown(inspect(root)).replace("\n", " ")
    for words in (
        "int8 of mgts: scales by mse, shortcuts not; in half: stem",
        f"calibrated on 2 pictures, SHA-256 {calibration.sha256[:12]}",
        "int8.onnxruntime.json: at parity in 3 numbers on goldens and 34 labelled people, onnxruntime, CPU",
        "fp16.onnxruntime.json: out of tolerance in 2 numbers on goldens, onnxruntime, CPU; of an earlier export",
        "--record` writes: at its top:",
    ):
        assert words in text


def test_a_bundle_without_the_package_onnx(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    facts = inspect(root)
    assert facts.models["mgts"]["fp32"].graph is None
    assert "needs the package onnx" in shown(facts)
    with pytest.raises(OnnxError, match="pip install onnx"):
        inspect(root / "mgts.fp32.onnx")


def test_the_plans_of_a_bundle(root):
    whole = put(root / "plans", identity())
    broken = put(root / "plans", identity(target="sm_86"))
    (broken / "mgts.plan").unlink()
    facts = inspect(root)
    entries = {plan.folder: plan for plan in facts.plans}
    assert entries[whole.name].identity == identity()
    assert entries[broken.name].identity is None
    text = shown(facts)
    assert "99.5% fp16, 0.5% fp32" in text
    assert "mgts.plan is missing" in text


@pytest.mark.parametrize("name", ["", "plan.json", "mgts.plan"])
def test_a_plan_by_any_of_its_names(root, monkeypatch, name):
    monkeypatch.setattr(module, "find_flavour", lambda prefer: None)
    folder = put(root / "plans", identity())
    facts = inspect(folder / name if name else folder)
    assert facts.record.identity == identity()
    assert facts.layers is None
    text = shown(facts)
    for words in ("a" * 64, "b" * 64, "TensorRT-RTX 1.7.1.116", "tf32 true", "1 … 8 … 64", "here is no TensorRT"):
        assert words in text


def test_the_chain_of_a_plan(root, monkeypatch):
    made = installed(engine('{"Layers": ["a", "b"]}'))
    monkeypatch.setattr(module, "find_flavour", lambda prefer: made)
    monkeypatch.setattr(module, "find_gpus", lambda: [AMPERE])
    facts = inspect(put(root / "plans", identity(lowering="kernel")))
    assert facts.layers == {"mgts.0.plan": ["a", "b"], "mgts.1.plan": ["a", "b"]}
    text = " ".join(shown(facts).split())
    for words in ("kernel: SeHead", "mgts.0.plan", "SeHead (/head)", "fc float32 [2, 3]", "995 MACs 100% fp16"):
        assert words in text
    (kernel,) = (line for line in shown(facts, width=500).splitlines() if "SeHead (/head)" in line)
    assert "fc float32 [2, 3]" in kernel, "one line a step: a pipe shows a line's end in a cell as a sign"
    steps = json.loads(facts.model_dump_json())["record"]["chain"]["steps"]
    assert [step["kind"] for step in steps] == ["engine", "operator", "engine"]
    assert [step["macs"] for step in steps if step["kind"] == "engine"] == [{"fp16": 995}, {"fp32": 5}]


def test_an_altered_plan(root):
    folder = put(root / "plans", identity())
    (folder / "mgts.plan").write_bytes(b"other")
    with pytest.raises(PlanError, match="truncated or altered"):
        inspect(folder)


class Installed(SimpleNamespace):
    """A flavour whose runtime gives the engine it was made with."""

    layers = Flavour.layers

    def __str__(self):
        return "TensorRT-RTX 1.7.1.116"

    def collect(self):
        return nullcontext([Message("error", "wrong version")])

    def create_runtime(self):
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: self.engine)


def installed(engine=None, version="1.7.1.116"):
    formats = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON="json"))
    return Installed(name="tensorrt_rtx", version=version, module=formats, engine=engine)


def engine(text):
    inspector = SimpleNamespace(get_engine_information=lambda kind: text)
    return SimpleNamespace(create_engine_inspector=lambda: inspector)


TURING, AMPERE = Gpu("RTX 2080", (7, 5)), Gpu("RTX A4000", (8, 6))


@pytest.mark.parametrize(
    ("flavour", "gpus", "layers", "why"),
    [
        (installed(version="1.6"), [AMPERE], None, "where TensorRT-RTX 1.7.1.116 is installed"),
        (installed(), [], None, "on a machine with an NVIDIA GPU"),
        (installed(), [TURING], None, r"built for: portable \(sm_86, sm_89, sm_120\); here is sm_75"),
        (installed(), [AMPERE], None, "does not load the plan: wrong version"),
        (installed(engine('{"Layers": ["a", "b"]}')), [AMPERE], ["a", "b"], "^$"),
        (installed(engine('{"Layers": [{"Name": "a"}]}')), [AMPERE], ["a"], "^$"),
        (installed(engine("{}")), [AMPERE], [], "^$"),
    ],
)
def test_the_layers_of_an_engine(root, monkeypatch, flavour, gpus, layers, why):
    monkeypatch.setattr(module, "find_flavour", lambda prefer: flavour)
    monkeypatch.setattr(module, "find_gpus", lambda: gpus)
    facts = inspect(put(root / "plans", identity()))
    assert facts.layers == (None if layers is None else {"mgts.plan": layers})
    assert re.search(why, facts.no_layers)
    assert (f"{len(layers)} layers" if layers is not None else facts.no_layers[:40]) in shown(facts)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "it is not there"),
        ("nowhere.onnx", "it is not there"),
        ("notes.txt", "it is none of these"),
        ("empty", "it is none of these"),
    ],
)
def test_unknown_files(tmp_path, name, message):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(MgtsError, match=f"Cannot inspect .*{name}: {message}. Name a bundle"):
        inspect(tmp_path / name)


def test_an_altered_bundle(root):
    (root / "mgts.fp32.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"mgts\.fp32\.onnx has 0 bytes"):
        inspect(root)
