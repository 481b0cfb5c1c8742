from types import SimpleNamespace

import pytest

from mgts_trt.errors import BackendError
from mgts_trt.machine.gpus import Gpu
from mgts_trt.plans import installed as module
from mgts_trt.plans.installed import find_flavour, flavour_to_build, require_flavour, why_no_flavour
from mgts_trt.plans.support import GPU_KINDS

BOTH = {"tensorrt": "11.4.0", "tensorrt_rtx": "1.7.1"}
HOPPER = Gpu("NVIDIA H100", (9, 0), 80 << 30)


def gpu(sm):
    number = int(sm.removeprefix("sm_"))
    return Gpu("G", (number // 10, number % 10))


@pytest.fixture
def install(monkeypatch):
    """Has the machine these packages and no other: by name the version, or why it does not load."""
    monkeypatch.delenv(module.VARIABLE, raising=False)

    def install(packages):
        def load(name):
            version = packages.get(name, f"No module named '{name}'")
            if not version[0].isdigit():
                return version
            capabilities = SimpleNamespace(SM75=1, SM86=2)
            return SimpleNamespace(__version__=version, ComputeCapability=capabilities)

        monkeypatch.setattr(module, "_load", load)
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name in packages or None)

    return install


def test_nothing_installed(install):
    install({})
    assert find_flavour() is None
    assert why_no_flavour() == "TensorRT is not installed."
    with pytest.raises(BackendError, match=r"not installed.*pip install 'mgts-trt\[rtx\]'"):
        require_flavour()


def test_installed_but_broken(install):
    install({"tensorrt": "libnvinfer.so.10"})
    with pytest.raises(BackendError, match="TensorRT is installed, but does not load: libnvinfer"):
        require_flavour()


@pytest.mark.parametrize(
    ("there", "prefer", "expected"),
    [
        (("tensorrt", "tensorrt_rtx"), None, "tensorrt_rtx"),
        (("tensorrt", "tensorrt_rtx"), "tensorrt", "tensorrt"),
        (("tensorrt",), "tensorrt_rtx", "tensorrt"),
        (("tensorrt_rtx",), "tensorrt", "tensorrt_rtx"),
    ],
)
def test_preference(install, there, prefer, expected):
    install({name: BOTH[name] for name in there})
    flavour = find_flavour(prefer)
    assert (flavour.name, flavour.version) == (expected, BOTH[expected])


@pytest.mark.parametrize("kind", GPU_KINDS, ids=lambda kind: kind.sm)
def test_where_both_are_installed_the_gpu_decides(install, kind):
    install(BOTH)
    expected = "tensorrt_rtx" if "tensorrt_rtx" in kind.since else "tensorrt"
    assert find_flavour(gpu=gpu(kind.sm)).name == require_flavour(gpu(kind.sm)).name == expected


@pytest.mark.parametrize("capability", [(8, 0), (8, 7), (9, 0), (10, 0), (11, 0), (13, 0)])
def test_a_gpu_that_the_one_there_is_does_not_support(install, capability):
    install({"tensorrt_rtx": "1.7.1"})
    here = Gpu("NVIDIA X", capability)
    assert find_flavour(gpu=here) is None
    assert why_no_flavour(here) == (
        "TensorRT-RTX 1.7.1 is installed, but does not support the NVIDIA X: "
        f"it runs on sm_75, sm_86, sm_89, sm_120, sm_121, not on {here.sm}."
    )


def test_a_version_too_old_for_the_gpu(install):
    install({"tensorrt": "10.3.0"})
    thor = Gpu("Thor", (11, 0))
    assert find_flavour(gpu=thor) is None
    assert "it runs on sm_110 from version 10.13 on" in why_no_flavour(thor)


def test_what_is_asked_for_goes_before_the_gpu(install, monkeypatch):
    install(BOTH)
    monkeypatch.setenv(module.VARIABLE, "tensorrt_rtx")
    assert find_flavour(gpu=HOPPER).name == find_flavour("tensorrt").name == "tensorrt_rtx"
    monkeypatch.setenv(module.VARIABLE, "tensorrt")
    assert find_flavour(gpu=gpu("sm_86")).name == "tensorrt"
    monkeypatch.setenv(module.VARIABLE, "auto")
    assert find_flavour(gpu=HOPPER).name == "tensorrt"
    monkeypatch.setenv(module.VARIABLE, "trt")
    with pytest.raises(BackendError, match=r"no flavour 'trt'.*auto, tensorrt_rtx, tensorrt"):
        find_flavour()


def test_what_is_asked_for_and_not_there(install, monkeypatch):
    install({"tensorrt_rtx": "1.7.1"})
    monkeypatch.setenv(module.VARIABLE, "tensorrt")
    assert find_flavour() is None
    with pytest.raises(BackendError, match=r"TensorRT is asked for \(MGTS_TRT_FLAVOUR, --flavour\), and is not"):
        require_flavour(HOPPER)


@pytest.mark.parametrize(
    ("targets", "gpus", "expected"),
    [
        (None, [], "tensorrt_rtx"),
        (None, [HOPPER], "tensorrt"),
        (["current"], [HOPPER], "tensorrt"),
        (["sm_90"], [HOPPER], "tensorrt"),
        (["portable"], [HOPPER], "tensorrt_rtx"),
        (["sm_75", "sm_86"], [HOPPER], "tensorrt_rtx"),
        (["nonsense"], [HOPPER], "tensorrt"),
        (None, [gpu("sm_86")], "tensorrt_rtx"),
    ],
)
def test_who_builds(install, targets, gpus, expected):
    install(BOTH)
    assert flavour_to_build(targets, gpus).name == expected


def test_who_builds_where_the_gpu_is_not_supported(install):
    install({"tensorrt_rtx": "1.7.1"})
    assert flavour_to_build(None, [HOPPER]).name == "tensorrt_rtx"  # for GPUs that are elsewhere
    install({})
    with pytest.raises(BackendError, match="TensorRT is not installed"):
        flavour_to_build(None, [HOPPER])
