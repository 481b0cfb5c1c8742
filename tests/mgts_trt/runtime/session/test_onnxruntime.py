from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile, Model
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BackendError, BundleError
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session import onnxruntime as module
from mgts_trt.runtime.session.backends import select_runtime
from mgts_trt.runtime.session.onnxruntime import CPU, CUDA, BoundSession, CudaSession, OnnxRuntimeSession
from tests.helpers.gpu_networks import assert_same
from tests.helpers.no_tensorrt import T4, machine_without_tensorrt
from tests.helpers.operators.case import Case
from tests.helpers.operators.forms import one_node
from tests.helpers.tiny_bundle import CANVAS, PATCH, make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle")))


def test_runs_a_model(bundle: Bundle) -> None:
    session = OnnxRuntimeSession(bundle, "mgts", "fp32", threads=1)
    patches = np.random.default_rng(0).normal(size=(3, 3, *PATCH)).astype(np.float32)
    embedding = session.run({"foreground": patches, "original": patches})["embedding"]
    assert embedding.shape == (3, 128)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
    session.close()
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.run({"foreground": patches, "original": patches})


GOOD = np.zeros((1, *CANVAS, 3), np.uint8)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "image missing"),
        ({"image": GOOD, "mask": GOOD}, "unknown mask"),
        ({"image": GOOD.astype(np.float32)}, r"image is float32 \[1, 64, 96, 3\], expected uint8 \[1, 64, 96, 3\]"),
        ({"image": GOOD[:, :-1]}, r"uint8 \[1, 63, 96, 3\]"),
        ({"image": GOOD[0]}, r"image is uint8 \[64, 96, 3\]"),
        ({"image": np.concatenate([GOOD, GOOD])}, r"image is uint8 \[2, 64, 96, 3\]"),
    ],
)
def test_wrong_inputs_are_refused_by_name(bundle: Bundle, inputs, message: str) -> None:
    session = OnnxRuntimeSession(bundle, "detector", "fp32")
    with pytest.raises(BackendError, match=message):
        session.run(inputs)


def test_a_file_whose_tensors_are_not_the_manifests_is_refused(bundle: Bundle) -> None:
    model = bundle.model("detector")
    wrong = model.model_copy(update={"outputs": {"boxes": TensorSpec(dtype="float32", shape=("B", 9, 4))}})
    manifest = bundle.manifest.model_copy(update={"models": {"detector": wrong}})
    with pytest.raises(
        BackendError, match=r"its outputs are boxes float32 \[1, 4, 4\].*expected are boxes float32 \[1, 9, 4\]"
    ):
        OnnxRuntimeSession(Bundle(bundle.root, manifest), "detector", "fp32")


def test_a_file_that_is_no_onnx_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    model = bundle.model("detector").model_copy(update={"files": {"fp32": BundleFile.of(tmp_path, "x.onnx")}})
    manifest = bundle.manifest.model_copy(update={"models": {"detector": model}})
    with pytest.raises(BackendError, match="cannot load"):
        OnnxRuntimeSession(Bundle(tmp_path, manifest), "detector", "fp32")


def test_a_precision_the_bundle_lacks(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="not in int8"):
        OnnxRuntimeSession(bundle, "detector", "int8")


def test_auto_falls_back_to_onnxruntime_and_says_why(bundle: Bundle, monkeypatch) -> None:
    monkeypatch.setattr("mgts_trt.runtime.session.tensorrt.find_gpus", list)
    monkeypatch.setattr("mgts_trt.runtime.session.tensorrt.find_flavour", lambda **_: None)
    monkeypatch.setattr("mgts_trt.runtime.session.tensorrt.why_no_flavour", lambda _: "TensorRT is not installed.")
    runtime = select_runtime(bundle, ("detector",), precision="fp32", backend="auto", threads=3)
    assert runtime.backend == "onnxruntime"
    assert runtime.device == "CPU, 3 threads"
    assert runtime.reason == "TensorRT is not installed."
    with pytest.raises(BackendError, match=r"cannot run here: TensorRT is not installed\."):
        select_runtime(bundle, ("detector",), precision="fp32", backend="tensorrt", threads=None)


def test_auto_names_the_missing_gpu(bundle: Bundle, monkeypatch) -> None:
    monkeypatch.setattr("mgts_trt.runtime.session.tensorrt.find_gpus", list)
    flavour = SimpleNamespace(__str__=lambda self: "x")
    monkeypatch.setattr("mgts_trt.runtime.session.tensorrt.find_flavour", lambda **_: flavour)
    reason = select_runtime(bundle, ("detector",), precision="fp32", backend="auto", threads=None).reason
    assert "no NVIDIA GPU was found" in reason


def test_unknown_backend_and_thread_counts(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="no backend 'cuda'"):
        select_runtime(bundle, ("detector",), precision="fp32", backend="cuda", threads=None)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="At least one thread"):
        OnnxRuntimeSession(bundle, "detector", "fp32", threads=0)


# Bound to a device: the CPU's provider runs the code that the CUDA provider would.


def patches(rows: int) -> dict[str, np.ndarray]:
    values = np.random.default_rng(rows).normal(size=(2, rows, 3, *PATCH)).astype(np.float32)
    return {"foreground": values[0], "original": values[1]}


@pytest.fixture
def bound(bundle: Bundle) -> BoundSession:
    session = BoundSession(bundle, "mgts", "fp32", threads=1)
    yield session
    session.close()


def test_binding_changes_nothing_whatever_the_order_of_batches(bundle: Bundle, bound: BoundSession) -> None:
    plain = OnnxRuntimeSession(bundle, "mgts", "fp32", threads=1)
    results = []
    for rows in (1, 5, 64, 2, 5, 3, 1, 64, 8):
        results.append((plain.run(patches(rows))["embedding"], bound.run(patches(rows))["embedding"]))
    for expected, got in results:  # at the end: no result lies in memory that a later run writes
        np.testing.assert_allclose(got, expected, atol=1e-6)
    assert sorted(bound._bindings) == [1, 2, 4, 8, 64]


def test_binding_of_models_without_batches(bundle: Bundle) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, *CANVAS, 3), dtype=np.uint8)
    for model in ("detector", "masknet"):
        plain, mine = (kind(bundle, model, "fp32", threads=1) for kind in (OnnxRuntimeSession, BoundSession))
        for picture in (image, image[:, ::-1], image):  # a view with negative strides, too
            expected, got = (session.run({"image": picture}) for session in (plain, mine))
            assert expected.keys() == got.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(got[name], array)


def test_threads_take_turns(bundle: Bundle, bound: BoundSession) -> None:
    plain = OnnxRuntimeSession(bundle, "mgts", "fp32", threads=1)
    expected = [plain.run(patches(rows))["embedding"] for rows in (1, 2, 3, 4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda rows: bound.run(patches(rows))["embedding"], [1, 2, 3, 4] * 5))
    for got, wanted in zip(found, expected * 5, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_a_closed_bound_session(bound: BoundSession) -> None:
    bound.close()
    bound.close()
    with pytest.raises(BackendError, match="closed"):
        bound.run(patches(1))


@pytest.fixture
def machine(monkeypatch):
    return lambda *gpus_and_providers, **how: machine_without_tensorrt(monkeypatch, *gpus_and_providers, **how)


@pytest.mark.parametrize(
    ("gpus", "providers", "backend", "reason"),
    [
        ([], [CPU], "onnxruntime", "TensorRT is not installed."),
        ([], [CUDA, CPU], "onnxruntime", "TensorRT is not installed."),
        ([T4], [CPU], "onnxruntime", "has no CUDA provider; `pip uninstall onnxruntime`"),
        ([T4], [CUDA, CPU], "onnxruntime-cuda", "TensorRT is not installed."),
    ],
)
def test_auto_takes_the_cuda_provider_before_the_cpu(bundle, machine, gpus, providers, backend, reason) -> None:
    machine(gpus, providers)
    runtime = select_runtime(bundle, ("detector",), precision="fp32", backend="auto", threads=1)
    assert runtime.backend == backend
    assert reason in runtime.reason
    if backend == "onnxruntime-cuda":
        assert runtime.device == str(T4)
        return
    why = "no NVIDIA GPU" if not gpus else "no CUDA provider"
    with pytest.raises(BackendError, match=f"onnxruntime-cuda cannot run here: .*{why}"):
        select_runtime(bundle, ("detector",), precision="fp32", backend="onnxruntime-cuda", threads=1)


@pytest.mark.parametrize("backend", ["auto", "onnxruntime-cuda"])
def test_the_whole_pipeline_bound(bundle: Bundle, machine, backend) -> None:
    machine([T4], [CUDA, CPU])
    image = np.random.default_rng(1).integers(0, 255, (*CANVAS, 3), dtype=np.uint8)
    with (
        PersonSearch(bundle, mode="net", backend=backend, threads=1) as mine,
        PersonSearch(bundle, mode="net", backend="onnxruntime", threads=1) as reference,
    ):
        assert mine.runtime.backend == "onnxruntime-cuda"
        told = []
        mine.warm_up(on_progress=lambda *step: told.append(step))
        assert told[-1] == (9, 9), "detector, mask net, and seven batches"
        assert_same(mine(image, top=3), reference(image, top=3), embeddings=1e-6)


def test_a_provider_that_does_not_load_costs_a_sentence(bundle: Bundle, machine) -> None:
    """It is in the list, as in `onnxruntime-gpu` without CUDA's libraries; ONNX Runtime itself takes the CPU then."""
    machine([T4], [CUDA, CPU], loads=False)
    with PersonSearch(bundle, mode="none", threads=1) as search:
        assert search.runtime.backend == "onnxruntime"
        assert search.runtime.device == "CPU, 1 threads"
        assert search.runtime.reason.startswith("TensorRT is not installed. ONNX Runtime")
        assert CUDA in search.runtime.reason
        search(np.zeros((*CANVAS, 3), np.uint8))
    with pytest.raises(BackendError, match="ONNX Runtime"):
        PersonSearch(bundle, mode="none", backend="onnxruntime-cuda", threads=1)


def test_every_option_of_the_provider_is_text() -> None:
    """ONNX Runtime takes nothing else."""
    name, options = CudaSession.provider
    assert (name, CudaSession.device) == (module.CUDA, "cuda")
    assert all(isinstance(value, str) for value in options.values())


def operator_bundle(folder: Path, boxes: np.ndarray, *, beside: bool = False) -> SimpleNamespace:
    """What a session asks of a bundle, with one model: `Nms` of some boxes and 0."""
    model = one_node("Nms", Case("", {"boxes": boxes}, {"threshold": 0.2}), [boxes[..., 0]])
    offset = numpy_helper.from_array(np.zeros_like(boxes), "offset")
    model.graph.initializer.append(offset)
    model.graph.node[0].input[0] = "moved"
    model.graph.node.insert(0, helper.make_node("Add", ["boxes", "offset"], ["moved"]))
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=beside, location="weights", size_threshold=0)
    entry = Model.model_construct(
        inputs={"boxes": TensorSpec(dtype="float32", shape=boxes.shape)},
        outputs={"output_0": TensorSpec(dtype="float32", shape=boxes.shape[:2])},
    )
    return SimpleNamespace(model_path=lambda model, precision: path, model=lambda name: entry)


class ElsewhereSession(OnnxRuntimeSession):
    """With a provider before the CPU's, as a GPU's is."""

    def _providers(self) -> list[str]:
        return ["AzureExecutionProvider", CPU]


CHAIN = 5 * np.arange(101)
"""Of boxes, each over the next one: more suppressions than a file's own body has rounds, which keeps a box too many."""
CHAIN_BOXES = np.stack([CHAIN, 0 * CHAIN, CHAIN + 8, 0 * CHAIN + 10], axis=1)[None].astype(np.float32)


def is_exact(session: OnnxRuntimeSession) -> bool:
    expected = (np.arange(101) % 2 == 0)[None].astype(np.float32)
    return np.array_equal(session.run({"boxes": CHAIN_BOXES})["output_0"], expected)


@pytest.mark.parametrize("beside", [False, True], ids=["weights in the file", "weights beside it"])
@pytest.mark.parametrize(("kind", "exact"), [(OnnxRuntimeSession, True), (ElsewhereSession, False)])
def test_operators_take_the_cpus_forms_on_the_cpu_alone(kind: type, exact: bool, beside: bool, tmp_path: Path) -> None:
    session = kind(operator_bundle(tmp_path, CHAIN_BOXES, beside=beside), "detector", "fp32", threads=1)
    finds_weights = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 21)
    assert is_exact(session) == (exact and (finds_weights or not beside))


def test_where_the_cpus_forms_do_not_load_the_files_own_do(monkeypatch, caplog, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "with_cpu_forms", lambda path: b"no model")
    session = OnnxRuntimeSession(operator_bundle(tmp_path, CHAIN_BOXES), "detector", "fp32", threads=1)
    assert not is_exact(session)
    assert "takes the file's own" in caplog.text
