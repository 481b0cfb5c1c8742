"""The teacher: its decoding and merging on made-up outputs, and what the real one sees."""

from pathlib import Path

import numpy as np
import pytest

from mgts_trt._typing import Floats
from mgts_trt.pictures.image import read_image
from training.data.datasets.splits import penn_fudan_split
from training.data.files import DataError
from training.data.teacher import (
    CATEGORIES,
    PERSON,
    Sightings,
    Teacher,
    agreed,
    decoded,
    ious,
    letterboxed,
    mirrored,
    suppressed,
    tiles,
)

SIDE = 64
"""Of a small canvas: 8 × 8, 4 × 4 and 2 × 2 places."""
BICYCLE = CATEGORIES.index("bicycle")


def seen(*rows: tuple[float, ...]) -> Sightings:
    """Sightings of rows of x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Sightings(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def output(*places: tuple[int, tuple[float, ...], float, int, float]) -> Floats:
    """An output that says something at some places: number, offsets and logarithms, objectness, class, probability."""
    rows = np.zeros((8 * 8 + 4 * 4 + 2 * 2, 85), np.float32)
    for number, box, objectness, category, probability in places:
        rows[number, :4], rows[number, 4], rows[number, 5 + category] = box, objectness, probability
    return rows


@pytest.mark.parametrize(
    ("place", "box", "expected"),
    [
        # Row 2 of column 3 of stride 8, which is at (24, 16); twice as high as a cell.
        (2 * 8 + 3, (0.5, 0.25, 0.0, np.log(2)), (24, 10, 32, 26)),
        # Row 1, column 2 of stride 16.
        (64 + 1 * 4 + 2, (0, 0.5, np.log(0.5), 0.0), (28, 16, 36, 32)),
        # Row 1, column 0 of stride 32; it leaves the canvas on the left.
        (64 + 16 + 1 * 2, (0.25, 0.5, 0.0, 0.0), (0, 32, 24, 64)),
    ],
)
def test_places_of_every_stride_are_decoded(place: int, box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    found = decoded(output((place, box, 0.5, PERSON, 0.8)), SIDE, 0.5, (128, 128))
    np.testing.assert_allclose(found.boxes, [np.array(expected) / 0.5], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.4])
    assert found.classes.tolist() == [PERSON]


def test_boxes_are_cut_to_the_picture_and_those_beside_it_left_out() -> None:
    rows = output((0, (4, 4, 2, 2), 1, BICYCLE, 0.9), (63, (0, 0, 0, 0), 1, PERSON, 0.9))
    found = decoded(rows, SIDE, 1.0, (30, 50))  # place 63 is at (56, 56), on the grey
    assert found.classes.tolist() == [BICYCLE]
    assert found.boxes[0, :2].min() >= 0
    assert found.boxes[0, 2:].tolist() == [50, 30]


def test_one_thing_is_decoded_once_and_two_kinds_twice() -> None:
    near = [(number, (0, 0, 1.5, 1.5), 1, PERSON, 0.9 - number / 100) for number in (27, 28)]
    rows = output(*near, (35, (0, 0, 1.5, 1.5), 1, BICYCLE, 0.5), (36, (0, 0, 1.5, 1.5), 0.1, PERSON, 0.1))
    found = decoded(rows, SIDE, 1.0, (64, 64))
    assert found.classes.tolist() == [PERSON, BICYCLE]
    np.testing.assert_allclose(found.scores, [0.63, 0.5], atol=1e-6)


def test_the_canvas_is_blue_first_and_grey_beside_the_picture() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[:] = (10, 20, 30)
    canvas, scale = letterboxed(image, SIDE)
    assert canvas.shape == (1, 3, SIDE, SIDE)
    assert canvas.dtype == np.float32
    assert scale == pytest.approx(1.6)
    assert canvas[0, :, 31, 63].tolist() == [30, 20, 10]
    assert (canvas[0, :, 32:] == 114).all()


def test_a_mirror_is_its_own_inverse() -> None:
    there = seen((1, 2, 11, 22, 0.9, PERSON))
    assert mirrored(there, 100).boxes.tolist() == [[89, 2, 99, 22]]
    assert (mirrored(mirrored(there, 100), 100).boxes == there.boxes).all()


def test_views_that_agree_are_averaged_and_others_count_half() -> None:
    one = seen((0, 0, 10, 20, 0.9, PERSON), (50, 0, 60, 20, 0.8, PERSON), (0, 0, 10, 20, 0.4, BICYCLE))
    other = seen((1, 0, 11, 20, 0.3, PERSON), (80, 0, 90, 20, 0.2, PERSON))
    both = agreed(one, other)
    np.testing.assert_allclose(both.scores, [0.6, 0.4, 0.2, 0.1], atol=1e-6)
    assert both.classes.tolist() == [PERSON, PERSON, BICYCLE, PERSON]
    np.testing.assert_allclose(both.boxes[0], (0.25, 0, 10.25, 20), atol=1e-5)
    assert both.boxes[3].tolist() == [80, 0, 90, 20]
    np.testing.assert_allclose(agreed(other, one).scores, both.scores, atol=1e-6)
    assert len(agreed(seen(), one).scores) == 3


def test_what_tiles_see_of_a_greater_box_goes_and_what_they_see_alone_stays() -> None:
    whole = seen((0, 0, 40, 100, 0.9, PERSON), (5, 5, 20, 50, 0.5, PERSON))
    tile = seen((2, 0, 38, 45, 0.7, PERSON), (60, 60, 65, 75, 0.6, PERSON), (3, 3, 18, 30, 0.8, BICYCLE))
    kept = suppressed([whole, tile])
    np.testing.assert_allclose(kept.scores, [0.9, 0.8, 0.6, 0.5])
    assert kept.classes.tolist() == [PERSON, BICYCLE, PERSON, PERSON]


@pytest.mark.parametrize(("height", "width", "count"), [(480, 640, 4), (640, 480, 4), (200, 640, 2), (500, 500, 4)])
def test_tiles_cover_the_picture(height: int, width: int, count: int) -> None:
    covered = np.zeros((height, width), bool)
    found = tiles(height, width)
    for left, top, right, bottom in found:
        covered[top:bottom, left:right] = True
    assert covered.all()
    assert len(found) == count


def test_what_is_no_teacher_is_named(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(DataError, match=r"text\.onnx cannot be opened"):
        Teacher(tmp_path / "text.onnx")
    with pytest.raises(DataError, match=r"of a YOLOX detector for COCO \[1, 3, S, S\]"):
        Teacher(shared_data / "models/fastestdet/FastestDet.onnx")


@pytest.mark.parametrize("tiled", [False, True])
def test_the_real_teacher_sees_people_and_not_more(shared_data: Path, tiled: bool) -> None:
    teacher = Teacher(shared_data / "models/yolox_nano/yolox_nano.onnx", tiled=tiled, threads=1)
    scenes, found, labelled = penn_fudan_split(shared_data / "penn_fudan")[0], 0, 0
    for number in range(0, 60, 10):
        scene = scenes[number]
        people = teacher.look(scene.image)
        people = people[(people.classes == PERSON) & (people.scores >= 0.58)]
        labelled += len(scene.boxes)
        found += int((ious(scene.boxes, people.boxes) >= 0.5).any(1).sum())
    assert found >= 0.8 * labelled
    empty = read_image(next((shared_data / "public_photos").glob("34501842524*")))
    there = teacher.look(empty)
    assert not ((there.classes == PERSON) & (there.scores >= 0.58)).any()
