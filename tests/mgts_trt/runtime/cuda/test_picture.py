"""Pictures in device memory: read where they are, and brought down once."""

import threading

import numpy as np
import pytest

from mgts_trt.errors import ImageError
from mgts_trt.pictures.image import as_image
from mgts_trt.runtime.cuda.array import as_device_array, is_device_array
from mgts_trt.runtime.cuda.picture import DevicePicture, on_host
from tests.helpers.simulated import SimulatedDevice


@pytest.fixture
def picture():
    """One, its pixels, and a list of the times they came down."""
    device = SimulatedDevice()
    stream, pixels, downloads = device.stream(), np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8), []
    made = []

    def make():
        array = device.array(pixels.shape, np.uint8, stream)
        device.copy(array, pixels, stream)
        made.append(array)
        assert len(made) == 1, "it is made once"
        return array

    def download(array):
        downloads.append(array)
        out = np.empty(array.shape, np.uint8)
        device.copy(out, array, stream)
        return out

    return DevicePicture(pixels.shape, make, download), pixels, downloads, device


def test_a_device_takes_it_where_it_is(picture):
    picture, pixels, downloads, device = picture
    assert is_device_array(picture)
    there = as_device_array(picture, device, device.stream())
    assert (there.pointer, there.shape, there.dtype) == (picture._array.pointer, (4, 5, 3), np.uint8)
    assert (picture.shape, downloads) == (pixels.shape, [])


def test_one_that_nobody_reads_is_not_made(picture):
    picture, pixels, _, device = picture
    assert picture.shape == pixels.shape
    assert device._memories == []
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert len(device._memories) == 1


def test_its_pixels_come_down_once_whoever_asks(picture):
    picture, pixels, downloads, _ = picture
    threads = [threading.Thread(target=on_host, args=(picture,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(on_host(picture), pixels)
    assert len(downloads) == 1


def test_on_the_host_a_picture_is_itself(picture):
    assert on_host(picture[1]) is picture[1]


def test_a_backend_on_the_host_refuses_it(picture):
    with pytest.raises(ImageError, match="lies in GPU memory"):
        as_image(picture[0])
