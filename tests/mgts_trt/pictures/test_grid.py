import numpy as np
import pytest

from mgts_trt.errors import ImageError
from mgts_trt.pictures.grid import Card, picture_grid
from mgts_trt.pictures.palette import ACCENT, PICKED, SURFACE, rgb

RED, BLUE = np.full((20, 10, 3), (255, 0, 0), np.uint8), np.full((10, 200, 3), (0, 0, 255), np.uint8)


def count(picture: np.ndarray, colour: tuple[int, int, int] | str) -> int:
    return int((picture == (rgb(colour) if isinstance(colour, str) else colour)).all(-1).sum())


def test_pictures_keep_their_size_and_are_centred() -> None:
    grid = picture_grid([Card(RED), Card(BLUE), Card(BLUE)], columns=2)
    assert count(grid, (255, 0, 0)) == 200
    assert count(grid, (0, 0, 255)) == 4000
    reds = np.flatnonzero((grid == (255, 0, 0)).all(-1).any(0))
    blues = np.flatnonzero((grid == (0, 0, 255)).all(-1).any(0))
    column = grid.shape[1] // 2
    first = blues[blues < column]  # of the blue one below the red one
    assert len(first) == 200
    assert reds[0] - first[0] == first[-1] - reds[-1] == 95
    assert picture_grid([Card(RED)], columns=6).shape[1] < 220


def test_all_text_has_one_height_and_stays_on_its_card() -> None:
    long = "2024-11-03_lobby_entrance_camera_12_frame_000123_and_more.jpg"
    short = picture_grid([Card(RED, ["0123"]), Card(RED, ["0123"])], columns=2)
    grid = picture_grid([Card(RED, [long]), Card(RED, ["0123"])], columns=2)
    assert grid.shape == short.shape
    middle = grid.shape[1] // 2
    np.testing.assert_array_equal(grid[:, middle:], short[:, middle:], "a long name changes no other card")
    np.testing.assert_array_equal(grid[:, middle - 16 : middle], short[:, middle - 16 : middle], "nor leaves its own")
    dark = (grid[:, : middle - 16].max(-1) < 110).any(0)
    assert dark[20:].mean() > 0.5, "it takes the card's width"


def test_lines_notes_and_pairs() -> None:
    bare = picture_grid([Card(RED)], columns=1)
    one = picture_grid([Card(RED, [("#1", "0.835")])], columns=1)
    two = picture_grid([Card(RED, [("#1", "0.835")], ["camera 3"])], columns=1)
    assert bare.shape[0] < one.shape[0] < two.shape[0]
    line = (one[-30:-10, 12:-12].max(-1) < 110).any(0)
    assert line[:20].any()
    assert line[-20:].any()
    assert not line[40:100].any()
    note = two[-30:-10, 12:-12]
    assert 60 < note.min() < 110, "notes are grey"


@pytest.mark.parametrize(("value", "filled"), [(0.5, 0.5), (1.0, 1.0), (0.0, 0.0), (-0.3, 0.0), (float("nan"), None)])
def test_bars(value: float, filled: float | None) -> None:
    whole = count(picture_grid([Card(RED, ["a"], bar=1.0)], columns=1), ACCENT)
    assert whole > 300
    if filled is not None:
        part = count(picture_grid([Card(RED, ["a"], bar=value)], columns=1), ACCENT)
        assert part == pytest.approx(filled * whole, abs=8)


def test_a_tag_sets_its_card_apart() -> None:
    grid = picture_grid([Card(RED, ["a"], tag="probe"), Card(RED, ["a"])], columns=2)
    middle = grid.shape[1] // 2
    assert count(grid[:, :middle], PICKED) > 1000
    assert count(grid[:, middle:], PICKED) == 0
    assert count(grid[:, middle:], SURFACE) > 1000


def test_nothing() -> None:
    for cards, columns in (([], 3), ([Card(RED)], 0)):
        with pytest.raises(ImageError, match=r"\d pictures in \d columns"):
            picture_grid(cards, columns=columns)
