"""The NVIDIA GPUs of this machine."""

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As the driver reports it.
        compute_capability: Major and minor version, `(8, 6)`.
        memory: Bytes, if the driver says.
        driver: Version of the driver, if it says.
    """

    name: str
    compute_capability: tuple[int, int]
    memory: int | None = None
    driver: str | None = None

    @property
    def sm(self) -> str:
        """The compute capability as compilers write it: `"sm_86"`."""
        major, minor = self.compute_capability
        return f"sm_{major}{minor}"

    def __str__(self) -> str:
        memory = f", {self.memory / 2**30:.0f} GiB" if self.memory else ""
        return f"{self.name} ({self.sm}{memory})"


def find_gpus() -> list[Gpu]:
    """The GPUs a program can use here, in CUDA's order; an empty list where there is none or no driver.

    Asks `cuda.core`, which heeds `CUDA_VISIBLE_DEVICES`; without it, `nvidia-smi`.
    """
    return _from_cuda_core() if _has_cuda_core() else _from_nvidia_smi()


def find_driver() -> str | None:
    """Version of the NVIDIA driver that is loaded (`"550.54.14"`), even where CUDA cannot be used; None without one."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", DRIVER.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def _has_cuda_core() -> bool:
    try:
        # cuda.core installs without the bindings it needs, and then does not import.
        return all(importlib.util.find_spec(f"cuda.{part}") is not None for part in ("core", "bindings"))
    except ModuleNotFoundError:
        return False


def _from_cuda_core() -> list[Gpu]:
    # Without a driver each of these calls fails in a way of its own (a missing library, a CUDA or an NVML error);
    # all of them mean that there is nothing to use.
    try:
        from cuda.core import Device

        devices = Device.get_all_devices()
        return [
            Gpu(device.name, (device.compute_capability[0], device.compute_capability[1]), *_from_nvml(device))
            for device in devices
        ]
    except Exception:
        return []


def _from_nvml(device: Any) -> tuple[int | None, str | None]:
    """Memory and driver version; NVML knows neither on some Jetsons."""
    try:
        from cuda.core import system

        driver = ".".join(str(part) for part in system.get_kernel_mode_driver_version())
        return int(device.to_system_device().memory_info.total), driver
    except Exception:
        return None, None


def _from_nvidia_smi() -> list[Gpu]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in answer.splitlines() if (gpu := _parse_line(line))]


def _parse_line(line: str) -> Gpu | None:
    """One line of nvidia-smi's table: `NVIDIA RTX A4000, 8.6, 16376, 550.54.14` (MiB)."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 4:
        return None
    name, capability, memory, driver = fields
    major, _, minor = capability.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        return None
    return Gpu(name, (int(major), int(minor)), int(memory) << 20 if memory.isdecimal() else None, driver)
