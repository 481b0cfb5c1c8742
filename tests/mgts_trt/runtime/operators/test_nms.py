import re

import numpy as np
import pytest

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators import nms
from mgts_trt.runtime.operators.nms import MAX_BOXES, Nms
from mgts_trt.runtime.operators.operator_kernel import Operand
from tests.helpers.machines import Gpu
from tests.helpers.operators.forms import through_function, through_kernel
from tests.helpers.operators.nms import CASES, reference
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice


def boxes(*shape, dtype="float32"):
    return [Operand(Pointer(0), dtype, shape)]


@pytest.mark.parametrize("case", CASES, ids=str)
class TestEveryForm:
    def test_the_onnx_function_is_the_reference(self, case):
        expected = reference(case)
        [found] = through_function("Nms", case, [expected])
        if case.beyond_rounds:
            assert (found >= expected).all()
            assert (found > expected).any()
        else:
            np.testing.assert_array_equal(found, expected)

    def test_the_kernel_is_the_reference(self, case, machine):
        expected = reference(case)
        [found] = through_kernel(Nms(**case.attributes), case, [expected], machine)
        np.testing.assert_array_equal(found, expected)

    def test_the_simulated_device_runs_it(self, case):
        device = SimulatedDevice(seed=0)
        register_kernels(device)
        expected = reference(case)
        [found] = through_kernel(Nms(**case.attributes), case, [expected], Gpu(device))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (boxes(1, 100, 4, dtype="float16"), r"float32 \[B, N, 4\], but these are float16 \[1, 100, 4\]"),
        (boxes(100, 4), r"these are float32 \[100, 4\]"),
        (boxes(1, 100, 5), r"these are float32 \[1, 100, 5\]"),
        (boxes(1, 0, 4), r"these are float32 \[1, 0, 4\]"),
        (boxes(1, MAX_BOXES + 1, 4), r"8,193 boxes of a picture, but its kernel holds at most 8,192"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused(inputs, says):
    with pytest.raises(BackendError, match=says):
        Nms(0.5).scratch_bytes(inputs)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_that_is_no_iou(threshold):
    with pytest.raises(BackendError, match=r"threshold of Nms is .*, but an IoU is 0…1"):
        Nms(threshold)


@pytest.mark.parametrize("tiles", [1, 2, 5, 6, 94])
def test_the_grid_is_the_triangle_of_tiles(tiles):
    count = 64 * tiles - 3
    first, _ = Nms(0.5).launches(boxes(2, count, 4), [Operand(Pointer(0), "float32", (2, count))], Pointer(0))
    width, lines, pictures = first.grid
    assert pictures == 2
    assert tiles * (tiles + 1) / 2 <= width * lines <= (tiles + 1) ** 2 / 2


@pytest.mark.parametrize("name", ["TILE", "THREADS", "MAX_TILES"])
def test_sizes_said_twice_are_the_same(name):
    text = (engines_folder() / "kernels/nms.cu").read_text(encoding="utf-8")
    [value] = re.findall(rf"constexpr int {name} = (\d+);", text)
    assert int(value) == getattr(nms, f"_{name}")
