import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, write_manifest
from mgts_trt.bundle.recipe import Profile, load_recipe
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError, MgtsError, PlanError
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.batch import at_batch, plan_profile
from mgts_trt.plans.builder import build
from mgts_trt.plans.builder.build import build_bundle, build_plan
from mgts_trt.plans.builder.build_engines import build_engines
from mgts_trt.plans.builder.lower import EngineFile, lower
from mgts_trt.plans.builder.one_picture import fix_batch
from mgts_trt.plans.chain import CONSTANTS
from mgts_trt.plans.constants import load_constants
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.plan import PlanIdentity, plan_folders, verify_plan
from tests.helpers.cut_runs import network
from tests.helpers.operator_bundle import call_operators
from tests.helpers.paths import ROOT
from tests.helpers.plan_files import identity
from tests.helpers.tiny_bundle import make_tiny_bundle

FLAVOUR = find_flavour("tensorrt_rtx")
pytestmark = pytest.mark.skipif(
    FLAVOUR is None or FLAVOUR.name != "tensorrt_rtx",
    reason="builds for real need TensorRT-RTX, which is not installed",
)
A4000 = Gpu("NVIDIA RTX A4000", (8, 6), 16 << 30, "550.54")


def replace_model(bundle, name, model):
    """Put another ONNX file into the bundle, with a manifest that agrees."""
    entry = bundle.model(name)
    onnx.save(model, bundle.root / f"{name}.fp32.onnx")
    changed = entry.model_copy(update={"files": {"fp32": BundleFile.of(bundle.root, f"{name}.fp32.onnx")}})
    write_manifest(bundle.root, bundle.manifest.model_copy(update={"models": {name: changed}}))
    return Bundle.open(bundle.root)


def left_in(bundle):
    return sorted(path.name for path in bundle.plans.iterdir()) if bundle.plans.exists() else []


@pytest.fixture(scope="module")
def calling(tmp_path_factory):
    root = make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", precisions=("fp32", "fp16"))
    return call_operators(Bundle.open(root), "fp32", "fp16").root


@pytest.fixture
def bundle(calling, tmp_path):
    return Bundle.open(shutil.copytree(calling, tmp_path / "bundle"))


def steps_of(record):
    return [getattr(step, "file", None) or step.operator for step in record.chain.steps]


PICTURES = """
    (uint8["B", 24, 64, 3] image) => (float["B", 12, 4] boxes, float["B", 12] scores) {
        x = Cast <to = 1> (image)
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        f = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [4, 4]> (t, w)
        p = AveragePool <kernel_shape = [6, 1]> (f)
        c = Slice(p, zero, four, one)
        q = Squeeze(c, two)
        u = Slice(q, zero, twelve, two)
        boxes = Transpose <perm = [0, 2, 1]> (u)
        keep = mgts.Nms <threshold = 0.5> (boxes)
        r = mgts.AlignRois <size = 2, samples = [2, 2], stride = 4.0, dtype = 1> (f, boxes)
        m = ReduceMean <keepdims = 0> (r, rest)
        z = Reshape(m, twelve_each)
        scores = Mul(z, keep)
    }
"""
"""A detector in miniature: any number of pictures, and twelve regions of each."""


def pictures_network():
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(0, 0.05, (8, 3, 3, 3)).astype(np.float32),
        **{
            name: np.array([value])
            for name, value in (("zero", 0), ("one", 1), ("two", 2), ("four", 4), ("twelve", 12))
        },
        "rest": np.array([1, 2, 3]),
        "twelve_each": np.array([-1, 12]),
    }
    return network(PICTURES, weights)


class TestPictures:
    @pytest.mark.parametrize(("lowering", "files"), [("graph", 1), ("kernel", 2)])
    @pytest.mark.parametrize("batch", [1, 4])
    def test_engines_take_as_many_pictures_as_were_asked_for(self, tmp_path, lowering, files, batch):
        path = tmp_path / "detector.onnx"
        onnx.save(pictures_network(), path)
        pair = {"boxes": ("B", 12, 4), "scores": ("B", 12)}
        entry = SimpleNamespace(
            inputs={"image": TensorSpec(dtype="uint8", shape=("B", 24, 64, 3))},
            outputs={name: TensorSpec(dtype="float32", shape=shape) for name, shape in pair.items()},
        )
        entry.model_copy = lambda update: SimpleNamespace(**update)
        (tmp_path / "graphs").mkdir()
        lowered = lower(path, entry, lowering, tmp_path / "graphs", batch)
        engines = [step for step in lowered.steps if isinstance(step, EngineFile)]
        recipe = load_recipe("detector")
        profile = plan_profile(recipe, engines[0].inputs, batch)
        with FLAVOUR.collect() as messages:
            of = identity(model="detector", batch=batch, settings=FLAVOUR.settings(recipe.builder))
            built = build_engines(engines, tmp_path, path, recipe, profile, of, FLAVOUR, messages, None)
        assert len(built.steps) == files
        shapes = {name: spec.shape for name, spec in lowered.tensors.items()}
        assert shapes["image"][0] == ("B" if batch > 1 else 1)
        if lowering == "kernel":
            assert shapes["r"] == ("12*B" if batch > 1 else 12, 8, 2, 2)

    @pytest.mark.parametrize(("model", "ops"), [("detector", "kernel"), ("masknet", "graph")])
    def test_a_plan_for_several(self, bundle, model, ops):
        one = build_plan(bundle, model, "fp32", ops=ops).record
        result = build_plan(bundle, model, "fp32", ops=ops, batch=3)
        assert "batch3" in result.folder.name
        assert (one.profile, result.record.profile) == ({}, {"B": Profile(min=1, opt=3, max=3)})
        assert (one.inputs["image"].shape[0], result.record.inputs) == (1, bundle.model(model).inputs)
        assert not build_plan(bundle, model, "fp32", ops=ops, batch=3).fresh
        assert verify_plan(result.folder, PlanIdentity.of(bundle, model, "fp32", "portable", FLAVOUR, ops, 3))
        with pytest.raises(PlanError, match=r"takes 3 pictures at once, not 2 pictures.*--batch 3"):
            verify_plan(result.folder, PlanIdentity.of(bundle, model, "fp32", "portable", FLAVOUR, ops, 2))

    def test_a_model_of_one_picture_has_no_plan_for_more(self, bundle):
        model = onnx.load(bundle.model_path("detector", "fp32"))
        fix_batch(model)
        entry = bundle.model("detector")
        fixed = {"inputs": at_batch(entry.inputs, 1), "outputs": at_batch(entry.outputs, 1)}
        entry = entry.model_copy(update=fixed)
        models = {"detector": entry, "idnet": bundle.model("idnet")}
        fixed = replace_model(
            Bundle(bundle.root, bundle.manifest.model_copy(update={"models": models})), "detector", model
        )
        with pytest.raises(BuildError, match=r"detector takes one picture at a time.*--batch 1"):
            build_bundle(fixed, batch=2)
        assert plan_folders(fixed) == []
        assert build_plan(fixed, "detector", "fp32", ops="kernel").record.inputs == entry.inputs

    def test_models_of_people_have_one_plan(self, bundle):
        first = build_plan(bundle, "idnet", "fp32", batch=3)
        assert not build_plan(bundle, "idnet", "fp32").fresh
        assert first.record.identity.batch == 1


class TestLowerings:
    @pytest.mark.parametrize(
        ("model", "steps", "constants"),
        [
            ("detector", ["detector.0.plan", "Nms", "detector.1.plan"], ()),
            ("mgts", ["mgts.plan", "SeHead"], ("squeeze", "excite", "fc")),
            ("idnet", ["idnet.plan"], ()),
        ],
    )
    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_a_chain(self, bundle, model, steps, constants, precision):
        whole = build_plan(bundle, model, precision, ops="graph").record
        result = build_plan(bundle, model, precision, ops="kernel")
        record = result.record
        assert steps_of(record) == steps
        assert steps_of(whole) == [f"{model}.plan"]
        assert record.chain.constants == constants
        assert result.fresh == (len(steps) > 1)  # a model without operators has one plan
        assert {path.name for path in result.folder.iterdir()} == {
            *(step for step in steps if step.endswith(".plan")),
            *([CONSTANTS] if constants else []),
            "build.log",
            "plan.json",
        }
        identity = PlanIdentity.of(bundle, model, precision, "portable", FLAVOUR, "kernel")
        assert verify_plan(result.folder, identity) == record
        assert record.plan_bytes == sum(path.stat().st_size for path in result.files)
        assert (record.inputs, record.outputs, record.profile) == (whole.inputs, whole.outputs, whole.profile)
        assert record.macs[precision] <= whole.macs[precision]  # a head's products are the kernel's
        assert record.onnx_nodes <= whole.onnx_nodes
        assert set(load_constants(result.folder, record.chain)) == set(constants)
        assert left_in(bundle) == sorted({result.folder.name, whole.identity.folder})

    def test_only_engines_that_see_people_have_a_profile(self, bundle, monkeypatch):
        configs = []
        create = Flavour.create_config
        monkeypatch.setattr(Flavour, "create_config", lambda *args: configs.append(create(*args)) or configs[-1])
        build_plan(bundle, "detector", "fp32", ops="kernel")
        build_plan(bundle, "mgts", "fp32", ops="kernel")
        assert [config.num_optimization_profiles for config in configs] == [0, 0, 1]

    def test_progress_over_all_engines(self, bundle):
        fractions = []
        told = lambda phase, fraction: fractions.append(fraction)  # noqa: E731
        build_plan(bundle, "detector", "fp32", ops="kernel", on_progress=told)
        assert fractions == sorted(fractions)
        assert fractions[0] == 0.0
        assert fractions[-1] == pytest.approx(1.0)
        assert any(0.1 < fraction < 0.9 for fraction in fractions)

    @pytest.mark.parametrize("at", [0.0, 0.99])
    def test_stopped_in_any_engine_nothing_is_left(self, bundle, at):
        def stop(phase, fraction):
            if fraction >= at:
                raise RuntimeError("enough")

        with pytest.raises(RuntimeError, match="enough"):
            build_plan(bundle, "detector", "fp32", ops="kernel", on_progress=stop)
        assert left_in(bundle) == []

    def test_auto_is_kernel_on_rtx_and_graph_on_tensorrt(self, bundle, monkeypatch):
        monkeypatch.setenv("MGTS_TRT_CACHE", "off")
        monkeypatch.setattr(build, "find_gpus", lambda: [A4000])
        plain = Flavour("tensorrt", "10.9", FLAVOUR.module)
        assert build_plan(bundle, "mgts", "fp32", "sm_86").record.identity.lowering == "kernel"
        built = build_plan(bundle, "mgts", "fp32", flavour=plain)
        assert built.record.identity.lowering == "graph"

    @pytest.mark.parametrize(
        ("name", "ops", "message"),
        [
            ("tensorrt_rtx", "plugin", r"TensorRT-RTX .* hold no plugins\. Build with --ops kernel or graph"),
            ("tensorrt_rtx", "nose", "no lowering 'nose' of operators; it is auto, graph, kernel or plugin"),
        ],
    )
    def test_what_cannot_be_built(self, bundle, name, ops, message):
        with pytest.raises(BuildError, match=message):
            build_bundle(bundle, ops=ops, flavour=Flavour(name, FLAVOUR.version, FLAVOUR.module))
        assert left_in(bundle) == []

    def test_an_error_in_a_piece_names_it(self, bundle):
        model = onnx.load(bundle.model_path("detector", "fp32"))
        last = next(node for node in model.graph.node if node.name == "/scores")
        last.op_type, last.domain = "Fantasy", "own"
        model.opset_import.append(onnx.helper.make_opsetid("own", 1))
        with pytest.raises(BuildError, match=r"cannot parse detector\.fp32\.1\.onnx: .*node /scores \(Fantasy\)"):
            build_plan(replace_model(bundle, "detector", model), "detector", "fp32", ops="kernel")
        assert plan_folders(bundle) == []

    def test_a_network_whose_outputs_are_others(self, bundle):
        entry = bundle.model("mgts")
        wrong = {"embedding": entry.outputs["embedding"].model_copy(update={"shape": ("N", 7)})}
        models = {**bundle.manifest.models, "mgts": entry.model_copy(update={"outputs": wrong})}
        odd = Bundle(bundle.root, bundle.manifest.model_copy(update={"models": models}))
        with pytest.raises(MgtsError, match="embedding"):
            build_plan(odd, "mgts", "fp32", ops="kernel")

    def test_killed_between_two_engines(self, bundle):
        code = (
            "import time; from mgts_trt.bundle.bundle import Bundle; "
            "from mgts_trt.plans.builder.build import build_plan; "
            f"build_plan(Bundle.open({str(bundle.root)!r}), 'detector', 'fp32', ops='kernel', on_progress="
            "lambda phase, fraction: fraction > 0.9 and (print('half way', flush=True), time.sleep(60)))"
        )
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout.readline().strip() == "half way"
        process.kill()
        process.wait()
        process.stdout.close()
        assert plan_folders(bundle) == []
        [half] = bundle.plans.glob(".building-*")
        assert (half / "detector.0.plan").is_file()
        build_plan(bundle, "idnet", "fp32")
        assert not list(bundle.plans.glob(".building-*"))
