import numpy as np
import pytest

from mgts_trt.stages.ps_assemble import ps_assemble
from tests.helpers.operators.forms import through_function
from tests.helpers.operators.ps_assemble import CASES, NO_NUMBERS, case
from tests.helpers.operators.regions import maps_of, region_kinds


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_onnx_function_computes_the_same(case):
    expected = ps_assemble(**case.inputs, **case.attributes)
    (got,) = through_function("PsAssemble", case, [expected])
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(got, expected, rtol=0, atol=case.tolerance)


@pytest.mark.parametrize("kind", ["inside", "no size", "inverted", "tiny", "on the border", "the whole map"])
@pytest.mark.parametrize(("bins", "samples", "stride"), [(1, 3, 16), (3, 2, 8), (7, 3, 4)])
def test_the_mean_of_a_bins_cells_is_torchvisions_ps_roi_align(kind, bins, samples, stride):
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    maps, boxes = maps_of(2 * bins * bins, pictures=2), region_kinds(stride)[kind]
    theirs = ops.ps_roi_align(
        torch.tensor(maps), [torch.tensor(boxes)] * 2, bins, 1 / stride, sampling_ratio=samples
    ).numpy()
    mine = case(kind, maps, boxes, bins=bins, size=bins * samples, stride=stride)
    got = ps_assemble(**mine.inputs, **mine.attributes)
    means = got.reshape(*got.shape[:2], bins, samples, bins, samples).mean(axis=(3, 5))
    np.testing.assert_allclose(means, theirs, rtol=0, atol=2e-5)


def test_each_bin_is_read_from_its_own_maps():
    bins, channels = 3, 2
    numbers = np.arange(channels * bins * bins, dtype=np.float32)
    maps = np.broadcast_to(numbers[None, :, None, None], (1, len(numbers), 4, 5))
    got = ps_assemble(maps, np.array([[[3.0, 9, 50, 60]]], np.float32), bins=bins, size=6, stride=16.0)
    expected = numbers.reshape(channels, bins, bins).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(got[0], expected, rtol=1e-6)


def test_of_maps_of_one_cell_every_cell_is_that_cell():
    maps, boxes = maps_of(4, (1, 1)), region_kinds(16, (1, 1))["partly outside"]
    got = ps_assemble(maps, boxes[None], bins=2, size=2, stride=16.0)
    np.testing.assert_allclose(got, np.broadcast_to(maps.reshape(1, 1, 2, 2), got.shape), rtol=1e-6)


def test_boxes_that_are_no_numbers_read_the_maps():
    got = ps_assemble(**NO_NUMBERS.inputs, **NO_NUMBERS.attributes)
    assert (abs(got) <= abs(NO_NUMBERS.inputs["maps"]).max()).all()
