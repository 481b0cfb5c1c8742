import subprocess
from types import SimpleNamespace

import pytest

from mgts_trt.machine import gpus
from mgts_trt.machine import gpus as module
from mgts_trt.machine.gpus import Gpu, find_gpus


def test_find_gpus_answers_on_any_machine():
    assert all(isinstance(gpu, Gpu) for gpu in find_gpus())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "NVIDIA RTX A4000, 8.6, 16376, 550.54.14",
            Gpu("NVIDIA RTX A4000", (8, 6), 16376 << 20, "550.54.14"),
        ),
        (
            "NVIDIA GeForce RTX 5090, 12.0, 32607, 580.65.06",
            Gpu("NVIDIA GeForce RTX 5090", (12, 0), 32607 << 20, "580.65.06"),
        ),
        ("Orin, 8.7, [N/A], 540.3.0", Gpu("Orin", (8, 7), None, "540.3.0")),
        ("Tesla K80, [N/A], 11441, 470.0", None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", None),
        ("", None),
    ],
)
def test_lines_of_nvidia_smi(line, expected):
    assert gpus._parse_line(line) == expected


@pytest.mark.parametrize(
    ("gpu", "sm", "text"),
    [
        (Gpu("A", (8, 6), 16 << 30), "sm_86", "A (sm_86, 16 GiB)"),
        (Gpu("B", (12, 1)), "sm_121", "B (sm_121)"),
    ],
)
def test_gpu_for_people(gpu, sm, text):
    assert gpu.sm == sm
    assert str(gpu) == text


@pytest.fixture
def without_cuda_core(monkeypatch):
    monkeypatch.setattr(gpus, "_has_cuda_core", lambda: False)
    monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")


def test_nvidia_smi_is_asked_without_cuda_core(without_cuda_core, monkeypatch):
    answer = SimpleNamespace(stdout="A, 8.6, 100, 1.2\nnonsense\nB, 8.9, 200, 1.2\n")
    monkeypatch.setattr(gpus.subprocess, "run", lambda *args, **options: answer)
    assert [gpu.sm for gpu in find_gpus()] == ["sm_86", "sm_89"]


@pytest.mark.parametrize(
    "failure",
    [subprocess.CalledProcessError(9, "nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 20), PermissionError()],
)
def test_a_failing_nvidia_smi_means_no_gpu(without_cuda_core, monkeypatch, failure):
    def fail(*args, **options):
        raise failure

    monkeypatch.setattr(gpus.subprocess, "run", fail)
    assert find_gpus() == []


def test_no_nvidia_smi_means_no_gpu(without_cuda_core, monkeypatch):
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    assert find_gpus() == []


def test_cuda_core_devices(monkeypatch):
    pytest.importorskip("cuda.bindings", reason="cuda.core needs its bindings")
    core = pytest.importorskip("cuda.core")
    memory = SimpleNamespace(memory_info=SimpleNamespace(total=8 << 30))
    found = SimpleNamespace(name="A", compute_capability=(8, 9), to_system_device=lambda: memory)
    monkeypatch.setattr(core, "Device", SimpleNamespace(get_all_devices=lambda: (found,)))
    monkeypatch.setattr(core.system, "get_kernel_mode_driver_version", lambda: (580, 65, 6))
    assert find_gpus() == [Gpu("A", (8, 9), 8 << 30, "580.65.6")]


def test_a_device_nvml_does_not_know(monkeypatch):
    pytest.importorskip("cuda.bindings", reason="cuda.core needs its bindings")
    core = pytest.importorskip("cuda.core")

    def fail():
        raise RuntimeError("NVML: not supported")

    found = SimpleNamespace(name="Orin", compute_capability=(8, 7), to_system_device=fail)
    monkeypatch.setattr(core, "Device", SimpleNamespace(get_all_devices=lambda: (found,)))
    assert find_gpus() == [Gpu("Orin", (8, 7), None, None)]


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version: 12",
            "550.54.14",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@b)  Sun Jul 27",
            "580.65.06",
        ),
        ("NVRM version: none", None),
        (None, None),
    ],
)
def test_the_driver_is_known_without_cuda(tmp_path, monkeypatch, text, driver):
    monkeypatch.setattr(module, "DRIVER", tmp_path / "version")
    if text is not None:
        (tmp_path / "version").write_text(text)
    assert module.find_driver() == driver
