from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import ImageError
from mgts_trt.pictures.draw import draw_people
from mgts_trt.pictures.image import read_image
from mgts_trt.pictures.palette import PEOPLE, rgb

HEIGHT, WIDTH = 300, 400
COLOURS = [rgb(colour) for colour in PEOPLE]


def plain(value: int = 128) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), value, np.uint8)


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(-1)


def test_nobody() -> None:
    image = plain()
    picture = draw_people(image, np.zeros((0, 4)), np.zeros(0), np.zeros((0, HEIGHT, WIDTH), bool))
    np.testing.assert_array_equal(picture, image)
    assert not np.shares_memory(picture, image)


def test_boxes_lie_where_they_should() -> None:
    image = plain()
    picture = draw_people(image, np.array([[100, 80, 200, 250]]), np.array([0.9]), labels=[""])
    assert (image == 128).all()
    line = is_colour(picture, COLOURS[0])
    for y, x in ((80, 150), (250, 150), (150, 100), (150, 200)):
        assert line[y, x]
    np.testing.assert_array_equal(picture[100:230, 110:190], 128)
    np.testing.assert_array_equal(picture[260:], 128)


@pytest.mark.parametrize("background", [0, 128, 255])
def test_labels_show_on_any_background(background: int) -> None:
    boxes, scores = np.array([[100, 80, 200, 250]]), np.array([0.87])
    with_score = draw_people(plain(background), boxes, scores)
    plate = with_score[60:79, 100:140]
    assert is_colour(plate, COLOURS[0]).any()
    assert (plate.astype(int).sum(-1) < 150).sum() > 20  # ink
    other = draw_people(plain(background), boxes, scores, labels=["someone"])
    assert (with_score != other).any()


def test_masks_are_translucent_and_only_inside() -> None:
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[0, 120:200, 120:180] = True
    picture = draw_people(plain(100), np.array([[100, 80, 200, 250]]), np.array([0.9]), mask)
    np.testing.assert_allclose(picture[150, 150], (np.array(COLOURS[0]) + 100) / 2, atol=1)
    np.testing.assert_array_equal(picture[150, 190], 100)
    assert is_colour(picture, COLOURS[0])[120, 150]


def test_the_better_scored_person_is_on_top() -> None:
    boxes = np.array([[100, 80, 200, 250], [100, 80, 200, 250]])
    for scores, top in (((0.9, 0.2), 0), ((0.2, 0.9), 1)):
        assert is_colour(draw_people(plain(), boxes, np.array(scores)), COLOURS[top])[250, 150]


def test_strokes_grow_with_the_picture() -> None:
    widths = []
    for size in (300, 3000):
        box = np.array([[0.3, 0.3, 0.7, 0.7]]) * size
        picture = draw_people(np.zeros((size, size, 3), np.uint8), box, np.array([0.9]))
        widths.append(is_colour(picture, COLOURS[0])[size * 6 // 10].sum() / 2)
    assert widths[0] <= 3
    assert widths[1] >= 8


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        ([-50, -50, 60, 80], True),
        ([350, 250, 900, 900], True),
        ([-1e9, -1e9, 1e9, 1e9], True),
        ([-90, 10, -5, 60], False),
        ([500, 10, 600, 60], False),
        ([float("nan")] * 4, False),
    ],
)
def test_boxes_partly_or_wholly_outside(box: list[float], visible: bool) -> None:
    picture = draw_people(plain(), np.array([box]), np.array([0.5]))
    assert (picture != 128).any() == visible


def test_300_people_on_a_photo(public_photos: list[Path]) -> None:
    image = read_image(public_photos[0])
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, (image.shape[1], image.shape[0]), (300, 2))
    half = np.array([10, 25])
    boxes = np.hstack([centres - half, centres + half])
    picture = draw_people(image, boxes, rng.random(300))
    assert picture.shape == image.shape
    for colour in COLOURS:
        assert is_colour(picture, colour).sum() > 1000


def test_tiny_pictures() -> None:
    for size in ((1, 1), (5, 9)):
        picture = draw_people(np.zeros((*size, 3), np.uint8), np.array([[0, 0, 5, 5]]), np.array([0.5]))
        assert picture.shape == (*size, 3)
        assert picture.any()


def test_rows_must_pair_up() -> None:
    with pytest.raises(ImageError, match="2 boxes, 1 scores"):
        draw_people(plain(), np.zeros((2, 4)), np.zeros(1))
    with pytest.raises(ImageError, match="1 labels"):
        draw_people(plain(), np.zeros((2, 4)), np.zeros(2), labels=["a"])
    with pytest.raises(ImageError, match=r"\[2, 5, 5\]"):
        draw_people(plain(), np.zeros((2, 4)), np.zeros(2), np.zeros((2, 5, 5), bool))


def test_a_box_without_a_mask_is_dashed_and_the_legend_says_so() -> None:
    boxes, scores = np.array([[100, 80, 200, 250], [250, 80, 350, 250]]), np.array([0.9, 0.8])
    masks = np.zeros((2, HEIGHT, WIDTH), bool)
    masks[0, 120:200, 120:180] = masks[1, 80:250, 250:350] = True
    plain_boxes = draw_people(plain(), boxes, scores, masks)
    np.testing.assert_array_equal(
        plain_boxes, draw_people(plain(), boxes, scores, masks, unmasked=np.zeros(2, bool)), "no legend without need"
    )
    picture = draw_people(plain(), boxes, scores, masks, unmasked=np.array([False, True]))
    np.testing.assert_array_equal(picture[:260, :240], plain_boxes[:260, :240])
    np.testing.assert_array_equal(picture[150:220, 270:330], 128, "the box is not tinted")
    edge = is_colour(picture, COLOURS[1])[100:250, 350]
    assert 0.3 < edge.mean() < 0.7
    assert (np.diff(edge.astype(int)) != 0).sum() > 8
    assert (picture[260:] != 128).any(-1).sum() > 1000

    narrow = draw_people(plain()[:, :60], boxes[:1], scores[:1], unmasked=np.array([True]))
    assert narrow.shape == (HEIGHT, 60, 3)


def test_a_number_has_the_same_colour_in_every_picture() -> None:
    boxes = np.array([[20, 80, 90, 250], [150, 80, 220, 250], [300, 80, 370, 250]])
    for numbers in ([4, 0, 9], [9, 4, 0]):
        picture = draw_people(plain(), boxes, np.ones(3), labels=["", "", ""], colours=numbers)
        for (x1, *_), number in zip(boxes, numbers, strict=True):
            assert is_colour(picture, COLOURS[number % len(COLOURS)])[165, x1]
    with pytest.raises(ImageError, match="has one of each"):
        draw_people(plain(), boxes, np.ones(3), colours=[1])
