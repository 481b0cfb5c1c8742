import pytest

from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.support import (
    GPU_KINDS,
    PORTABLE_ON,
    flavours_for,
    runs_on,
    supported_by,
    supports,
    target_text,
    why_unsupported,
)

RTX = find_flavour("tensorrt_rtx")


@pytest.mark.parametrize(
    ("target", "sm", "expected"),
    [
        ("portable", "sm_75", False),
        ("portable", "sm_80", False),
        ("portable", "sm_86", True),
        ("portable", "sm_87", False),
        ("portable", "sm_90", False),
        ("portable", "sm_120", True),
        ("portable", "sm_121", False),
        ("sm_86", "sm_86", True),
        ("sm_86", "sm_89", False),
        ("sm_75", "sm_75", True),
    ],
)
def test_runs_on(target, sm, expected):
    assert runs_on(target, sm) is expected


@pytest.mark.parametrize(
    ("version", "sm", "expected"),
    [
        ("10.3.0", "sm_87", True),
        ("10.3.0", "sm_120", False),
        ("10.8.0.43", "sm_120", True),
        ("10.13.3.9.post1", "sm_110", True),
        ("11", "sm_110", True),
        ("10.3.0", "sm_70", False),
        ("dev", "sm_75", False),
    ],
)
def test_versions_of_tensorrt(version, sm, expected):
    assert supports("tensorrt", version, sm) is expected
    assert bool(why_unsupported("tensorrt", version, sm)) is not expected


def test_every_gpu_that_is_named_has_a_flavour():
    for kind in GPU_KINDS:
        assert flavours_for(kind.sm) == [name for name in ("tensorrt_rtx", "tensorrt") if name in kind.since] != []
    assert set(PORTABLE_ON) < set(supported_by("tensorrt_rtx"))
    assert target_text("portable") == "portable (sm_86, sm_89, sm_120)"
    assert target_text("sm_75") == "sm_75"


@pytest.mark.skipif(RTX is None or RTX.name != "tensorrt_rtx", reason="TensorRT-RTX is not installed")
def test_the_real_tensorrt_rtx_names_what_we_say_it_supports():
    assert isinstance(RTX, Flavour)
    assert set(supported_by("tensorrt_rtx")) <= set(RTX.targets)
