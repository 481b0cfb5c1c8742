"""Which of our extras brings the TensorRT and the CUDA that fit this machine."""

from typing import NamedTuple

from mgts_trt.machine.jetson import Jetson
from mgts_trt.plans.support import FlavourName


class Cuda(NamedTuple):
    """A major version of CUDA.

    Attributes:
        major: `12` or `13`.
        driver: The oldest driver that runs programs of it (CUDA's release notes, minor version compatibility).
    """

    major: int
    driver: tuple[int, int]


CUDAS: tuple[Cuda, ...] = (Cuda(13, (580, 65)), Cuda(12, (525, 60)))
"""Newest first."""

NEW_DRIVER = "sudo apt-get install nvidia-driver-580"
"""What brings the driver of the newest CUDA, on Debian and Ubuntu."""

INT8_ON_RTX = (
    "INT8 may gain nothing in TensorRT-RTX, which names it for products with weights alone: "
    "measure it beside FP16 on this machine before you choose it"
)


class Platform(NamedTuple):
    """Where a flavour is meant to run, and how far that has been tried, for the documents' table.

    Attributes:
        name: For people.
        flavour: The TensorRT.
        version: Its versions.
        cuda: Version.
        python: Versions.
        extra: What brings them.
        builds: Whether building plans there runs in CI, is proven statically, or was never run.
        runs: The same of running them.
        gpus: Compute capabilities; empty means all that the flavour supports.
    """

    name: str
    flavour: FlavourName
    version: str
    cuda: str
    python: str
    extra: str
    builds: str
    runs: str
    gpus: tuple[str, ...] = ()


_CI, _STATIC, _NEVER = "runs here in CI", "proven statically", "never run"

PLATFORMS: tuple[Platform, ...] = (
    Platform("driver 580.65 or newer", "tensorrt_rtx", "1.7", "13", "3.11–3.13", "rtx", _CI, _NEVER),
    Platform("driver 580.65 or newer", "tensorrt", "10.13–11.4", "13", "3.11–3.13", "tensorrt", _NEVER, _NEVER),
    Platform("driver 525.60 or newer", "tensorrt_rtx", "1.7", "12", "3.11–3.13", "rtx-cu12", _NEVER, _NEVER),
    Platform("driver 525.60 or newer", "tensorrt", "10.8–11.4", "12", "3.11–3.13", "tensorrt-cu12", _NEVER, _NEVER),
    Platform("JetPack 6.2", "tensorrt", "10.3", "12.6", f"3.10, {_STATIC}", "jetson", _NEVER, _NEVER, ("sm_87",)),
    Platform("JetPack 7", "tensorrt", "10.13–10.16", "13", "3.12", "jetson", _NEVER, _NEVER, ("sm_87", "sm_110")),
)


def fitting_cuda(driver: str | None) -> Cuda | None:
    """The newest CUDA that a driver runs; the newest of all where the driver is unknown, None where it is too old."""
    if driver is None or (version := _numbers(driver)) is None:
        return CUDAS[0]
    return next((cuda for cuda in CUDAS if version >= cuda.driver), None)


def runs_cuda(driver: str, major: int) -> bool:
    """Whether a driver runs programs of a major version of CUDA; true where that cannot be told."""
    oldest = next((cuda.driver for cuda in CUDAS if cuda.major == major), None)
    version = _numbers(driver)
    return oldest is None or version is None or version >= oldest


def install_command(name: FlavourName, driver: str | None = None, jetson: Jetson | None = None) -> str:
    """The command that brings a flavour to a machine; a new driver first where the one there is too old.

    Args:
        name: The flavour; on a Jetson it is TensorRT, which JetPack brings.
        driver: Its version, if known.
        jetson: If it is one.
    """
    if jetson is not None:
        return "sudo apt-get install nvidia-jetpack && pip install 'mgts-trt[jetson]'"
    cuda = fitting_cuda(driver)
    if cuda is None:
        return NEW_DRIVER
    short = "rtx" if name == "tensorrt_rtx" else "tensorrt"
    return f"pip install 'mgts-trt[{short}]'" if cuda == CUDAS[0] else f"pip install 'mgts-trt[{short}-cu{cuda.major}]'"


def _numbers(version: str) -> tuple[int, int] | None:
    parts = version.split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdecimal() for part in parts) else None
