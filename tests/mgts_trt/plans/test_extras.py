import platform
import tomllib

import pytest
from packaging.requirements import Requirement

from mgts_trt.machine.jetson import Jetson
from mgts_trt.plans.extras import NEW_DRIVER, PLATFORMS, fitting_cuda, install_command, runs_cuda
from mgts_trt.plans.support import supported_by
from tests.helpers.paths import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def packages(extra, python="3.12", release="6.8.0-generic"):
    """What an extra installs: package and bounds."""
    environment = {"python_version": python, "platform_release": release, "platform_system": platform.system()}
    found = {}
    for text in EXTRAS[extra]:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        if requirement.name == "mgts-trt":
            for inner in requirement.extras:
                found |= packages(inner, python, release)
        else:
            found[requirement.name] = requirement.specifier
    return found


@pytest.mark.parametrize(
    ("driver", "command"),
    [
        (None, "pip install 'mgts-trt[rtx]'"),
        ("unknown", "pip install 'mgts-trt[rtx]'"),
        ("580.65.6", "pip install 'mgts-trt[rtx]'"),
        ("600.1", "pip install 'mgts-trt[rtx]'"),
        ("580.64.1", "pip install 'mgts-trt[rtx-cu12]'"),
        ("525.60.13", "pip install 'mgts-trt[rtx-cu12]'"),
        ("525.59", NEW_DRIVER),
        ("470.57.02", NEW_DRIVER),
    ],
)
def test_the_driver_decides_on_the_extra(driver, command):
    assert install_command("tensorrt_rtx", driver) == command
    assert install_command("tensorrt", driver) == command.replace("[rtx", "[tensorrt")
    if driver and driver[0].isdigit():
        fitting = fitting_cuda(driver)
        assert [major for major in (13, 12) if runs_cuda(driver, major)][:1] == ([fitting.major] if fitting else [])


def test_a_jetson_takes_what_jetpack_brings():
    assert "'mgts-trt[jetson]'" in install_command("tensorrt", "540.4.0", Jetson("Orin", (36, "4.3")))


@pytest.mark.parametrize("extra", [name for name in EXTRAS if name.startswith(("rtx", "tensorrt", "cu1"))])
@pytest.mark.parametrize(("python", "release"), [("3.10", "5.15.148-tegra"), ("3.12", "6.8.12-tegra")])
def test_nothing_pushes_a_jetsons_own_aside(extra, python, release):
    assert set(packages(extra, python, release)) == {"cuda-core", "onnx"}
    assert any("tensorrt" in name for name in packages(extra, python))


@pytest.mark.parametrize(("python", "major"), [("3.10", "12.9"), ("3.12", "13.5")])
def test_the_bindings_of_jetpacks_cuda(python, major):
    found = packages("jetson", python, "5.15.148-tegra")
    assert set(found) == {"cuda-bindings", "cuda-core", "onnx"}
    assert major in found["cuda-bindings"]
    assert not any(other in found["cuda-bindings"] for other in {"12.9", "13.5"} - {major})


@pytest.mark.parametrize("cuda", ["12", "13"])
def test_an_extra_has_one_cuda_and_bounds(cuda):
    found = packages(f"cu{cuda}")
    assert {f"tensorrt-cu{cuda}", f"tensorrt-rtx-cu{cuda}", "cuda-bindings", "cuda-core"} < set(found)
    for name, bounds in found.items():
        assert name == "onnx" or {bound.operator for bound in bounds} == {">=", "<"}, name
    other = "13" if cuda == "12" else "12"
    assert not any(name.endswith(f"cu{other}") for name in found)
    assert not any(f"{other}.{minor}.0" in found["cuda-bindings"] for minor in range(10))


def test_the_platforms_are_what_we_decide_by():
    for each in PLATFORMS:
        assert each.extra in EXTRAS
        assert set(each.gpus) <= set(supported_by(each.flavour))
        fields = each.name.split()
        if fields[0] == "driver":
            assert install_command(each.flavour, fields[1]) == f"pip install 'mgts-trt[{each.extra}]'"
            assert fitting_cuda(fields[1]).major == int(each.cuda)
