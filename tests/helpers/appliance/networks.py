"""The networks behind the simulated TensorRT: plans that name them, and a server that runs them on ONNX Runtime."""

import hashlib
import shutil
import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mgts_trt._typing import Array
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import PICTURES, Profile, load_recipe
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.batch import at_batch
from mgts_trt.plans.chain import Chain, EngineStep
from mgts_trt.plans.plan import PlanIdentity, PlanRecord, this_platform
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession

TENSORRT = "10.3.0.30"
"""What built the plans."""


def copy_for_appliance(source: Path, folder: Path, **changes: Any) -> Path:
    """What of a bundle the example reads: its manifest, and a plan a model.

    Args:
        source: A bundle of ONNX files.
        folder: Where to; new.
        **changes: Of the plans' identities.
    """
    folder.mkdir()
    shutil.copy(source / "manifest.json", folder)
    bundle = Bundle.open(source)
    for model in bundle.manifest.models:
        put_plan(bundle, folder, model, **changes)
    return folder


def put_plan(bundle: Bundle, folder: Path, model: str, **changes: Any) -> Path:
    """Write the plan of a model as the simulated TensorRT takes it, with its sidecar, and return its folder."""
    entry = bundle.model(model)
    fields = {
        "model": model, "precision": "fp32", "flavour": "tensorrt", "flavour_version": TENSORRT, "target": "sm_87",
        "platform": this_platform(), "onnx_sha256": entry.files["fp32"].sha256, "recipe_sha256": entry.recipe_sha256,
        "lowering": "graph", "operators": 1, "batch": 1, "settings": {"tf32": False, "workspace_mib": 2048},
    }  # fmt: skip
    identity = PlanIdentity(**{**fields, **changes})
    inputs, outputs = at_batch(entry.inputs, identity.batch), at_batch(entry.outputs, identity.batch)
    plan = _plan(model, inputs, outputs)
    step = EngineStep(
        file=f"{model}.plan", sha256=hashlib.sha256(plan).hexdigest(), bytes=len(plan), inputs=tuple(inputs),
        outputs=tuple(outputs),
    )  # fmt: skip
    symbols = set[str]().union(*(spec.symbols for spec in inputs.values()))
    profile = {**load_recipe(model).profile, PICTURES: Profile(min=1, opt=identity.batch, max=identity.batch)}
    record = PlanRecord(
        tool="0.1.0", identity=identity, chain=Chain(steps=(step,), tensors=inputs | outputs), seconds=12.25,
        inputs=inputs, outputs=outputs, profile={symbol: profile[symbol] for symbol in symbols}, onnx_nodes=9,
        onnx_nodes_with_layer=9, layers={"float32": 9}, warnings=0,
    )  # fmt: skip
    place = folder / "plans" / identity.folder
    place.mkdir(parents=True)
    (place / step.file).write_bytes(plan)
    record.write(place)
    return place


def _plan(model: str, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]) -> bytes:
    lines = [model]
    for kind, specs in (("input", inputs), ("output", outputs)):
        for name, spec in specs.items():
            sizes = (str(size) if isinstance(size, int) else "-1" for size in spec.shape)
            lines.append(f"{kind} {name} {spec.dtype} {' '.join(sizes)}")
    return ("\n".join(lines) + "\n").encode()


class _Asked(socketserver.StreamRequestHandler):
    """One run: a head of lines, the inputs' bytes; back go the outputs' bytes."""

    def handle(self) -> None:
        model, *lines = iter(lambda: self.rfile.readline().decode().strip(), "")
        inputs: dict[str, Array] = {}
        wanted: dict[str, tuple[int, ...]] = {}
        for line in lines:
            kind, name, dtype, *sizes = line.split()
            shape = tuple(map(int, sizes))
            if kind == "input":
                count = int(np.prod(shape)) * np.dtype(dtype).itemsize
                inputs[name] = np.frombuffer(self.rfile.read(count), dtype).reshape(shape)
            else:
                wanted[name] = shape
        found = self.server.sessions[model].run(inputs)  # type: ignore[attr-defined]
        for name, shape in wanted.items():
            assert found[name].shape == shape
            self.wfile.write(np.ascontiguousarray(found[name]).tobytes())


@contextmanager
def answering(bundle: Path, models: Sequence[str], socket: Path) -> Iterator[None]:
    """Run a bundle's networks for whoever asks at a socket."""
    opened = Bundle.open(bundle)
    with socketserver.UnixStreamServer(str(socket), _Asked) as server:
        server.sessions = {  # type: ignore[attr-defined]
            model: OnnxRuntimeSession(opened, model, "fp32", threads=1) for model in models
        }
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
