import logging
import shutil
import threading

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BackendError, PlanError
from mgts_trt.machine import gpus
from mgts_trt.machine.cache import VARIABLE, DiskCache
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans import plan as plans
from mgts_trt.plans.builder.build import build_plan
from mgts_trt.plans.caches import RUNTIME
from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.plan import Plan, PlanRecord
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session import backends
from mgts_trt.runtime.session import tensorrt as session
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from mgts_trt.runtime.session.tensorrt import TensorRTSession, load_plan, open_engine
from tests.helpers import fake_tensorrt as fakes
from tests.helpers.fake_tensorrt import write_plan
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_machine import A4000, TARGET, simulated_gpu
from tests.helpers.threads import in_threads
from tests.helpers.tiny_bundle import CANVAS, PATCH, make_tiny_bundle

RTX = find_flavour("tensorrt_rtx")
REAL_FIND_GPUS = gpus.find_gpus
needs_rtx = pytest.mark.skipif(
    RTX is None or RTX.name != "tensorrt_rtx", reason="builds for real need TensorRT-RTX, which is not installed"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["tensorrt_rtx", "tensorrt"])
def trt(request, monkeypatch):
    """A machine with a GPU and one flavour of TensorRT, all simulated."""
    module, module.flavour = simulated_gpu(monkeypatch, request.param, seed=5)
    return module


@pytest.fixture
def bundle(tiny, tmp_path, trt):
    bundle = Bundle.open(shutil.copytree(tiny, tmp_path / "bundle"))
    for model in bundle.manifest.models:
        write_plan(bundle, model, trt.flavour, TARGET)
    return bundle


def patches(count, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.random((count, 3, *PATCH), np.float32) for name in ("foreground", "original")}


def picture(seed=0):
    image = np.random.default_rng(seed).integers(0, 60, (*CANVAS, 3), np.uint8)
    image[10:30, 20:40] = 250
    return image


@pytest.mark.parametrize("count", [1, 3, 64, 2])
def test_a_session_answers_as_onnx_runtime(bundle, count):
    mine, reference = TensorRTSession(bundle, "mgts", "fp32"), OnnxRuntimeSession(bundle, "mgts", "fp32")
    for seed in (0, 1):
        inputs = patches(count, seed)
        got, wanted = mine.run(inputs)["embedding"], reference.run(inputs)["embedding"]
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert mine.backend == "tensorrt"
    mine.close()
    mine.close()
    with pytest.raises(BackendError, match="closed"):
        mine.run(patches(1))


def test_results_stay_as_they_are_when_the_session_runs_again(bundle):
    mine = TensorRTSession(bundle, "mgts", "fp32")
    first = mine.run(patches(2, 0))["embedding"]
    kept = first.copy()
    mine.run(patches(2, 1))
    np.testing.assert_array_equal(first, kept)


def test_threads_share_a_session(bundle):
    mine, reference = TensorRTSession(bundle, "mgts", "fp32"), OnnxRuntimeSession(bundle, "mgts", "fp32")
    answers = in_threads(lambda seed: mine.run(patches(seed + 1, seed))["embedding"], 6)
    for seed in range(6):
        np.testing.assert_allclose(answers[seed], reference.run(patches(seed + 1, seed))["embedding"], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "foreground, original missing"),
        (patches(65), r"foreground cannot be \[65, 3, .*N = 1…64"),
        (patches(0), r"foreground cannot be \[0, 3, "),
        ({name: array.astype(np.float64) for name, array in patches(1).items()}, "foreground is float64"),
    ],
)
def test_inputs_the_plan_does_not_take_are_refused(bundle, inputs, message):
    with pytest.raises(BackendError, match=message):
        TensorRTSession(bundle, "mgts", "fp32").run(inputs)


@pytest.mark.parametrize("mode", ["none", "net", "box"])
def test_person_search_runs_on_tensorrt(bundle, mode):
    image = picture()
    with PersonSearch(bundle, mode=mode) as mine, PersonSearch(bundle, mode=mode, backend="onnxruntime") as reference:
        assert mine.runtime.backend == "tensorrt"
        assert mine.runtime.device == "NVIDIA RTX A4000 (sm_86, 16 GiB)"
        got, wanted = mine(image), reference(image)
    assert len(wanted.boxes)
    np.testing.assert_allclose(got.boxes, wanted.boxes, atol=1e-4)
    np.testing.assert_allclose(got.embeddings, wanted.embeddings, atol=1e-5)
    assert all(engine.closed for engine in mine.runtime.engines.values())


def test_plans_are_loaded_once(bundle, trt):
    with PersonSearch(bundle, mode="net"):
        assert trt.calls.count("deserialize_cuda_engine") == 3


def test_a_plan_is_read_and_hashed_once_and_the_gpus_are_looked_for_once(bundle, trt, monkeypatch):
    hashed, read, asked = [], [], []
    file_sha256, read_record = plans.file_sha256, PlanRecord.read
    monkeypatch.setattr(plans, "file_sha256", lambda path: (hashed.append(path.name), file_sha256(path))[1])
    monkeypatch.setattr(PlanRecord, "read", lambda folder: (read.append(folder), read_record(folder))[1])
    # Where the question ends, whichever module asks.
    monkeypatch.setattr(gpus, "_has_cuda_core", lambda: True)
    monkeypatch.setattr(gpus, "_from_cuda_core", lambda: (asked.append(1), [A4000])[1])
    monkeypatch.setattr(session, "find_gpus", REAL_FIND_GPUS)
    with PersonSearch(bundle, mode="net") as search:
        assert search.runtime.backend == "tensorrt"
    assert sorted(hashed) == ["detector.plan", "masknet.plan", "mgts.plan"]
    assert len(set(read)) == len(read) == 3
    assert len(asked) == 1


def test_a_plan_is_hashed_before_any_is_loaded(bundle, trt):
    [folder] = bundle.plans.glob("mgts.*")
    (folder / "mgts.plan").write_bytes(b"x" * (folder / "mgts.plan").stat().st_size)
    with pytest.raises(PlanError, match="altered"):
        session.load_engines(bundle, ("detector", "masknet", "mgts"), "fp32")
    assert trt.calls == []


@pytest.mark.parametrize(
    ("call", "stage"),
    [
        ("deserialize_cuda_engine", "deserialising detector"),
        ("create_execution_context", "creating a context of detector"),
    ],
)
def test_a_plan_that_does_not_load_says_why(bundle, trt, call, stage):
    trt.fail[call] = "Error Code 1: Cuda Runtime (out of memory)"
    with pytest.raises(BackendError, match=rf"failed in {stage} \(fp32, sm_86\): Error Code 1: .*out of memory"):
        TensorRTSession(bundle, "detector", "fp32")


@pytest.mark.parametrize(
    ("call", "stage"), [("execute_async_v3", "running mgts"), ("set_input_shape", "setting a shape of mgts")]
)
def test_a_run_that_fails_says_why_and_the_next_one_may_work(bundle, trt, call, stage):
    mine = TensorRTSession(bundle, "mgts", "fp32")
    trt.fail[call] = "illegal address"
    with pytest.raises(BackendError, match=rf"{stage} .*illegal address"):
        mine.run(patches(1))
    trt.fail.clear()
    assert mine.run(patches(1))["embedding"].shape == (1, 128)


def test_a_failure_in_one_thread_is_none_of_another_s(bundle, trt):
    """One recorder serves all contexts of an engine."""
    engine, both = open_engine(bundle, "idnet", "fp32"), threading.Barrier(2)
    said = {}

    def call(name, words):
        def work():
            both.wait(30)
            for _ in range(words):
                engine._runtime.error_recorder.report_error(1, f"{name} failed")
            both.wait(30)
            return True

        try:
            said[name] = engine.call("running", work)
        except BackendError as error:
            said[name] = str(error)

    threads = [threading.Thread(target=call, args=each) for each in (("good", 0), ("bad", 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said["good"] is True
    assert "failed in running idnet" in said["bad"]
    assert said["bad"].count("bad failed") == 1


def test_auto_falls_back_when_a_plan_does_not_load(bundle, trt):
    trt.fail["deserialize_cuda_engine"] = "CUDA driver version is insufficient"
    runtime = backends.select_runtime(bundle, ("detector",), precision="fp32", backend="auto", threads=1)
    assert (runtime.backend, runtime.device) == ("onnxruntime", "CPU, 1 threads")
    assert "CUDA driver version is insufficient" in runtime.reason
    with pytest.raises(BackendError, match=r"cannot run here: .*CUDA driver version is insufficient"):
        backends.select_runtime(bundle, ("detector",), precision="fp32", backend="tensorrt", threads=1)


def test_a_foreign_plan_is_never_given_to_tensorrt(bundle, trt):
    [folder] = bundle.plans.glob("idnet.*")
    (folder / "idnet.plan").write_bytes(b"x" * (folder / "idnet.plan").stat().st_size)
    with pytest.raises(PlanError, match="altered"):
        open_engine(bundle, "idnet", "fp32")
    assert trt.calls == []


def test_tensors_that_are_not_the_sidecars_are_refused(bundle, trt):
    plan = session.usable_plan(bundle, "idnet", "fp32", flavour=trt.flavour, gpus=[A4000])
    wrong = {"embedding": TensorSpec(dtype="float32", shape=("N", 64))}
    with pytest.raises(BackendError, match=r"has no output embedding float32 \[N, 64\]\. Build it again"):
        load_plan(altered(plan, wrong), trt.flavour, trt.device)
    with pytest.raises(BackendError, match="tensors its sidecar does not name: original"):
        load_plan(altered(plan, {}, inputs=()), trt.flavour, trt.device)


def altered(plan, tensors, **changes):
    """The plan as another sidecar tells of it: other tensors, and changes of its one step."""
    chain = plan.record.chain
    steps = (chain.steps[0].model_copy(update=changes),)
    chain = chain.model_copy(update={"steps": steps, "tensors": {**chain.tensors, **tensors}})
    return Plan(plan.folder, plan.record.model_copy(update={"chain": chain}))


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_a_plan_of_other_tensors_than_the_manifests_is_refused(bundle, trt, kind):
    model = bundle.model("idnet")
    other = {name: spec.model_copy(update={"dtype": "float16"}) for name, spec in getattr(model, kind).items()}
    models = {"idnet": model.model_copy(update={kind: other})}
    wrong = Bundle(bundle.root, bundle.manifest.model_copy(update={"models": models}))
    with pytest.raises(PlanError, match=rf"not of the model the manifest describes: its {kind} are .* float16"):
        session.usable_plan(wrong, "idnet", "fp32", flavour=trt.flavour, gpus=[A4000])


def test_a_context_says_what_it_lacks(bundle, trt):
    stream = trt.device.stream()
    context = open_engine(bundle, "idnet", "fp32").create_context()
    with pytest.raises(BackendError, match=r"original is not bound, embedding is not bound, original has no shape, it"):
        context.enqueue(stream)
    with pytest.raises(BackendError, match="size of embedding is open"):
        context.shape("embedding")
    for call, message in [
        (lambda: context.bind("image", 256), "no tensor 'image'"),
        (lambda: context.bind("original", 0), "cannot lie at 0x0"),
        (lambda: context.bind("original", 257), "cannot lie at 0x101"),
        (lambda: context.set_shape("embedding", (1, 128)), "no input 'embedding'"),
        (lambda: context.set_shape("original", (1, 3)), r"cannot be \[1, 3\]"),
        (lambda: context.set_workspace(256, 100), "100 bytes at 0x100; 4,096 bytes"),
        (lambda: context.set_workspace(128, 4096), "aligned to 256"),
    ]:
        with pytest.raises(BackendError, match=message):
            call()
    context.close()
    with pytest.raises(BackendError, match="closed"):
        context.set_shape("original", (1, 3, *PATCH))


def test_a_context_is_asked_whether_it_can_be_captured_where_it_can_tell(bundle, trt, monkeypatch):
    context, stream = open_engine(bundle, "idnet", "fp32").create_context(), trt.device.stream()
    assert context.capturable(stream)
    asked = []
    refuse = lambda self, handle: (asked.append(handle), False)[1]  # noqa: E731
    monkeypatch.setattr(fakes.FakeContext, "is_stream_capturable", refuse, raising=False)
    assert not context.capturable(stream)
    assert asked == [stream.handle]


def test_a_closed_engine_makes_no_contexts(bundle):
    engine = open_engine(bundle, "idnet", "fp32")
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="engine of idnet is closed"):
        engine.create_context()


def test_contexts_share_an_engine_and_a_workspace_and_run_in_a_graph(bundle, trt):
    device = trt.device
    stream = device.stream()
    engine = open_engine(bundle, "idnet", "fp32")
    workspace = device.allocate(engine.workspace_bytes, stream)
    inputs = patches(4)["original"]
    runs = []
    for count in (1, 4):
        context = engine.create_context()
        context.set_workspace(workspace.pointer, workspace.size)
        context.set_shape("original", (count, 3, *PATCH))
        arrays = {
            name: device.array(context.shape(name), np.float32, stream) for name in (*context.inputs, *context.outputs)
        }
        for name, array in arrays.items():
            context.bind(name, array.pointer)
        device.copy(arrays["original"], inputs[:count], stream)
        context.enqueue(stream)
        device.fill(arrays["embedding"], 0, stream)
        runs.append((context, arrays))
    with device.capture(stream) as capture:
        for context, _ in runs:
            context.enqueue(stream)
    capture.graph.launch(stream)
    wanted = OnnxRuntimeSession(bundle, "idnet", "fp32").run({"original": inputs})["embedding"]
    for count, (_, arrays) in zip((1, 4), runs, strict=True):
        back = np.empty((count, 128), np.float32)
        device.copy(back, arrays["embedding"], stream)
        np.testing.assert_allclose(back, wanted[:count], atol=1e-6)


# The runtime cache.


def entries(folder):
    return sorted((folder / RUNTIME).glob("*.bin")) if folder.exists() else []


def test_what_was_compiled_is_kept_for_the_next_process(bundle, trt, cache_folder):
    TensorRTSession(bundle, "idnet", "fp32").close()
    if not trt.flavour.has_runtime_cache():
        assert entries(cache_folder) == []
        return
    assert len(entries(cache_folder)) == 1
    assert trt.blobs == []
    second = TensorRTSession(bundle, "idnet", "fp32")
    assert trt.blobs == [b"kernels"]
    # A new shape adds kernels.
    trt.compiled = b"kernels and more"
    second.run({"original": patches(2)["original"]})
    TensorRTSession(bundle, "idnet", "fp32")
    assert trt.blobs[1:] == [b"kernels and more"]
    assert len(entries(cache_folder)) == 1
    TensorRTSession(bundle, "mgts", "fp32")
    assert len(entries(cache_folder)) == 2


def test_another_driver_has_another_entry(bundle, trt, cache_folder, monkeypatch):
    TensorRTSession(bundle, "idnet", "fp32")
    monkeypatch.setattr(session, "find_gpus", lambda: [Gpu(A4000.name, (8, 6), A4000.memory, "560.1")])
    TensorRTSession(bundle, "idnet", "fp32")
    assert len(entries(cache_folder)) == (2 if trt.flavour.has_runtime_cache() else 0)
    assert trt.blobs == []


def test_no_cache_is_kept_when_switched_off(bundle, trt, cache_folder, monkeypatch):
    monkeypatch.setenv(VARIABLE, "off")
    mine = TensorRTSession(bundle, "idnet", "fp32")
    assert mine.run({"original": patches(1)["original"]})
    assert not cache_folder.exists()
    assert "set_runtime_cache" not in trt.calls


@pytest.mark.parametrize("content", ["damaged", "refused"])
def test_a_cache_that_cannot_be_used_is_ignored_and_written_anew(bundle, trt, cache_folder, caplog, content):
    if not trt.flavour.has_runtime_cache():
        pytest.skip("this flavour has no runtime cache")
    engine = open_engine(bundle, "idnet", "fp32")
    engine.create_context()
    engine.save_cache()
    [path] = entries(cache_folder)
    if content == "damaged":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        DiskCache(RUNTIME).store(engine._cache.key, b"of another GPU")
    with caplog.at_level(logging.WARNING):
        TensorRTSession(bundle, "idnet", "fp32")
    assert "Ignoring it" in caplog.text
    assert DiskCache(RUNTIME).load(engine._cache.key) == b"kernels"


# The real bindings, without a GPU.


@needs_rtx
@pytest.mark.skipif(bool(session.find_gpus()), reason="the message is for machines without a GPU")
def test_without_a_gpu_tensorrts_own_words_reach_the_user(tiny, tmp_path):
    bundle = Bundle.open(shutil.copytree(tiny, tmp_path / "bundle"))
    built = build_plan(bundle, "idnet", "fp32")
    with pytest.raises(BackendError, match=r"failed in deserialising idnet .*CUDA driver version is insufficient"):
        load_plan(built, RTX, SimulatedDevice())
    broken = Plan(tmp_path, built.record)
    broken.files[0].write_bytes(b"x" * 4096)
    with pytest.raises(BackendError, match=r"Serialization assertion header\.magicTag"):
        load_plan(broken, RTX, SimulatedDevice())


@needs_rtx
def test_the_real_bindings_have_what_the_fake_ones_imitate():
    real = RTX.module
    for name, fake in [
        ("Runtime", fakes.FakeRuntime),
        ("ICudaEngine", fakes.FakeEngine),
        ("IExecutionContext", fakes.FakeContext),
        ("IRuntimeConfig", fakes.FakeRuntimeConfig),
        ("IRuntimeCache", fakes.FakeRuntimeCache),
    ]:
        assert {each for each in vars(fake) if not each.startswith("_")} <= set(dir(getattr(real, name))), name
    assert {"USER_MANAGED"} <= set(dir(real.ExecutionContextAllocationStrategy))
    assert {"EAGER"} <= set(dir(real.DynamicShapesKernelSpecializationStrategy))


# On a GPU.


@pytest.fixture(scope="module")
def built(tiny, tmp_path_factory):
    bundle = Bundle.open(shutil.copytree(tiny, tmp_path_factory.mktemp("gpu") / "bundle"))
    for model in bundle.manifest.models:
        build_plan(bundle, model, "fp32", "current")
    return bundle


@pytest.mark.gpu
@needs_rtx
@pytest.mark.parametrize("model", ["detector", "masknet", "mgts", "idnet"])
def test_a_gpu_answers_as_onnx_runtime(built, model):
    inputs = {"image": picture()[None]} if model in ("detector", "masknet") else patches(3)
    inputs = {name: inputs[name] for name in built.model(model).inputs}
    got, wanted = (kind(built, model, "fp32").run(inputs) for kind in (TensorRTSession, OnnxRuntimeSession))
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], atol=1e-3, err_msg=name)


@pytest.mark.gpu
@needs_rtx
@pytest.mark.parametrize("caller", ["own", "torch"])
def test_a_gpu_runs_an_engine_in_a_graph_on_a_callers_stream(built, caller):
    from mgts_trt.runtime.cuda.nvidia import CudaDevice

    device = CudaDevice()
    if caller == "torch":
        torch = pytest.importorskip("torch")
        theirs = torch.cuda.Stream()
        stream = device.wrap_stream(theirs)
    else:
        stream = device.stream()
    engine = open_engine(built, "idnet", "fp32", device=device)
    context = engine.create_context()
    workspace = device.allocate(engine.workspace_bytes, stream)
    context.set_workspace(workspace.pointer, workspace.size)
    inputs = patches(4)["original"]
    context.set_shape("original", inputs.shape)
    arrays = {name: device.array(context.shape(name), np.float32, stream) for name in ("original", "embedding")}
    for name, array in arrays.items():
        context.bind(name, array.pointer)
    device.copy(arrays["original"], inputs, stream)
    context.enqueue(stream)
    stream.synchronize()
    with device.capture(stream) as capture:
        context.enqueue(stream)
    device.fill(arrays["embedding"], 0, stream)
    capture.graph.launch(stream)
    back = np.empty((4, 128), np.float32)
    device.copy(back, arrays["embedding"], stream)
    wanted = OnnxRuntimeSession(built, "idnet", "fp32").run({"original": inputs})["embedding"]
    np.testing.assert_allclose(back, wanted, atol=1e-3)
