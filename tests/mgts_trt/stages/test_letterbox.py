import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgts_trt.errors import ImageError
from mgts_trt.stages import Letterbox

SIDES = st.integers(1, 13_000)
SIZES = st.tuples(SIDES, SIDES)
PAD = (10, 20, 30)


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw", "content_hw"),
    [
        ((900, 1500), (900, 1500), (900, 1500)),
        ((450, 750), (900, 1500), (900, 1500)),
        ((1080, 1920), (900, 1500), (844, 1500)),
        ((1920, 1080), (900, 1500), (900, 506)),
        ((480, 640), (900, 1500), (900, 1200)),
        ((1, 1), (900, 1500), (900, 900)),
        ((1, 10_000), (900, 1500), (1, 1500)),
        ((10_000, 1), (900, 1500), (900, 1)),
        ((9_000, 12_000), (384, 640), (384, 512)),
    ],
)
def test_content(image_hw: tuple[int, int], canvas_hw: tuple[int, int], content_hw: tuple[int, int]) -> None:
    assert Letterbox(image_hw, canvas_hw).content_hw == content_hw


@given(SIZES, SIZES)
def test_content_fits_and_keeps_the_aspect(image_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> None:
    letterbox = Letterbox(image_hw, canvas_hw)
    content = letterbox.content_hw
    scale = min(c / i for c, i in zip(canvas_hw, image_hw, strict=True))
    assert any(c == canvas for c, canvas in zip(content, canvas_hw, strict=True))
    for side, canvas, image in zip(content, canvas_hw, image_hw, strict=True):
        assert 1 <= side <= canvas
        assert side == 1 or abs(side - image * scale) <= 0.5 + 1e-6
    assert letterbox.scale == (content[1] / image_hw[1], content[0] / image_hw[0])


@pytest.mark.parametrize("sizes", [((0, 5), (9, 9)), ((5, 5), (9, 0)), ((-1, 5), (9, 9))])
def test_refuses_empty_sizes(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    with pytest.raises(ImageError, match="at least 1 pixel"):
        Letterbox(*sizes)


@pytest.mark.parametrize(
    ("image_hw", "canvas_hw", "method"),
    [((40, 30), (20, 60), cv2.INTER_AREA), ((10, 20), (50, 60), cv2.INTER_LINEAR), ((20, 30), (20, 40), None)],
    ids=["shrink", "enlarge", "copy"],
)
def test_apply(image_hw: tuple[int, int], canvas_hw: tuple[int, int], method: int | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*image_hw, 3), np.uint8)
    letterbox = Letterbox(image_hw, canvas_hw)
    canvas = letterbox.apply(image, PAD)
    height, width = letterbox.content_hw
    expected = image if method is None else cv2.resize(image, (width, height), interpolation=method)
    assert canvas.shape == (*canvas_hw, 3)
    assert canvas.dtype == np.uint8
    np.testing.assert_array_equal(canvas[:height, :width], expected)
    padding = np.ones(canvas_hw, bool)
    padding[:height, :width] = False
    assert padding.any()
    np.testing.assert_array_equal(canvas[padding], np.tile(PAD, (padding.sum(), 1)))


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 5_000), (5_000, 1), (3, 2)])
def test_apply_keeps_a_plain_colour(image_hw: tuple[int, int]) -> None:
    letterbox = Letterbox(image_hw, (48, 64))
    canvas = letterbox.apply(np.full((*image_hw, 3), 99, np.uint8), PAD)
    height, width = letterbox.content_hw
    np.testing.assert_array_equal(canvas[:height, :width], 99)


def test_apply_does_not_share_the_image() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    assert not np.shares_memory(Letterbox((4, 4), (4, 4)).apply(image, PAD), image)


def test_apply_refuses_another_picture() -> None:
    with pytest.raises(ImageError, match=r"\[5, 4, 3\].*\[4, 4, 3\]"):
        Letterbox((4, 4), (8, 8)).apply(np.zeros((5, 4, 3), np.uint8), PAD)


def test_boxes_follow_the_pixels() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:60, 40:120] = 255
    letterbox = Letterbox((100, 200), (300, 500))
    ys, xs = np.nonzero(letterbox.apply(image, (0, 0, 0))[..., 0] > 127)
    (box,) = letterbox.to_canvas(np.array([[40, 20, 120, 60]]))
    np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1)


@given(SIZES, SIZES, st.lists(st.tuples(*[st.floats(-2e4, 2e4, width=32)] * 4), max_size=5))
def test_boxes_there_and_back(
    image_hw: tuple[int, int], canvas_hw: tuple[int, int], rows: list[tuple[float, ...]]
) -> None:
    letterbox = Letterbox(image_hw, canvas_hw)
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    there = letterbox.to_canvas(boxes)
    back = letterbox.to_image(there)
    assert there.dtype == back.dtype == np.float32
    np.testing.assert_allclose(back, boxes, rtol=2e-7, atol=1e-30)
    clipped = letterbox.clip(there)
    height, width = letterbox.content_hw
    assert clipped.shape == boxes.shape
    assert ((clipped >= 0) & (clipped <= [width, height, width, height])).all()
    inside = (there >= 0) & (there <= [width, height, width, height])
    np.testing.assert_array_equal(clipped[inside], there[inside])


@pytest.mark.parametrize("empty", [np.zeros((0, 4), np.float32), np.array([])])
def test_no_boxes(empty: np.ndarray) -> None:
    letterbox = Letterbox((10, 20), (30, 40))
    for move in (letterbox.to_canvas, letterbox.to_image, letterbox.clip):
        assert move(empty).shape == (0, 4)
