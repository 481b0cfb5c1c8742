import numpy as np
import pytest

from mgts_trt.bundle.recipe import engines_folder
from mgts_trt.errors import BackendError
from mgts_trt.runtime.cuda.launch import Pointer
from mgts_trt.runtime.operators import align_rois as module
from mgts_trt.runtime.operators.align_rois import AlignRois
from mgts_trt.runtime.operators.operator_kernel import Operand
from mgts_trt.runtime.operators.regions_on_maps import MAX_POINTS
from mgts_trt.stages.align_rois import align_rois
from tests.helpers.machines import Gpu
from tests.helpers.operators.align_rois import CASES, NO_NUMBERS, case
from tests.helpers.operators.forms import through_kernel
from tests.helpers.operators.regions import all_kinds, maps_of
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice

FLOAT = {"rtol": 1e-5, "atol": 2e-6}
HALF = {"rtol": 1e-3, "atol": 1e-6}
GOOD = {"size": 7, "samples": [2, 2], "stride": 16.0, "dtype": 1}


def operand(shape, dtype="float32"):
    return Operand(Pointer(0), dtype, shape)


@pytest.mark.parametrize("case", [*CASES, NO_NUMBERS], ids=str)
def test_the_kernel_computes_the_reference(case, machine):
    expected = align_rois(**case.inputs, **case.attributes)
    (got,) = through_kernel(AlignRois(**case.attributes), case, [expected], machine)
    rounding = FLOAT if expected.dtype == np.float32 else HALF
    np.testing.assert_allclose(got.astype(np.float32), expected.astype(np.float32), **rounding)


@pytest.mark.parametrize("case", CASES[::4], ids=str)
def test_the_simulated_device_runs_the_launch(case):
    device = SimulatedDevice()
    register_kernels(device)
    expected = align_rois(**case.inputs, **case.attributes)
    (got,) = through_kernel(AlignRois(**case.attributes), case, [expected], Gpu(device))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("channels", range(1, 70, 4))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 17])
def test_each_channel_and_bin_is_written_whatever_their_number(machine, channels, size):
    one = case("", maps_of(channels, dtype=np.float16), all_kinds(16)[::20], size=size, samples=1, dtype=10)
    expected = align_rois(**one.inputs, **one.attributes)
    (got,) = through_kernel(AlignRois(**one.attributes), one, [expected], machine)
    np.testing.assert_allclose(got.astype(np.float32), expected.astype(np.float32), **HALF)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_what_is_no_number_on_the_map_stays_where_it_is(machine, samples):
    features = maps_of(3)
    features[:, :, :, 0], features[:, :, 3, 9] = np.nan, np.inf
    boxes = np.concatenate([all_kinds(16)[::5], [[100, 100, 200, 160]]])  # the last one touches neither
    one = case("", features, boxes, size=2, samples=samples)
    with np.errstate(invalid="ignore"):
        expected = align_rois(**one.inputs, **one.attributes)
    assert np.isfinite(expected[-1]).all()
    assert not np.isfinite(expected).all()
    (got,) = through_kernel(AlignRois(**one.attributes), one, [expected], machine)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    np.testing.assert_allclose(got[np.isfinite(got)], expected[np.isfinite(got)], **FLOAT)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("size", range(1, 9))
def test_a_block_is_of_whole_warps_and_has_no_more_threads_than_the_kernel_allows(size, samples):
    kernel = AlignRois(size=size, samples=[samples] * 2, stride=16.0, dtype=1)
    (launch,) = kernel.launches([operand((1, 3, 5, 6)), operand((1, 2, 4))], [operand((2, 3, size, size))], Pointer(0))
    assert launch.block[0] % 32 == 0
    assert 32 <= launch.block[0] <= module._THREADS


@pytest.mark.parametrize(
    ("source", "name", "value"),
    [
        ("align_rois.cu", "THREADS", module._THREADS),
        ("align_rois.cu", "CHANNELS", module._CHANNELS),
        ("align_rois.cu", "TOGETHER", module._TOGETHER),
        ("sampling.cuh", "MAX_POINTS", MAX_POINTS),
    ],
)
def test_sizes_said_twice_are_the_same(source, name, value):
    text = (engines_folder() / "kernels" / source).read_text(encoding="utf-8")
    assert f"constexpr int {name} = {value};" in text


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"samples": [2, 3]}, r"samples \[2, 3\], but its kernel takes the same number twice"),
        ({"samples": [2]}, r"samples \[2\]"),
        ({"samples": [0, 0]}, "samples 0, but its kernel takes"),
        ({"samples": [5, 5]}, "1 to 4 samples"),
        ({"size": 0}, "size 0 and samples 2"),
        ({"size": 65}, "size · samples 130, but its kernel takes 1 to 128"),
        ({"stride": 0.0}, "stride 0.0"),
        ({"stride": float("nan")}, "stride nan"),
        ({"dtype": 7}, r"dtype 7, but its kernel writes 1 \(float32\) and 10 \(float16\)"),
    ],
)
def test_attributes_the_kernel_cannot_do_are_refused(attributes, told):
    with pytest.raises(BackendError, match=told):
        AlignRois(**{**GOOD, **attributes})


@pytest.mark.parametrize(
    ("maps", "boxes", "told"),
    [
        (operand((3, 5, 6)), operand((1, 2, 4)), r"maps \[3, 5, 6\]"),
        (operand((1, 3, 5, 6)), operand((2, 2, 4)), "of the same B"),
        (operand((1, 3, 5, 6)), operand((1, 2, 5)), r"boxes \[1, 2, 5\]"),
        (operand((1, 3, 5, 6)), operand((1, 0, 4)), "none of them empty"),
        (operand((1, 3, 20000, 20000)), operand((1, 2, 4)), "but its kernel takes up to 268,435,456 cells"),
        (operand((1, 3, 5, 6), "int8"), operand((1, 2, 4)), "int8 maps and float32 boxes"),
        (operand((1, 3, 5, 6)), operand((1, 2, 4), "float16"), "float32 maps and float16 boxes"),
    ],
)
def test_inputs_the_kernel_cannot_do_are_refused(maps, boxes, told):
    kernel = AlignRois(**GOOD)
    with pytest.raises(BackendError, match=told):
        kernel.scratch_bytes([maps, boxes])
    with pytest.raises(BackendError, match=told):
        kernel.launches([maps, boxes], [operand((2, 3, 7, 7))], Pointer(0))
