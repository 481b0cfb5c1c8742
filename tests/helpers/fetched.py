"""Packages that tests look into and the project never installs: fetched into a folder of the environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NVRTC_12 = "nvidia-cuda-nvrtc-cu12==12.9.86"
"""CUDA 12's compiler of kernels, 85 MiB; the tests' environment has CUDA 13's."""

JSON_CPP = "nlohmann-json==3.12.0"
"""The headers that read JSON in C++, of which distributions have a package."""


def fetched(requirement: str) -> Path:
    """Where a package is kept."""
    return Path(sys.prefix) / "fetched" / requirement.replace("==", "-")


def fetch(requirement: str) -> None:
    """Fetch a package without what it depends on, unless it is there.

    Args:
        requirement: NAME==VERSION.

    Raises:
        subprocess.CalledProcessError: There is no network, or no such wheel for this Python.
    """
    if fetched(requirement).is_dir():
        return
    half = fetched(requirement).with_name(f"{fetched(requirement).name}.{os.getpid()}.part")
    shutil.rmtree(half, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--only-binary=:all:", "--target", str(half), requirement], check=True)
    try:
        half.rename(fetched(requirement))
    except OSError:
        shutil.rmtree(half)
        if not fetched(requirement).is_dir():  # else another process was first
            raise


def main() -> None:
    """Fetch all; what cannot be had is told, and its test skipped, but where `CI` is set."""
    from tests.helpers.real_bindings import VERSIONS, requirement
    from tests.helpers.triton_server import REQUIREMENTS

    for wanted in [*map(requirement, VERSIONS), NVRTC_12, JSON_CPP, *REQUIREMENTS]:
        try:
            fetch(wanted)
        except subprocess.CalledProcessError:
            if os.environ.get("CI"):
                raise
            print(f"{wanted} could not be fetched; its test is skipped.")


if __name__ == "__main__":
    main()
