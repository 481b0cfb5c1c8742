"""What every test may ask for."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.paths import ROOT, SAMPLES, TINY
from tests.helpers.shared_state import changed_since, shared_state

pytest_plugins = ["tests.helpers.exported"]

# Whatever a busy machine takes for an example, no test fails for it.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


class _WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name: str, *where: Any) -> ModuleSpec | None:
        return None if name == "torch" else super().find_spec(name, *where)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-torch", action="store_true", help="as if PyTorch were not installed: what needs it is skipped"
    )


def pytest_configure(config: pytest.Config) -> None:
    # OpenCV reads these once, when a process opens its first video, and some tests open one by themselves.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", str(2**31 - 1))
    if config.getoption("no_torch"):
        sys.meta_path[sys.meta_path.index(PathFinder)] = _WithoutTorch
    # Ctrl-C means what it means in the foreground: a script's background jobs, and so all they start, ignore it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` skip where there is none."""
    if item.get_closest_marker("gpu"):
        from mgts_trt.machine.gpus import find_gpus

        if not find_gpus():
            pytest.skip("needs an NVIDIA GPU and its driver")


@pytest.fixture(scope="module", autouse=True)
def module_leaves_nothing_behind() -> Iterator[None]:
    """What fixtures of a module change ends with it."""
    before = shared_state()
    yield
    if changed := changed_since(before):
        pytest.fail(f"The tests of this file leave changed: {changed}", pytrace=False)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(module_leaves_nothing_behind: None) -> Iterator[None]:
    """A test that fails here would make another one fail, far away."""
    before, threads = shared_state(), set(threading.enumerate())
    yield
    if changed := changed_since(before):
        pytest.fail(f"This test leaves changed: {changed}", pytrace=False)
    left = [thread.name for thread in threading.enumerate() if not thread.daemon and thread not in threads]
    left = [name for name in left if name != "AnyIO worker thread"]  # which ends by itself when it has been idle
    if left:
        pytest.fail(f"This test leaves threads behind: {left}", pytrace=False)


def _shared(what: str, *place: str) -> Path:
    """A folder beside the checkout; its absence skips a test, except in CI, where it fails."""
    folder = ROOT.parent.joinpath("shared", *place)
    if not folder.is_dir():
        message = f"needs {what} in {folder}, which {'are' if what.endswith('s') else 'is'} not there"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data."""
    return _shared("the real data", "data")


@pytest.fixture(scope="session")
def tensorrt_headers() -> Path:
    """The folder of TensorRT's headers: `VERSION/include` of several versions."""
    return _shared("TensorRT's headers", "gpu", "tensorrt_headers")


@pytest.fixture(scope="session")
def public_photos() -> list[Path]:
    """Street photos that lie in the repository."""
    return sorted(SAMPLES.glob("*.jpg"))


@pytest.fixture(scope="session")
def tiny():
    """A preset of every network in miniature."""
    pytest.importorskip("torch", reason="the networks need PyTorch")
    from training.preset import load_preset

    return load_preset(str(TINY))


@pytest.fixture(scope="session")
def networks(tiny) -> dict[str, Any]:
    """The four networks of `tiny`, as training might leave them."""
    from tests.helpers.tiny_networks import trained_networks

    return trained_networks(tiny)
