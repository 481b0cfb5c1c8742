"""Machines that `mgts-trt doctor` is shown, and what it says of each.

`python -m tests.helpers.doctor_machines` writes the text anew; read every line of it before you commit it.
"""

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from mgts_trt.cli import gpu_findings as module
from mgts_trt.cli.finding import report
from mgts_trt.machine.gpus import Gpu
from mgts_trt.machine.jetson import Jetson
from mgts_trt.plans import installed
from tests.helpers.paths import ROOT

TEXT = ROOT / "tests/mgts_trt/cli/doctor_machines.txt"

RTX = {"tensorrt_rtx": "1.7.1.116"}
BOTH = {**RTX, "tensorrt": "11.4.0.106"}
_ORIN = "NVIDIA Jetson AGX Orin Developer Kit"


@dataclass(frozen=True)
class Machine:
    """What is there: GPU, driver, JetPack, packages by version (or why one does not load), bindings of CUDA."""

    gpu: Gpu | None = None
    driver: str | None = None
    jetson: Jetson | None = None
    packages: dict[str, str] = field(default_factory=dict)
    bindings: str | None = None


def _gpu(name: str, major: int, minor: int, gib: int | None, driver: str | None) -> dict[str, Any]:
    return {"gpu": Gpu(name, (major, minor), gib and gib << 30, driver), "driver": driver}


MACHINES = {
    "Orin, JetPack 6.2, nothing installed": Machine(driver="540.4.0", jetson=Jetson(_ORIN, (36, "4.3"))),
    "Orin, JetPack 6.2, the extra jetson installed": Machine(
        **_gpu("Orin", 8, 7, None, None), jetson=Jetson(_ORIN, (36, "4.3")), packages={"tensorrt": "10.3.0"}
    ),
    "Orin, JetPack 6.2, TensorRT-RTX installed by mistake": Machine(
        **_gpu("Orin", 8, 7, None, None), jetson=Jetson(_ORIN, (36, "4.3")), packages=RTX, bindings="12.9.10"
    ),
    "Orin, JetPack 5": Machine(jetson=Jetson(_ORIN, (35, "6.0"))),
    "Orin, JetPack 7": Machine(
        **_gpu("Orin", 8, 7, None, "595.58.3"), jetson=Jetson(_ORIN, (39, "2.0")), packages={"tensorrt": "10.16.1"}
    ),
    "Thor, JetPack 7": Machine(
        **_gpu("NVIDIA Thor", 11, 0, 122, "580.00"),
        jetson=Jetson("NVIDIA Jetson AGX Thor Developer Kit", (38, "2.1")),
        packages={"tensorrt": "10.13.3.9"},
        bindings="13.5.0",
    ),
    "RTX 4070 laptop": Machine(
        **_gpu("NVIDIA GeForce RTX 4070 Laptop GPU", 8, 9, 8, "580.95.5"), packages=RTX, bindings="13.5.0"
    ),
    "RTX 4070 laptop, both flavours": Machine(
        **_gpu("NVIDIA GeForce RTX 4070 Laptop GPU", 8, 9, 8, "580.95.5"), packages=BOTH, bindings="13.5.0"
    ),
    "A100, no TensorRT": Machine(**_gpu("NVIDIA A100-SXM4-40GB", 8, 0, 40, "550.54.14")),
    "H100, TensorRT-RTX alone": Machine(
        **_gpu("NVIDIA H100 80GB HBM3", 9, 0, 80, "580.95.5"), packages=RTX, bindings="13.5.0"
    ),
    "H100, both flavours": Machine(
        **_gpu("NVIDIA H100 80GB HBM3", 9, 0, 80, "580.95.5"), packages=BOTH, bindings="13.5.0"
    ),
    "L4, no TensorRT": Machine(**_gpu("NVIDIA L4", 8, 9, 23, "570.86.15")),
    "T4, CUDA 13 on a driver for CUDA 12": Machine(
        **_gpu("Tesla T4", 7, 5, 15, "535.183.1"), packages=RTX, bindings="13.5.0"
    ),
    "T4, driver too old": Machine(**_gpu("Tesla T4", 7, 5, 15, "470.57.2")),
    "RTX 5090, TensorRT too old": Machine(
        **_gpu("NVIDIA GeForce RTX 5090", 12, 0, 32, "580.95.5"), packages={"tensorrt": "10.7.0"}, bindings="13.5.0"
    ),
    "A10, TensorRT that does not load": Machine(
        **_gpu("NVIDIA A10", 8, 6, 22, "580.95.5"),
        packages={"tensorrt": "libnvinfer.so.10: cannot open shared object file"},
        bindings="13.5.0",
    ),
    "V100": Machine(**_gpu("Tesla V100-SXM2-16GB", 7, 0, 16, "580.95.5")),
    "a driver, and no GPU to be seen": Machine(driver="580.95.5", packages=RTX, bindings="13.5.0"),
    "no GPU, TensorRT-RTX": Machine(packages=RTX, bindings="13.5.0"),
    "no GPU, nothing": Machine(),
}


def pretend(monkeypatch: Any, machine: Machine) -> None:
    """Have the process find this machine."""

    def load(name: str) -> Any:
        version = machine.packages.get(name, f"No module named {name!r}")
        if not version[0].isdigit():
            return version
        named = {"ComputeCapability": SimpleNamespace(SM75=1, SM80=2, SM86=3, SM89=4, SM120=5, SM121=6)}
        return SimpleNamespace(__version__=version, **named)

    def version(package: str) -> str:
        if machine.bindings is None:
            raise PackageNotFoundError(package)
        return machine.bindings

    monkeypatch.delenv(installed.VARIABLE, raising=False)
    monkeypatch.setattr(installed, "_load", load)
    monkeypatch.setattr(installed.importlib.util, "find_spec", lambda name: name in machine.packages or None)
    monkeypatch.setattr(module.importlib.metadata, "version", version)
    monkeypatch.setattr(module, "find_gpus", lambda: [machine.gpu] if machine.gpu else [])
    monkeypatch.setattr(module, "find_driver", lambda: machine.driver)
    monkeypatch.setattr(module, "find_jetson", lambda: machine.jetson)


def findings(machine: Machine) -> list[Any]:
    """What `doctor` finds of GPU and TensorRT; of the rest of a machine it says the same everywhere."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        pretend(monkeypatch, machine)
        return [*module.gpu_findings(), *module.tensorrt_findings()]


def text() -> str:
    """All machines, each with what is said of it."""
    parts = []
    for name, machine in MACHINES.items():
        console = Console(width=400, color_system=None)
        with console.capture() as captured:
            console.print(report(findings(machine)))
        said = "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
        parts.append(f"=== {name}\n{said}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    TEXT.write_text(text(), encoding="utf-8")
