"""A machine with a simulated GPU and TensorRT, whose plans ONNX Runtime runs."""

from typing import Any

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.machine import gpus
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.support import FlavourName
from mgts_trt.runtime.session import tensorrt
from tests.helpers.fake_tensorrt import FakeTensorRT, write_plan
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice

A4000 = Gpu("NVIDIA RTX A4000", (8, 6), 16 << 30, "550.54")
TARGET = "sm_86"


def simulated_gpu(monkeypatch: Any, name: FlavourName = "tensorrt_rtx", seed: int = 7) -> tuple[FakeTensorRT, Flavour]:
    """Have the process find such a machine, with this TensorRT on it."""
    module = FakeTensorRT(SimulatedDevice(seed=seed), name)
    register_kernels(module.device)
    flavour = Flavour(name, module.__version__, module)
    for where in (gpus, tensorrt):
        monkeypatch.setattr(where, "find_gpus", lambda: [A4000])
    monkeypatch.setattr(tensorrt, "find_flavour", lambda **_: flavour)
    monkeypatch.setattr(tensorrt, "require_flavour", lambda *_: flavour)
    monkeypatch.setattr(tensorrt, "_first_gpu", lambda: module.device)
    return module, flavour


def simulated_machine(monkeypatch: Any, bundle: Bundle) -> FakeTensorRT:
    """Have the process find such a machine, and write a plan of each model, head in the graph, into the bundle."""
    module, flavour = simulated_gpu(monkeypatch)
    for model in bundle.manifest.models:
        write_plan(bundle, model, flavour, TARGET)
    return module
