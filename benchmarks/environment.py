"""Where a measurement was taken: the machine, its software, and the commit."""

import datetime as dt
import mmap
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mgts_trt.machine.cpu import available_cores, cpu_name
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.version import __version__

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = (
    "numpy", "opencv-python-headless", "simplejpeg", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt",
    "tensorrt-rtx", "cuda-core", "cuda-bindings", "torch", "torchvision", "lancedb",
)  # fmt: skip


class Environment(BaseModel):
    """The circumstances of a report."""

    date: str
    commit: str
    """With `+` behind it where files had been changed since."""
    gpu: str | None
    sm: str | None
    gpu_memory_mib: int | None
    driver: str | None
    cuda: str | None
    """Newest CUDA the driver supports."""
    clocks_mhz: dict[str, int]
    """Of multiprocessors (`sm`) and memory, at the start, and the most they reach; empty where they cannot be read."""
    cpu: str
    cores: int
    python: str
    platform: str
    versions: dict[str, str]


def environment() -> Environment:
    """Of this machine, now."""
    gpus = find_gpus()
    gpu = gpus[0] if gpus else None
    return Environment(
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        commit=commit(),
        gpu=gpu.name if gpu else None,
        sm=gpu.sm if gpu else None,
        gpu_memory_mib=gpu.memory >> 20 if gpu and gpu.memory else None,
        driver=gpu.driver if gpu else None,
        cuda=_cuda() if gpu else None,
        clocks_mhz=clocks() if gpu else {},
        cpu=cpu_name(),
        cores=available_cores(),
        python=platform.python_version(),
        platform=platform.platform(),
        versions={"mgts-trt": __version__, **_versions()},
    )


def commit() -> str:
    """The checkout's commit, with `+` behind it if files differ from it; empty outside a checkout."""
    head, changes = (
        subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    )
    return f"{head}+" if changes else head


def clocks() -> dict[str, int]:
    """Clocks of the first GPU in MHz, now and at most; empty where NVML does not tell."""
    found: dict[str, int] = {}
    with suppress(Exception):  # NVML's errors, and those of a driver that is not there
        device = _nvml_device()
        for name in ("sm", "memory"):
            clock = device.get_clock(name)
            found |= {name: int(clock.get_current_mhz()), f"{name}_max": int(clock.get_max_mhz())}
    return found


def device_memory_used() -> int | None:
    """Bytes in use on the first GPU, by everybody; None without NVML."""
    with suppress(Exception):
        return int(_nvml_device().memory_info.used)
    return None


def host_memory_used() -> int:
    """Resident bytes of this process; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * mmap.PAGESIZE
    return 0


def _nvml_device() -> Any:
    from cuda.core import Device

    return Device(0).to_system_device()


def _cuda() -> str | None:
    with suppress(Exception):
        from cuda.core import system

        return ".".join(str(part) for part in system.get_user_mode_driver_version())
    return None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
