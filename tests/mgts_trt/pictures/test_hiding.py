from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgts_trt.pictures.hiding import COVER, MARGIN, hidden_pixels, hide_people
from mgts_trt.pictures.image import read_image, write_image

HW = (48, 64)
ADULT, CHILD = (10.0, 4.0, 34.0, 64.0), (16.0, 34.0, 28.0, 64.0)


def noise(seed: int, image_hw: tuple[int, int] = HW) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*image_hw, 3)).astype(np.uint8)


def coordinates(most: int) -> st.SearchStrategy:
    """Within a picture, at its very edges, and beyond."""
    edges = st.sampled_from([-500.0, -1.0, -0.3, 0.0, 0.5, most - 0.5, float(most), most + 0.2, most + 900.0])
    return st.one_of(edges, st.floats(-20, most + 20))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    (x1, x2), (y1, y2) = (sorted(draw(st.tuples(coordinates(most), coordinates(most)))) for most in HW[::-1])
    return x1, y1, x2 + 0.5, y2 + 0.5


def inside(box: tuple[float, ...], margin: float = 0.0) -> np.ndarray:
    """The pixels a box touches, told one by one."""
    x1, y1, x2, y2 = box
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    rows, columns = np.arange(HW[0])[:, None], np.arange(HW[1])[None]
    touched = (columns + 1 > x1 - across) & (columns < x2 + across)
    return touched & (rows + 1 > y1 - down) & (rows < y2 + down)


@given(others=st.lists(boxes(), max_size=4), asked=st.none() | boxes(), seed=st.integers(0, 9), masked=st.booleans())
def test_what_is_covered_reaches_no_pixel(others, asked, seed, masked) -> None:
    image = noise(seed)
    mask = noise(seed + 50)[..., 0] > 128 if masked and asked is not None else None
    hidden = hidden_pixels(HW, np.array(others), asked, mask)
    shown = hide_people(image, np.array(others), asked, mask)
    # One colour, whoever is under it; all else as it was.
    assert (shown[hidden] == COVER).all()
    assert np.array_equal(shown[~hidden], image[~hidden])
    assert np.array_equal(image, noise(seed))
    other = np.where(hidden[..., None], noise(seed + 1), image)
    assert np.array_equal(hide_people(other, np.array(others), asked, mask), shown)
    # Nothing beyond the boxes is covered, and without somebody to show all within them is.
    around = np.logical_or.reduce([np.zeros(HW, bool), *(inside(box, MARGIN + 1e-9) for box in others)])
    assert not (hidden & ~around).any()
    if asked is None:
        assert hidden[np.logical_or.reduce([np.zeros(HW, bool), *(inside(box) for box in others)])].all()
    elif mask is not None:
        assert np.array_equal(hidden, hidden_pixels(HW, np.array(others)) & ~mask)
    else:
        assert np.array_equal(hidden & ~inside(asked), hidden_pixels(HW, np.array(others)) & ~inside(asked))


@pytest.mark.parametrize("others", [[], [(40.0, 4.0, 60.0, 44.0)]])
def test_whoever_stands_apart_is_untouched(others) -> None:
    asked = (4.0, 4.0, 24.0, 44.0)
    image = noise(0)
    shown = hide_people(image, np.array(others), asked)
    assert np.array_equal(shown[inside(asked)], image[inside(asked)])


def head(box: tuple[float, ...]) -> np.ndarray:
    x1, y1, x2, y2 = box
    x, y, aside = (x1 + x2) / 2, y1 + 0.12 * (y2 - y1), 0.15 * (x2 - x1)
    return np.array([(x, y), (x + aside, y), (x - aside, y)]).astype(int)


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        (ADULT, CHILD),  # the child before the adult's legs
        (CHILD, ADULT),
        ((10.0, 4.0, 34.0, 64.0), (28.0, 6.0, 52.0, 63.0)),  # side by side, a quarter in common
        ((10.0, 4.0, 34.0, 64.0), (24.0, 2.0, 40.0, 40.0)),  # behind a shoulder
    ],
)
def test_without_a_mask_each_keeps_their_head_and_the_other_loses_theirs(asked, other) -> None:
    hidden = hidden_pixels((70, 64), np.array([other]), asked)
    assert not any(hidden[y, x] for x, y in head(asked))
    assert all(hidden[y, x] for x, y in head(other))


def test_of_two_in_the_very_same_place_nothing_is_left() -> None:
    assert hidden_pixels(HW, np.array([ADULT]), ADULT)[inside(ADULT)].all()


def test_a_jpeg_is_the_same_whoever_was_there(public_photos: list[Path], tmp_path: Path) -> None:
    image = read_image(public_photos[0])
    height, width = image.shape[:2]
    box = np.array([[width - 150.5, height - 200.25, width + 30.0, height + 9.0]])
    hidden = hidden_pixels((height, width), box)
    for name, picture in (("a", image), ("b", np.where(hidden[..., None], noise(3, (height, width)), image))):
        write_image(tmp_path / f"{name}.jpg", hide_people(picture, box))
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    read = read_image(tmp_path / "a.jpg").astype(int)
    deep = cv2.erode(hidden.view(np.uint8), np.ones((33, 33), np.uint8), borderValue=1).astype(bool)
    assert deep.sum() > 10_000
    assert len(np.unique(read[deep], axis=0)) == 1
    assert np.abs(read[deep] - COVER).max() <= 2
