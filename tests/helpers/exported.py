"""The tiny networks, exported: files of each, and a bundle of all."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.traced import traced_once


@pytest.fixture(scope="session")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each network is traced once in a run, whichever process and test exports it."""
    pytest.importorskip("torch", reason="the networks need PyTorch")
    own = tmp_path_factory.getbasetemp()
    with traced_once((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "traces"):
        yield


@pytest.fixture(scope="session")
def exported(traces, tiny, networks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Model name → its exported file; each is exported once."""
    from export.exporter import example_inputs
    from export.graphs import trace
    from export.graphs.networks import GRAPHS

    folder, files = tmp_path_factory.mktemp("onnx"), {}

    def export(name: str) -> Path:
        if name not in files:
            graph = GRAPHS[name](networks[name]).eval()
            inputs = example_inputs(name, tiny)
            files[name] = folder / f"{name}.onnx"
            trace.export_onnx(graph, inputs, files[name], dynamic="B" if "image" in inputs else "N")
        return files[name]

    return export


@pytest.fixture(scope="session")
def run_onnx() -> Callable[..., dict[str, np.ndarray]]:
    """Run a model (its file or bytes) on the CPU: inputs by name → outputs by name."""
    import onnxruntime

    sessions: dict[str | bytes, onnxruntime.InferenceSession] = {}

    def run(model: Path | bytes, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        key = model if isinstance(model, bytes) else model.read_bytes()
        if key not in sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            sessions[key] = onnxruntime.InferenceSession(key, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in sessions[key].get_outputs()]
        return dict(zip(names, sessions[key].run(names, inputs), strict=True))

    return run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, public_photos) -> list[Path]:
    """A landscape, a portrait and a tiny picture."""
    import cv2

    folder = tmp_path_factory.mktemp("pictures")
    photo = cv2.imread(str(public_photos[0]))
    cv2.imwrite(str(folder / "landscape.png"), photo)
    cv2.imwrite(str(folder / "portrait.png"), photo[:, 150:450])
    cv2.imwrite(str(folder / "tiny.png"), photo[200:207, 220:229])
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="session")
def bundle(traces, tiny, pictures, tmp_path_factory):
    """The tiny preset, exported whole; a `mgts_trt.bundle.bundle.Bundle`."""
    from export.exporter import Export, export_bundle

    return export_bundle(Export(tiny, tmp_path_factory.mktemp("out") / "bundle", pictures))[0]


@pytest.fixture
def gradients(tmp_path: Path) -> Path:
    """A picture that shows nobody."""
    import cv2

    path = tmp_path / "gradients.png"
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    cv2.imwrite(str(path), np.stack([x, y, 255 - x], -1).astype(np.uint8))
    return path
