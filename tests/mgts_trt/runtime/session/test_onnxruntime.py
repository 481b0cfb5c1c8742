from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import BundleFile
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BackendError, BundleError
from mgts_trt.runtime.session.backends import select_runtime
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
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


GOOD = np.zeros((*CANVAS, 3), np.uint8)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "image missing"),
        ({"image": GOOD, "mask": GOOD}, "unknown mask"),
        ({"image": GOOD.astype(np.float32)}, r"image is float32 \[64, 96, 3\], expected uint8 \[64, 96, 3\]"),
        ({"image": GOOD[:-1]}, r"uint8 \[63, 96, 3\]"),
        ({"image": GOOD[None]}, r"uint8 \[1, 64, 96, 3\]"),
    ],
)
def test_wrong_inputs_are_refused_by_name(bundle: Bundle, inputs, message: str) -> None:
    session = OnnxRuntimeSession(bundle, "detector", "fp32")
    with pytest.raises(BackendError, match=message):
        session.run(inputs)


def test_a_file_whose_tensors_are_not_the_manifests_is_refused(bundle: Bundle) -> None:
    model = bundle.model("detector")
    wrong = model.model_copy(update={"outputs": {"boxes": TensorSpec(dtype="float32", shape=(9, 4))}})
    manifest = bundle.manifest.model_copy(update={"models": {"detector": wrong}})
    with pytest.raises(
        BackendError, match=r"its outputs are boxes float32 \[4, 4\].*expected are boxes float32 \[9, 4\]"
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
