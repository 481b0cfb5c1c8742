import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgts_trt.pictures import lettering
from mgts_trt.pictures.lettering import elide, text_width, write_text


def inked(text: str, height: int, *, left: int = 20, size: tuple[int, int] = (80, 600)) -> np.ndarray:
    """Where a line is dark on white, bool [H, W]."""
    picture = np.full((*size, 3), 255, np.uint8)
    write_text(picture, text, left, 50, height, "#000000")
    return (picture < 128).all(-1)


@pytest.mark.parametrize("height", [9, 14, 30])
def test_digits_are_as_tall_and_lines_as_wide_as_asked(height: int) -> None:
    ink = inked("0123456789", height)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert abs((rows[-1] - rows[0] + 1) - height) <= 2 + height // 10
    assert abs(rows[-1] - 50) <= 1 + height // 10
    width = text_width("0123456789", height)
    assert width - height // 2 - 1 <= columns[-1] - columns[0] <= width, "never wider than it says"
    assert 0 <= columns[0] - 20 <= 1 + height // 4


@pytest.mark.parametrize("left", [-30, 590, 2000])
def test_what_lies_outside_is_left_out(left: int) -> None:
    assert inked("0123456789", 12, left=left).any() == (left < 600)
    assert not inked("0123", 12, size=(20, 600)).any()


@settings(max_examples=60)
@given(st.text(st.characters(exclude_characters="."), max_size=60), st.integers(0, 300))
def test_an_elided_line_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = elide(text, width, 9)
    assert text_width(short, 9) <= width
    whole = elide(text, 100_000, 9)
    if short not in (whole, ""):
        head, tail = short.split("...")
        assert whole.startswith(head)
        assert whole.endswith(tail)
        assert 0 <= len(tail) - len(head) <= 1


def test_as_much_is_kept_as_fits() -> None:
    name = "2024-11-03_lobby_entrance_camera_12_frame_000123.jpg"
    short = elide(name, 160, 9)
    assert short.startswith("2024")
    assert short.endswith("0123.jpg")
    head, tail = short.split("...")
    longer = f"{name[: len(tail)]}...{name[-len(tail) - (len(tail) == len(head)) :]}"
    assert text_width(longer, 9) > 160
    assert elide("0045.jpg", 160, 9) == "0045.jpg"


@pytest.mark.parametrize("name", ["Tür.jpg", "\udcff.jpg", "店.jpg", "a\nb\t c"])
@pytest.mark.parametrize("outlines", [True, False])
def test_any_name_can_be_written(name: str, outlines: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where OpenCV draws strokes and knows ASCII alone; a name of a file need not be Unicode."""
    monkeypatch.setattr(lettering, "_OUTLINES", outlines)
    line = elide(name, 500, 9)
    assert inked(name, 9).any()
    assert "\n" not in line
    if not outlines:
        assert line.isascii()
        assert line == {"Tür.jpg": "Tur.jpg", "a\nb\t c": "a b c"}.get(name, "?.jpg")
