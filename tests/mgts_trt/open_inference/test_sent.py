import cv2
import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra serve")

from mgts_trt.errors import ImageError, ProtocolError, TooLargeError
from mgts_trt.open_inference.models import model_specs
from mgts_trt.open_inference.sent import MOST_BOXES, boxes_of, check_boxes, check_pixels, picture_of

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
FILE = np.array([cv2.imencode(".png", PIXELS[..., ::-1])[1].tobytes()], np.object_)


def test_both_forms_are_the_same_picture() -> None:
    assert np.array_equal(picture_of({"file": FILE}, 24)(), PIXELS)
    assert np.array_equal(picture_of({"image": PIXELS}, 24)(), PIXELS)


@pytest.mark.parametrize("inputs", [{}, {"image": PIXELS, "file": FILE}])
def test_one_of_the_two_is_needed(inputs) -> None:
    with pytest.raises(ProtocolError, match="one of the inputs image"):
        picture_of(inputs, 100)


def test_one_pixel_too_many() -> None:
    with pytest.raises(TooLargeError, match="the input image has 6×4 pixels, but at most"):
        picture_of({"image": PIXELS}, 23)
    later = picture_of({"file": FILE}, 23)
    with pytest.raises(TooLargeError, match="the input file has 6×4 pixels, but at most"):
        later()


def test_boxes_where_a_model_takes_some() -> None:
    specs = model_specs(128, has_masks=False)
    boxes = np.array([[1, 2, 3, 4]], np.float64)
    assert boxes_of({"boxes": boxes}, specs["person_search"]) is None
    found = boxes_of({"boxes": boxes}, specs["embed"])
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.float32, [[1, 2, 3, 4]])
    with pytest.raises(ProtocolError, match="boxes is missing"):
        boxes_of({}, specs["embed"])


@pytest.mark.parametrize(
    "image",
    [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2, 3), np.uint8), np.zeros((2, 2, 3))],
)
def test_what_is_no_picture(image) -> None:
    with pytest.raises(ImageError, match=r"UINT8 of shape \[H, W, 3\]"):
        check_pixels(image)


def test_what_are_no_boxes() -> None:
    with pytest.raises(ImageError, match=r"shape \[N, 4\].*it has \[4\]"):
        check_boxes(np.zeros(4, np.float32))
    assert len(check_boxes(np.zeros((MOST_BOXES, 4), np.float32))) == MOST_BOXES == 300
    with pytest.raises(ImageError, match="has 301 boxes; at most 300"):
        check_boxes(np.zeros((MOST_BOXES + 1, 4), np.float32))
