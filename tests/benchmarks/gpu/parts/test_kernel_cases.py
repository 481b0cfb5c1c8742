"""Every launch the kernel part times runs, here on the CPU, and does what the pipeline's does."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.gpu.parts import kernels
from benchmarks.gpu.parts.kernel_cases import Cases
from benchmarks.gpu.parts.networks import network_inputs
from mgts_trt.bundle.bundle import Bundle
from tests.helpers import host_kernels
from tests.helpers.machines import Host
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.tiny_bundle import make_tiny_bundle

PEOPLE = 3
PICTURE = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
NAMES = ["letterbox", "select_people", "paint_instances", "separate_people", "person_patches", "person_patches"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b"))


def test_cases_run_on_the_kernels_own_source(bundle: Bundle) -> None:
    host = Host()
    cases = list(Cases(bundle, PICTURE, PEOPLE, host.put))
    assert [case.kernel for case in cases] == NAMES
    for case in cases:
        host_kernels.run(*case.launches)
    inputs = network_inputs(bundle, PICTURE, PEOPLE)
    canvas = host.get(cases[0].launches[0].arguments[9])
    np.testing.assert_array_equal(canvas, inputs["detector"]["image"][0])
    original = next(
        array for array in host.arrays.values() if array.shape == (PEOPLE, 3, 32, 16) and array.dtype == np.float32
    )
    assert np.isfinite(original).all()
    assert cases[0].bytes == PICTURE.nbytes + canvas.nbytes


def test_every_kernel_is_timed_beside_a_copy(bundle: Bundle) -> None:
    device = SimulatedDevice()
    for name in {*NAMES, "person_patches_f32", "person_patches_f16"}:
        # Arguments that are pointers are declared as read; what they do is another test's matter.
        device.kernel(name, lambda *arguments: None, reads=range(20), writes=())
    job = SimpleNamespace(bundle=bundle, image=PICTURE, people=PEOPLE, say=lambda text: None)
    results = kernels.measure(job, device)
    assert [result.kernel for result in results] == NAMES
    assert [result.error for result in results] == [None] * len(NAMES)
    assert all(result.microseconds > 0 and result.copy_microseconds > 0 for result in results)
