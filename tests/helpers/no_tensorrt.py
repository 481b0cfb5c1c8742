"""A machine that has ONNX Runtime alone, played by this one."""

import pytest

from mgts_trt.machine.gpus import Gpu
from mgts_trt.runtime.session import backends, tensorrt
from mgts_trt.runtime.session.onnxruntime import CPU, CudaSession

T4 = Gpu("Tesla T4", (7, 5), 15 << 30, "550.54")


def machine_without_tensorrt(
    monkeypatch: pytest.MonkeyPatch, gpus: list[Gpu], providers: list[str], *, loads: bool = True
) -> None:
    """A machine whose GPUs and providers are as told; CUDA's provider is the CPU's by its name.

    Args:
        monkeypatch: Undoes it.
        gpus: What it has.
        providers: What ONNX Runtime says it has.
        loads: Whether CUDA's provider works; else it is ONNX Runtime's own, which finds no CUDA.
    """
    for place in (backends, tensorrt):
        monkeypatch.setattr(place, "find_gpus", lambda: gpus)
    monkeypatch.setattr(tensorrt, "find_flavour", lambda *_, **__: None)
    monkeypatch.setattr(tensorrt, "why_no_flavour", lambda _: "TensorRT is not installed.")
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda *_, **__: None)
    if loads:
        monkeypatch.setattr(CudaSession, "provider", (CPU, {}))
        monkeypatch.setattr(CudaSession, "device", "cpu")
