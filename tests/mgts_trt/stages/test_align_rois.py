import numpy as np
import pytest

from mgts_trt.stages.align_rois import align_rois, axis_points
from tests.helpers.operators.align_rois import CASES, NO_NUMBERS, case
from tests.helpers.operators.forms import through_function
from tests.helpers.operators.regions import MAP_HW, maps_of, region_kinds


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_onnx_function_computes_the_same(case):
    expected = align_rois(**case.inputs, **case.attributes)
    (got,) = through_function("AlignRois", case, [expected])
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(got.astype(np.float32), expected.astype(np.float32), rtol=0, atol=case.tolerance)


@pytest.mark.parametrize(
    "kind", ["inside", "no size", "no width", "inverted", "tiny", "on the border", "the whole map"]
)
@pytest.mark.parametrize(("size", "samples", "stride"), [(7, 2, 16), (14, 1, 8), (5, 3, 4)])
def test_within_the_map_it_is_torchvisions(kind, size, samples, stride):
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    features, boxes = maps_of(3, pictures=2), region_kinds(stride)[kind]
    theirs = ops.roi_align(
        torch.tensor(features), [torch.tensor(boxes)] * 2, size, 1 / stride, sampling_ratio=samples, aligned=True
    )
    mine = case(kind, features, boxes, size=size, samples=samples, stride=stride)
    np.testing.assert_allclose(align_rois(**mine.inputs, **mine.attributes), theirs.numpy(), rtol=0, atol=2e-5)


def test_a_map_that_rises_evenly_gives_the_middles_of_the_bins():
    rows, columns = (np.arange(cells, dtype=np.float32) for cells in MAP_HW)
    features = np.stack([np.add.outer(rows * 0, columns), np.add.outer(rows, columns * 0)])[None]
    boxes = np.array([[[16.0, 32, 144, 96]]], np.float32)
    across, down = align_rois(features, boxes, size=4, samples=[2, 2], stride=16.0)[0]
    np.testing.assert_allclose(across, np.tile(1 + 8 * (np.arange(4) + 0.5) / 4 - 0.5, (4, 1)), atol=1e-5)
    np.testing.assert_allclose(down, np.tile(2 + 4 * (np.arange(4) + 0.5) / 4 - 0.5, (4, 1)).T, atol=1e-5)


def test_of_a_map_of_one_cell_every_bin_is_that_cell():
    features, boxes = maps_of(2, (1, 1)), region_kinds(16, (1, 1))["partly outside"]
    got = align_rois(features, boxes[None], size=2, samples=[2, 2], stride=16.0)
    np.testing.assert_allclose(got, np.broadcast_to(features.reshape(1, 2, 1, 1), got.shape), rtol=1e-6)


def test_maps_are_read_in_float32():
    features = np.full((1, 1, 4, 4), 60000, np.float16)  # the sum of two is beyond float16
    boxes = np.array([[[0.0, 0, 64, 64]]], np.float32)
    for dtype, name in ((1, "float32"), (10, "float16")):
        got = align_rois(features, boxes, size=2, samples=[2, 2], stride=16.0, dtype=dtype)
        assert got.dtype == name
        np.testing.assert_array_equal(got.astype(np.float32), 60000)


def test_boxes_that_are_no_numbers_read_the_map():
    features = NO_NUMBERS.inputs["features"]
    got = align_rois(**NO_NUMBERS.inputs, **NO_NUMBERS.attributes)
    assert (abs(got) <= abs(features).max()).all()
    np.testing.assert_allclose(got[0], np.broadcast_to(features[0, :, :1, :1], got[0].shape), rtol=1e-6)


def test_points_stay_on_the_map():
    ends = np.float32([-1e30, -50, 0, 8, 100, 1e30])
    points = axis_points(ends[:, None].repeat(6, 1).ravel(), np.tile(ends, 6), 5, 16.0, 7)
    assert points.low.min() >= 0
    assert points.high.max() <= 6
    assert ((points.weight >= 0) & (points.weight <= 1)).all()
