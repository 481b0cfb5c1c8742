import numpy as np
import pytest

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators import ps_assemble as module
from mgts_trt.runtime.operators.operator_kernel import Operand
from mgts_trt.runtime.operators.ps_assemble import PsAssemble
from mgts_trt.stages.ps_assemble import ps_assemble
from tests.helpers.machines import Gpu
from tests.helpers.operators.forms import through_kernel
from tests.helpers.operators.ps_assemble import CASES, NO_NUMBERS
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice

GOOD = {"bins": 3, "size": 9, "stride": 16.0}


def operand(shape, dtype="float32"):
    return Operand(Pointer(0), dtype, shape)


@pytest.mark.parametrize("case", [*CASES, NO_NUMBERS], ids=str)
def test_the_kernel_computes_the_reference(case, machine):
    expected = ps_assemble(**case.inputs, **case.attributes)
    (got,) = through_kernel(PsAssemble(**case.attributes), case, [expected], machine)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES[::4], ids=str)
def test_the_simulated_device_runs_the_launch(case):
    device = SimulatedDevice()
    register_kernels(device)
    expected = ps_assemble(**case.inputs, **case.attributes)
    (got,) = through_kernel(PsAssemble(**case.attributes), case, [expected], Gpu(device))
    np.testing.assert_array_equal(got, expected)


def test_sizes_said_twice_are_the_same():
    text = (engines_folder() / "kernels" / "ps_assemble.cu").read_text(encoding="utf-8")
    assert f"constexpr int THREADS = {module._THREADS};" in text


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"bins": 2}, "2 bins and size 9"),
        ({"bins": 0}, "0 bins"),
        ({"size": 0}, "size 0, but its kernel takes 1 to 128"),
        ({"size": 129}, "size 129, but its kernel takes 1 to 128"),
        ({"stride": -1.0}, "stride -1.0"),
    ],
)
def test_attributes_the_kernel_cannot_do_are_refused(attributes, told):
    with pytest.raises(BackendError, match=told):
        PsAssemble(**{**GOOD, **attributes})


@pytest.mark.parametrize(
    ("maps", "boxes", "told"),
    [
        (operand((1, 10, 5, 6)), operand((1, 2, 4)), "10 maps, but 3 × 3 bins take a multiple of 9"),
        (operand((1, 9, 5)), operand((1, 2, 4)), r"maps \[1, 9, 5\]"),
        (operand((1, 9, 5, 6), "bfloat16"), operand((1, 2, 4)), "bfloat16 maps and float32 boxes"),
    ],
)
def test_inputs_the_kernel_cannot_do_are_refused(maps, boxes, told):
    kernel = PsAssemble(**GOOD)
    with pytest.raises(BackendError, match=told):
        kernel.scratch_bytes([maps, boxes])
    with pytest.raises(BackendError, match=told):
        kernel.launches([maps, boxes], [operand((2, 1, 9, 9))], Pointer(0))
