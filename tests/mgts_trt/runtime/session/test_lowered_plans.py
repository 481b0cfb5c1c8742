"""Plans in each lowering, found, loaded and run by sessions on a simulated machine."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.operators import OPERATORS
from mgts_trt.errors import BackendError, BuildError, PlanError
from mgts_trt.evaluation.parity import compare_bundle
from mgts_trt.machine.cache import VARIABLE
from mgts_trt.plans.builder.cut import Part, cut
from mgts_trt.plans.chain import CONSTANTS, Chain, EngineStep
from mgts_trt.plans.constants import save_constants
from mgts_trt.plans.plan import Plan
from mgts_trt.runtime.session import backends
from mgts_trt.runtime.session import tensorrt as session
from mgts_trt.runtime.session.engine import Engine
from mgts_trt.runtime.session.engine_chain import EngineChain
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from mgts_trt.runtime.session.tensorrt import TensorRTSession, open_engine, usable_plan
from tests.helpers.cut_runs import network, run_model
from tests.helpers.fake_tensorrt import write_plan
from tests.helpers.goldens import add_golden
from tests.helpers.headed_mgts import put_headed_mgts
from tests.helpers.simulated_machine import A4000, TARGET, simulated_gpu
from tests.helpers.threads import in_threads
from tests.helpers.tiny_bundle import CANVAS, PATCH, make_tiny_bundle


@pytest.fixture(scope="module")
def headed(tmp_path_factory):
    root = make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")
    bundle = put_headed_mgts(Bundle.open(root), "fp32", "fp16")
    add_golden(root)
    return bundle


@pytest.fixture(params=["tensorrt_rtx", "tensorrt"])
def trt(request, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    module, module.flavour = simulated_gpu(monkeypatch, request.param, seed=5)
    return module


@pytest.fixture
def bundle(headed, tmp_path, trt):
    """Plans of all models, with MGTS's operator as a kernel."""
    bundle = Bundle.open(shutil.copytree(headed.root, tmp_path / "bundle"))
    for model in bundle.manifest.models:
        for precision in bundle.model(model).files:
            write_plan(bundle, model, trt.flavour, TARGET, precision, "kernel")
    return bundle


def patches(count, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.random((count, 3, *PATCH), np.float32) * 255 for name in ("foreground", "original")}


def test_only_networks_with_operators_become_chains(bundle):
    loaded = {model: open_engine(bundle, model, "fp32") for model in bundle.manifest.models}
    assert {model: type(each) for model, each in loaded.items()} == {
        "detector": Engine, "masknet": Engine, "mgts": EngineChain, "idnet": Engine,
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 3, 64, 2])
def test_a_session_answers_as_onnx_runtime(bundle, count):
    mine, reference = TensorRTSession(bundle, "mgts", "fp32"), OnnxRuntimeSession(bundle, "mgts", "fp32")
    for seed in (0, 1):
        inputs = patches(count, seed)
        got, wanted = mine.run(inputs)["embedding"], reference.run(inputs)["embedding"]
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    mine.close()
    with pytest.raises(BackendError, match="closed"):
        mine.run(patches(1))


def test_threads_share_a_session(bundle):
    mine, reference = TensorRTSession(bundle, "mgts", "fp32"), OnnxRuntimeSession(bundle, "mgts", "fp32")
    answers = in_threads(lambda seed: mine.run(patches(seed + 1, seed))["embedding"], 6)
    for seed in range(6):
        np.testing.assert_allclose(answers[seed], reference.run(patches(seed + 1, seed))["embedding"], atol=1e-5)


def test_inputs_the_plan_does_not_take_are_refused(bundle):
    with pytest.raises(BackendError, match=r"foreground cannot be \[65, 3, .*N = 1…64"):
        TensorRTSession(bundle, "mgts", "fp32").run(patches(65))


def test_a_step_that_fails_is_named_and_the_next_run_may_work(bundle, trt):
    mine = TensorRTSession(bundle, "mgts", "fp32")
    trt.fail["execute_async_v3"] = "illegal address"
    with pytest.raises(BackendError, match=r"failed in running mgts.* \(fp32, sm_86\): illegal address"):
        mine.run(patches(1))
    trt.fail.clear()
    assert mine.run(patches(1))["embedding"].shape == (1, 128)


def test_a_bundle_of_chains_is_at_parity(bundle, monkeypatch):
    runtime = backends.select_runtime(bundle, tuple(bundle.manifest.models), precision="fp32", backend="tensorrt",
                                      threads=None, ops="kernel")  # fmt: skip
    assert isinstance(runtime.engines["mgts"], EngineChain)
    comparisons = compare_bundle(bundle, runtime)
    assert {comparison.precision for comparison in comparisons} == {"fp32", "fp16"}
    assert {comparison.model for comparison in comparisons} == set(bundle.manifest.models)
    assert [str(comparison) for comparison in comparisons if not comparison.ok] == []
    runtime.close()


@pytest.mark.parametrize(
    ("built", "taken"),
    [
        (("graph", "kernel", "plugin"), "kernel"),
        (("graph", "kernel"), "kernel"),
        (("graph",), "graph"),
        (("graph", "plugin"), "graph"),
        (("kernel",), "kernel"),
    ],
)
def test_auto_takes_the_best_that_is_built(headed, tmp_path, trt, built, taken):
    bundle = Bundle.open(shutil.copytree(headed.root, tmp_path / "bundle"))
    for lowering in built:
        write_plan(bundle, "mgts", trt.flavour, TARGET, lowering=lowering)
    find = lambda ops: usable_plan(bundle, "mgts", "fp32", ops, flavour=trt.flavour, gpus=[A4000])  # noqa: E731
    assert find("auto").record.identity.lowering == taken
    for ops in ("graph", "kernel"):
        if ops in built:
            assert find(ops).record.identity.lowering == ops
        else:
            with pytest.raises(PlanError, match="no plan of mgts in fp32 for sm_86"):
                find(ops)


def test_the_plan_for_the_next_larger_number_of_pictures_is_taken(headed, tmp_path, trt):
    bundle = Bundle.open(shutil.copytree(headed.root, tmp_path / "bundle"))
    options = {"flavour": trt.flavour, "gpus": [A4000]}
    find = lambda batch: usable_plan(bundle, "detector", "fp32", batch=batch, **options)  # noqa: E731
    with pytest.raises(PlanError, match=r"no plan of detector .* for 4 pictures at once\. Build it with .* --batch 4"):
        find(4)
    for built, asked in (([2], [2, 2, 2]), ([2, 8], [2, 2, 8]), ([2, 8, 4, 1], [1, 2, 4])):
        for batch in built:
            write_plan(bundle, "detector", trt.flavour, TARGET, batch=batch)
        assert [find(batch).record.identity.batch for batch in (1, 2, 3)] == asked
    assert find(9).record.identity.batch == 8


def test_a_session_takes_any_number_of_pictures_that_its_plan_does(headed, tmp_path, trt):
    bundle = Bundle.open(shutil.copytree(headed.root, tmp_path / "bundle"))
    write_plan(bundle, "detector", trt.flavour, TARGET, batch=3)
    images = np.random.default_rng(0).integers(0, 256, (4, *CANVAS, 3), np.uint8)
    mine = TensorRTSession(bundle, "detector", "fp32")
    reference = OnnxRuntimeSession(bundle, "detector", "fp32", batch=4)
    for count in (3, 1, 2, 3):
        wanted = reference.run({"image": images[:count]})
        for name, array in mine.run({"image": images[:count]}).items():
            np.testing.assert_array_equal(array, wanted[name])
    with pytest.raises(BackendError, match=r"cannot be \[4, .*B = 1…3"):
        mine.run({"image": images})
    mine.close()


def test_auto_takes_plugins_where_their_library_is(headed, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    _, flavour = simulated_gpu(monkeypatch, "tensorrt")
    bundle = Bundle.open(shutil.copytree(headed.root, tmp_path / "bundle"))
    monkeypatch.setattr(session, "choose_lowering", lambda choice, _: "plugin" if choice == "auto" else choice)
    find = lambda: usable_plan(bundle, "mgts", "fp32", flavour=flavour, gpus=[A4000])  # noqa: E731
    with pytest.raises(PlanError, match=r"with its operators as plugins\. Build it with `.* --ops plugin`"):
        find()
    for lowering in ("graph", "plugin", "kernel"):
        write_plan(bundle, "mgts", flavour, TARGET, lowering=lowering)
        assert find().record.identity.lowering == lowering


def test_of_nothing_built_auto_names_what_a_build_would_make(headed, trt):
    with pytest.raises(PlanError, match=r"no plan of mgts in fp32 for sm_86.* Build it with"):
        usable_plan(headed, "mgts", "fp32", flavour=trt.flavour, gpus=[A4000])
    with pytest.raises(BuildError, match="no lowering 'magic'"):
        usable_plan(headed, "mgts", "fp32", "magic", flavour=trt.flavour, gpus=[A4000])


def test_a_plan_with_plugins_is_loaded_after_their_library(headed, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    module, flavour = simulated_gpu(monkeypatch, "tensorrt")
    bundle = Bundle.open(shutil.copytree(headed.root, tmp_path / "bundle"))
    for model, lowering in (("mgts", "plugin"), ("idnet", "graph")):
        write_plan(bundle, model, flavour, TARGET, lowering=lowering)
    monkeypatch.setattr(session, "require_plugins", lambda of: module.calls.append(f"plugins of {of.name}"))
    open_engine(bundle, "idnet", "fp32")
    assert module.calls == ["deserialize_cuda_engine"]
    loaded = open_engine(bundle, "mgts", "fp32", ops="plugin")
    assert module.calls[1:] == ["plugins of tensorrt", "deserialize_cuda_engine"]
    assert isinstance(loaded, Engine)


EVERY_OPERATOR = """(image[1, 3, 40, 60] picture, float[1, 30, 4] boxes) =>
    (float[1, 30] keep, float[30, 2, 6, 6] assembled, float[30, 16] embedding)
{
    two = Constant <value = int64[1] {2}> ()
    maps = Conv <pads = [1, 1, 1, 1]> (picture, filters)
    keep = mgts.Nms <threshold: float = 0.4> (boxes)
    column = Unsqueeze (keep, two)
    kept = Mul (boxes, column)
    near = mgts.AlignRois <size: int = 4, samples: ints = [2, 2], stride: float = 4.0, dtype: int = KIND> (maps, kept)
    wide = Relu (near)
    assembled = mgts.PsAssemble <bins: int = 2, size: int = 6, stride: float = 4.0> (maps, kept)
    embedding = mgts.SeHead (near, wide, squeeze, excite, fc)
}"""


@pytest.mark.parametrize("real", [np.float32, np.float16])
def test_a_chain_of_every_operator_gives_what_the_graph_gives(trt, tmp_path, real):
    random = np.random.default_rng(3)
    weights = {
        "filters": random.normal(0, 0.3, (8, 3, 3, 3)), "squeeze": random.normal(0, 0.5, (4, 16)),
        "excite": random.normal(0, 1, (16, 4)), "fc": random.normal(0, 1, (16, 16)),
    }  # fmt: skip
    half = real == np.float16
    text = EVERY_OPERATOR.replace("image", "float16" if half else "float").replace("KIND", "10" if half else "1")
    model = network(text, {name: array.astype(real) for name, array in weights.items()})
    corners = random.uniform(0, (180, 120), (1, 30, 2))
    boxes = np.concatenate([corners, corners + random.uniform(20, 70, (1, 30, 2))], axis=2).astype(np.float32)
    inputs = {"picture": random.random((1, 3, 40, 60)).astype(real), "boxes": boxes}
    wanted = run_model(model, inputs)
    assert 0 < wanted["keep"].sum() < 30

    pieces = cut(model, tmp_path / "every.onnx")
    steps = []
    for number, step in enumerate(pieces.steps):
        if isinstance(step, Part):
            data = step.model.SerializeToString()
            (tmp_path / f"{number}.plan").write_bytes(data)
            names = {"inputs": tuple(step.inputs), "outputs": tuple(step.outputs)}
            step = EngineStep(file=f"{number}.plan", sha256="0" * 64, bytes=len(data), **names)
        steps.append(step)
    chain = Chain(
        steps=steps,
        tensors=pieces.tensors,
        constants=tuple(pieces.constants),
        constants_sha256=save_constants(tmp_path, pieces.constants),
    )
    assert {step.operator for step in chain.operators} == set(OPERATORS)
    identity = SimpleNamespace(model="every", lowering="kernel", precision="fp32", target=TARGET)
    edges = {kind: {name: pieces.tensors[name] for name in names}
             for kind, names in (("inputs", inputs), ("outputs", wanted))}  # fmt: skip
    record = SimpleNamespace(identity=identity, chain=chain, profile={}, **edges)
    loaded = session.load_plan(Plan(tmp_path, record), trt.flavour, trt.device)

    stream = trt.device.stream()
    context = loaded.create_context()
    workspace = trt.device.allocate(context.workspace_bytes, stream)
    context.set_workspace(workspace.pointer, workspace.size)
    arrays = {name: trt.device.array(spec.shape, spec.dtype, stream)
              for name, spec in {**loaded.inputs, **loaded.outputs}.items()}  # fmt: skip
    for name, array in arrays.items():
        context.bind(name, array.pointer)
    for name, array in inputs.items():
        trt.device.copy(arrays[name], array, stream)
    for _ in range(2):
        context.enqueue(stream)
    got = {name: np.empty(array.shape, array.dtype) for name, array in wanted.items()}
    for name, array in got.items():
        trt.device.copy(array, arrays[name], stream)
    np.testing.assert_array_equal(got["keep"], wanted["keep"])
    np.testing.assert_allclose(got["assembled"], wanted["assembled"], atol=1e-5)
    np.testing.assert_allclose(got["embedding"], wanted["embedding"], atol=1e-4 if half else 1e-5)


class TestWhatDoesNotLoad:
    """And leaves nothing open behind it."""

    @pytest.fixture
    def closed(self, monkeypatch):
        seen, close = [], Engine.close
        monkeypatch.setattr(Engine, "close", lambda self: (seen.append(self.name), close(self))[1])
        return seen

    def test_constants_that_are_altered(self, bundle, trt):
        [folder] = bundle.plans.glob("mgts.fp32.*")
        data = bytearray((folder / CONSTANTS).read_bytes())
        data[-1] ^= 1
        (folder / CONSTANTS).write_bytes(data)
        with pytest.raises(PlanError, match=r"constants\.npz is altered"):
            open_engine(bundle, "mgts", "fp32")
        assert trt.calls == []

    def test_constants_that_are_gone_by_then(self, bundle, trt, closed):
        plan = usable_plan(bundle, "mgts", "fp32", flavour=trt.flavour, gpus=[A4000])
        (plan.folder / CONSTANTS).unlink()
        with pytest.raises(PlanError, match=r"Cannot read .*constants\.npz"):
            session.load_plan(plan, trt.flavour, trt.device)
        assert closed == ["mgts"]

    def test_an_operator_without_a_kernel(self, bundle, trt, closed, monkeypatch):
        def refuse(step):
            raise BackendError(f"There is no kernel for the operator {step.operator}.")

        monkeypatch.setattr(session, "kernel_of", refuse)
        with pytest.raises(BackendError, match="no kernel for the operator SeHead"):
            open_engine(bundle, "mgts", "fp32")
        assert trt.calls == []

    def test_an_engine_that_tensorrt_refuses(self, bundle, trt):
        trt.fail["deserialize_cuda_engine"] = "out of memory"
        with pytest.raises(BackendError, match=r"failed in deserialising mgts .*out of memory"):
            open_engine(bundle, "mgts", "fp32")
