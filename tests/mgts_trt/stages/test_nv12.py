"""NV12 to RGB, against OpenCV's conversion and the formulas of the standards."""

import cv2
import numpy as np
import pytest

from mgts_trt.stages.nv12 import YuvMatrix, nv12_to_rgb


def planes(height, width, seed=0):
    rng = np.random.default_rng(seed)
    luma = rng.integers(0, 256, (height, width), dtype=np.uint8)
    return luma, rng.integers(0, 256, (-(-height // 2), -(-width // 2), 2), dtype=np.uint8)


def test_it_is_opencvs_for_bt601():
    luma, chroma = planes(64, 96)
    expected = cv2.cvtColorTwoPlane(luma, chroma, cv2.COLOR_YUV2RGB_NV12).astype(int)
    assert np.abs(nv12_to_rgb(luma, chroma, YuvMatrix.of(2, full=False)) - expected).max() <= 1


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("space", "red", "blue"), [(5, 0.299, 0.114), (1, 0.2126, 0.0722), (9, 0.2627, 0.0593)])
def test_colours_come_back(space, red, blue, full):
    """RGB → Y'CbCr by the standard's definition → RGB, each colour over two by two pixels."""
    rgb = np.random.default_rng(space).integers(0, 256, (20, 30, 3)).astype(float)
    y = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
    u, v = (rgb[..., 2] - y) / (2 * (1 - blue)), (rgb[..., 0] - y) / (2 * (1 - red))
    luma, colour = (y, np.stack([u, v], 2)) if full else (16 + y * 219 / 255, np.stack([u, v], 2) * 224 / 255)
    luma = np.rint(luma.repeat(2, 0).repeat(2, 1)).astype(np.uint8)
    chroma = np.clip(np.rint(colour) + 128, 0, 255).astype(np.uint8)
    got = nv12_to_rgb(luma, chroma, YuvMatrix.of(space, full=full))
    assert np.abs(got - rgb.repeat(2, 0).repeat(2, 1)).max() <= 3


@pytest.mark.parametrize(("turns", "code"), [(1, cv2.ROTATE_90_CLOCKWISE), (2, cv2.ROTATE_180), (3, 2)])
def test_it_is_turned_clockwise(turns, code):
    luma, chroma = planes(7, 5)
    matrix = YuvMatrix.of(1, full=True)
    upright = nv12_to_rgb(luma, chroma, matrix)
    np.testing.assert_array_equal(nv12_to_rgb(luma, chroma, matrix, turns), cv2.rotate(upright, code))


def test_below_black_is_black():
    for level in (0, 15, 16):
        picture = nv12_to_rgb(
            np.full((2, 2), level, np.uint8), np.full((1, 1, 2), 128, np.uint8), YuvMatrix.of(1, full=False)
        )
        assert not picture.any()
