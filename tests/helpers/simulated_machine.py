"""A machine with a simulated GPU and TensorRT, whose plans ONNX Runtime runs."""

from typing import Any

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.machine import gpus
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans.flavour import Flavour
from mgts_trt.runtime.session import backends, tensorrt
from tests.helpers.fake_tensorrt import FakeTensorRT, write_plan
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice

A4000 = Gpu("NVIDIA RTX A4000", (8, 6), 16 << 30, "550.54")
TARGET = "sm_86"


def simulated_machine(monkeypatch: Any, bundle: Bundle) -> FakeTensorRT:
    """Have the process find such a machine, and write a plan of each model, head in the graph, into the bundle."""
    module = FakeTensorRT(SimulatedDevice(seed=7))
    register_kernels(module.device)
    flavour = Flavour("tensorrt_rtx", module.__version__, module)
    for where in (gpus, tensorrt, backends):
        monkeypatch.setattr(where, "find_gpus", lambda: [A4000])
    monkeypatch.setattr(tensorrt, "find_flavour", lambda: flavour)
    monkeypatch.setattr(tensorrt, "require_flavour", lambda: flavour)
    monkeypatch.setattr(tensorrt, "_first_gpu", lambda: module.device)
    for model in bundle.manifest.models:
        write_plan(bundle, model, flavour, TARGET)
    return module
