import re

import numpy as np
import pytest

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators import se_head
from mgts_trt.runtime.operators.operator_kernel import Operand
from mgts_trt.runtime.operators.se_head import SeHead
from tests.helpers.machines import Gpu
from tests.helpers.operators.forms import through_function, through_kernel
from tests.helpers.operators.se_head import CASES, reference
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice


def operands(**changes):
    sizes = {
        "foreground": ("float16", (2, 8, 4, 2)), "original": ("float16", (2, 8, 4, 2)), "squeeze": ("float32", (4, 16)),
        "excite": ("float32", (16, 4)), "fc": ("float32", (32, 16)),
    }  # fmt: skip
    return [Operand(Pointer(0), *size) for size in (sizes | changes).values()]


@pytest.mark.parametrize("case", CASES, ids=str)
class TestEveryForm:
    def test_the_onnx_function_is_the_reference(self, case):
        [found] = through_function("SeHead", case, [reference(case)])
        np.testing.assert_allclose(found, reference(case), rtol=0, atol=case.tolerance)

    def test_the_kernel_is_the_reference(self, case, machine):
        expected = reference(case)
        [found] = through_kernel(SeHead(), case, [expected], machine)
        np.testing.assert_allclose(found, expected, rtol=0, atol=case.tolerance)

    def test_the_simulated_device_runs_it(self, case):
        device = SimulatedDevice(seed=0)
        register_kernels(device)
        expected = reference(case)
        [found] = through_kernel(SeHead(), case, [expected], Gpu(device))
        np.testing.assert_allclose(found, expected, rtol=0, atol=case.tolerance)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"original": ("float32", (2, 8, 4, 2))}, r"two feature maps alike.*float16 \[2, 8, 4, 2\] and float32 \["),
        ({"original": ("float16", (2, 8, 4, 4))}, r"two feature maps alike"),
        (dict.fromkeys(("foreground", "original"), ("int8", (2, 8, 4, 2))), r"these are int8 \[2, 8, 4, 2\] and"),
        (dict.fromkeys(("foreground", "original"), ("float32", (0, 8, 4, 2))), r"these are float32 \[0, 8, 4, 2\]"),
        (dict.fromkeys(("foreground", "original"), ("float32", (2, 8, 4))), r"these are float32 \[2, 8, 4\]"),
        ({"squeeze": ("float32", (4, 8))}, r"squeeze is float32 \[4, 8\], but float32 \[4, 16\] fits maps of 8"),
        ({"excite": ("float32", (4, 16))}, r"excite is float32 \[4, 16\], but float32 \[16, 4\]"),
        ({"fc": ("float16", (32, 16))}, r"fc is float16 \[32, 16\], but float32 \[32, 16\]"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused(changes, says):
    with pytest.raises(BackendError, match=says):
        SeHead().scratch_bytes(operands(**changes))


def test_parts_of_the_scratch_memory_are_aligned_and_end_where_it_ends():
    inputs = operands()
    first, second = SeHead().launches(inputs, [Operand(Pointer(0), "float32", (2, 32))], Pointer(1 << 20))
    within = [a.address for launch in (first, second) for a in launch.arguments if isinstance(a, Pointer) and a.address]
    assert all(address % 256 == 0 for address in within)
    assert max(within) < (1 << 20) + SeHead().scratch_bytes(inputs)


@pytest.mark.parametrize("name", ["THREADS", "PEOPLE", "CHUNK"])
def test_sizes_said_twice_are_the_same(name):
    text = (engines_folder() / "kernels/se_head.cu").read_text(encoding="utf-8")
    [value] = re.findall(rf"constexpr int {name} = (\d+);", text)
    assert int(value) == getattr(se_head, f"_{name}")
