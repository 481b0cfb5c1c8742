import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, FalseMatches, read_manifest, write_manifest
from mgts_trt.cli import findings as module
from mgts_trt.cli import gpu_findings
from mgts_trt.cli.finding import Finding, report
from mgts_trt.cli.findings import examine
from mgts_trt.errors import BackendError
from mgts_trt.gallery.indexing import nvdec
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.builder.build import build_plan
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour
from tests.helpers.doctor_machines import RTX, Machine, pretend
from tests.helpers.simulated_machine import simulated_machine
from tests.helpers.tiny_bundle import make_model, make_tiny_bundle

FLAVOUR = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(
    FLAVOUR is None or FLAVOUR.name != "tensorrt_rtx",
    reason="builds for real need TensorRT-RTX, which is not installed",
)
A4000 = Gpu("NVIDIA RTX A4000", (8, 6), 16 << 30, "550.54")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", models=("idnet",))


@pytest.fixture
def bundle(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_gpus", list)
    pretend(monkeypatch, Machine(packages=RTX))
    return shutil.copytree(tiny, tmp_path / "bundle")


def of(area, findings):
    return [finding for finding in findings if finding.area == area]


def check(findings):
    """What holds of every answer."""
    assert all(finding.text for finding in findings)
    assert all(finding.cure for finding in findings if finding.state == "problem")
    return findings


def test_a_machine_without_a_gpu_has_no_problem(bundle):
    findings = check(examine(bundle))
    assert [finding for finding in findings if finding.state == "problem"] == []
    assert {
        "system",
        "CPU",
        "GPU",
        "TensorRT",
        "cache",
        "ONNX Runtime",
        "OpenCV",
        "simplejpeg",
        "bundle",
        "plans",
        "backend",
    } == {finding.area for finding in findings}
    [gpu] = of("GPU", findings)
    assert gpu.state == "info"


def test_the_plan_of_memory(tmp_path, monkeypatch):
    copy = Bundle.open(make_tiny_bundle(tmp_path / "bundle"))
    machine = simulated_machine(monkeypatch, copy)
    [memory] = of("memory", examine(copy.root))
    assert memory.state == "ok"
    assert "for each of 2 in flight" in memory.text
    assert "64 people at once; max_people and pictures_in_flight make it less" in memory.text
    machine.device.available = 1 << 20
    [memory] = of("memory", examine(copy.root))
    assert (memory.state, "does not fit" in memory.text) == ("problem", True)


def test_gpus_are_listed(monkeypatch):
    pretend(monkeypatch, Machine(gpu=A4000))
    assert of("GPU", examine()) == [Finding("GPU", "ok", "NVIDIA RTX A4000 (sm_86, 16 GiB), driver 550.54")]


def test_what_decodes_videos_is_told_where_there_is_a_choice(monkeypatch):
    def refuse():
        raise BackendError("The package PyNvVideoCodec does not load.")

    monkeypatch.setattr("mgts_trt.cli.findings.find_gpus", list)
    assert list(module._video()) == []
    monkeypatch.setattr("mgts_trt.cli.findings.find_gpus", lambda: [A4000])
    monkeypatch.setattr(nvdec, "load_nvdec", lambda: SimpleNamespace(__version__="2.2.4"))
    assert list(module._video()) == [Finding("video", "ok", "decoded on the GPU, by PyNvVideoCodec 2.2.4")]
    monkeypatch.setattr(nvdec, "load_nvdec", refuse)
    told = "decoded on the CPU: The package PyNvVideoCodec does not load."
    assert list(module._video()) == [Finding("video", "info", told)]


@pytest.mark.parametrize(
    ("area", "package"),
    [("ONNX Runtime", "onnxruntime"), ("OpenCV", "opencv-python-headless"), ("simplejpeg", "simplejpeg")],
)
def test_a_package_that_does_not_load(monkeypatch, area, package):
    def fail(name):
        raise ImportError(f"{name} is broken")

    monkeypatch.setattr(module.importlib, "import_module", fail)
    [finding] = of(area, check(examine()))
    assert (finding.state, finding.cure) == ("problem", f"pip install {package}")


def test_a_look_that_fails_is_a_finding(monkeypatch):
    def fail():
        raise ZeroDivisionError("ouch")

    monkeypatch.setattr(gpu_findings, "find_gpus", fail)
    [finding] = of("GPU", check(examine()))
    assert finding.state == "problem"
    assert "ZeroDivisionError: ouch" in finding.text


def test_a_good_bundle_without_plans(bundle):
    findings = check(examine(bundle))
    whole, untrained = of("bundle", findings)
    assert (whole.state, untrained.state) == ("ok", "info")
    assert "preset tiny, idnet (fp32)" in whole.text
    assert "untrained" in untrained.text
    assert of("plans", findings) == [Finding("plans", "info", "none built", f"mgts-trt build {bundle}")]


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_trained_bundle_says_where_it_is_not_calibrated(bundle, calibrated):
    manifest = Bundle.open(bundle).manifest
    curve = FalseMatches(
        cosines=(0, 0.5), far=(1, 2e-5), pairs=99, people=9, of="a square", network=manifest.models["idnet"].weights
    )
    trained = manifest.training.model_copy(update={"trained": True})
    update = {"training": trained, "likeness": {"none": curve} if calibrated else {}}
    write_manifest(bundle, manifest.model_copy(update=update))
    told = [finding for finding in of("bundle", check(examine(bundle))) if "not calibrated" in finding.text]
    assert [finding.state for finding in told] == ([] if calibrated else ["info"])


def with_file(root, model, content):
    """Put another file in a model's place, and tell the manifest."""
    manifest = read_manifest(root)
    (root / f"{model}.fp32.onnx").write_bytes(content)
    files = {"fp32": BundleFile.of(root, f"{model}.fp32.onnx")}
    models = {**manifest.models, model: manifest.models[model].model_copy(update={"files": files})}
    write_manifest(root, manifest.model_copy(update={"models": models}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda: make_model("mgts").SerializeToString(),
            "is not idnet as the manifest describes it: its inputs are fore",
        ),
        (lambda: make_model("detector").SerializeToString(), "is not idnet as the manifest describes it"),
        (lambda: b"no model", "cannot load"),
    ],
)
def test_a_bundle_is_whole_if_its_models_run(bundle, content, message):
    with_file(bundle, "idnet", content())
    findings = of("bundle", check(examine(bundle)))
    assert [finding.state for finding in findings] == ["problem", "info"]
    assert message in findings[0].text
    assert "is whole" not in "".join(finding.text for finding in findings)


def test_a_model_that_gives_no_numbers(bundle):
    graph = make_model("idnet")
    weight = next(each for each in graph.graph.initializer if len(each.dims) == 2)
    weight.raw_data = np.full(tuple(weight.dims), np.nan, np.float32).tobytes()
    with_file(bundle, "idnet", graph.SerializeToString())
    problem, _ = of("bundle", check(examine(bundle)))
    assert problem.state == "problem"
    assert problem.text.endswith("idnet.fp32.onnx gives embedding that is not finite")


@pytest.mark.parametrize("place", ["mgts_trt.bundle.bundle.file_sha256", "mgts_trt.plans.plan.Path.iterdir"])
def test_what_may_not_be_read(bundle, monkeypatch, place):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(place, refuse)
    [problem] = [finding for finding in check(examine(bundle)) if finding.state == "problem"]
    assert "Permission denied. Let this user read the bundle." in problem.text
    assert problem.cure.startswith(f"chmod -R u+rX {bundle}")


def test_an_altered_bundle(bundle):
    with (bundle / "idnet.fp32.onnx").open("r+b") as file:
        file.write(b"X")
    [finding] = of("bundle", check(examine(bundle)))
    assert finding.state == "problem"
    assert "idnet.fp32.onnx is altered" in finding.text


def test_a_missing_bundle(tmp_path):
    [finding] = of("bundle", check(examine(tmp_path / "none")))
    assert finding.state == "problem"
    assert "is not a folder" in finding.text
    assert finding.cure == f"python -m export --out {tmp_path / 'none'}"


@pytest.mark.parametrize("installed", [False, True])
def test_no_bundle_at_all(tmp_path, monkeypatch, installed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MGTS_BUNDLE", raising=False)
    if installed:
        monkeypatch.setattr("mgts_trt.machine.installation.checkout", lambda: None)
        monkeypatch.setattr(module, "checkout", lambda: None)
        monkeypatch.setattr("mgts_trt.bundle.default.checkout", lambda: None)
    else:
        monkeypatch.setattr("mgts_trt.bundle.default.checkout", lambda: tmp_path)
    [finding] = of("bundle", check(examine()))
    assert finding.state == "problem"
    assert "No bundle was named" in finding.text
    wheel = "mgts_trt_edge-" in finding.cure
    assert wheel if installed else finding.cure == "python -m export --out bundle"
    assert ("`make dist` in a checkout" in finding.text) == installed


@pytest.fixture(scope="module")
def built(tiny, tmp_path_factory):
    root = shutil.copytree(tiny, tmp_path_factory.mktemp("built") / "bundle")
    build_plan(Bundle.open(root), "idnet", "fp32")
    return root


@needs_rtx
class TestPlans:
    @pytest.fixture
    def plans(self, built, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "find_gpus", list)
        return Bundle.open(shutil.copytree(built, tmp_path / "bundle"))

    def look(self, bundle):
        return of("plans", check(examine(bundle.root)))

    @pytest.mark.parametrize(
        ("gpus", "state", "text"),
        [
            ([], "ok", "needs an NVIDIA GPU to run"),
            ([A4000], "ok", "runs on NVIDIA RTX A4000"),
            ([Gpu("RTX 2080", (7, 5))], "info", "runs on portable (sm_86, sm_89, sm_120), not on this GPU (sm_75)"),
        ],
    )
    def test_a_whole_plan(self, plans, monkeypatch, gpus, state, text):
        monkeypatch.setattr(module, "find_gpus", lambda: gpus)
        [finding] = self.look(plans)
        assert finding.state == state
        assert finding.text.startswith("idnet.fp32.portable.")
        assert text in finding.text

    @pytest.mark.parametrize("name", ["idnet.plan", "plan.json"])
    def test_a_damaged_plan(self, plans, name):
        [file] = plans.plans.glob(f"*/{name}")
        file.write_bytes(file.read_bytes()[:-9])
        [finding] = self.look(plans)
        assert finding.state == "problem"
        assert finding.cure == f"mgts-trt build {plans.root}"

    def test_a_plan_of_another_version(self, plans, monkeypatch):
        monkeypatch.setattr(module, "find_flavour", lambda **_: Flavour("tensorrt_rtx", "9.8.7", FLAVOUR.module))
        [finding] = self.look(plans)
        assert finding.state == "problem"
        assert f"built by {FLAVOUR}, this is TensorRT-RTX 9.8.7" in finding.text

    def test_a_superseded_plan(self, plans, monkeypatch):
        newer = Flavour("tensorrt_rtx", "9.8.7", FLAVOUR.module)
        build_plan(plans, "idnet", "fp32", flavour=newer)
        monkeypatch.setattr(module, "find_flavour", lambda **_: newer)
        findings = self.look(plans)
        assert sorted(finding.state for finding in findings) == ["info", "ok"]
        [old] = [finding for finding in findings if finding.state == "info"]
        assert "superseded" in old.text
        assert old.cure.startswith("rm -r ")

    def test_a_plan_of_a_model_the_bundle_does_not_hold(self, plans, monkeypatch):
        monkeypatch.setattr(
            module.Bundle,
            "open",
            lambda path: Bundle(plans.root, plans.manifest.model_copy(update={"models": {}})),
        )
        [finding] = self.look(plans)
        assert finding.state == "info"
        assert "which the bundle does not hold" in finding.text

    def test_without_tensorrt_the_bytes_are_checked_still(self, plans, monkeypatch):
        monkeypatch.setattr(module, "find_flavour", lambda **_: None)
        [finding] = self.look(plans)
        assert finding.state == "info"
        assert "is whole; TensorRT-RTX is not installed" in finding.text


def test_the_report_shows_everything():
    findings = [
        Finding("bundle", "problem", "it is [bold]altered[/bold]", "mgts-trt build x"),
        Finding("GPU", "info", "none"),
    ]
    console = Console(width=120)
    with console.capture() as captured:
        console.print(report(findings))
    text = captured.get()
    assert all(part in text for part in ("it is [bold]altered[/bold]", "mgts-trt build x", "GPU", "none", "problem"))
