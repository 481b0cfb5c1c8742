import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.annotating.blurring import HOLD, Blur, Blurring
from mgts_trt.annotating.inputs import Input
from mgts_trt.annotating.results import Film, Wanted, write_photo
from mgts_trt.errors import MgtsError
from mgts_trt.gallery import Frame
from mgts_trt.gallery.indexing.reading import Picture
from mgts_trt.gallery.indexing.video import video_frames
from mgts_trt.gallery.question import Question
from mgts_trt.pictures.hiding import COVER, hidden_pixels
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.people import People
from mgts_trt.stages import Letterbox
from tests.helpers.stored_people import people_with, unit

HW = (240, 320)
BOXES = np.float32([[20, 20, 100, 220], [80, 30, 160, 225], [250, -5, 330, 250]])
"""Two who overlap, and one cut off by the picture's edges."""


def seen(*who: int) -> People:
    people = people_with(np.concatenate([np.zeros((0, 8), np.float32), *(unit(each, rows=1) for each in who)]))
    return replace(people, boxes=BOXES[list(who)], canvas_boxes=BOXES[list(who)], letterbox=Letterbox(HW, HW))


def noise(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, HW[::-1], interpolation=cv2.INTER_NEAREST))


def one(who: int) -> Blur:
    return Blur(Question(unit(who, rows=1), np.zeros((0, 0), np.float32)), 0.9)


def hidden_of(blur: Blur) -> np.ndarray:
    return hidden_pixels(HW, BOXES) if blur.asked is None else hidden_pixels(HW, BOXES[1:], BOXES[0])


def deep(hidden: np.ndarray) -> np.ndarray:
    """Far enough from what is drawn and encoded around it."""
    inner = cv2.erode(hidden.view(np.uint8), np.ones((41, 41), np.uint8), borderValue=0).astype(bool)
    for x1, y1, x2, y2 in BOXES.astype(int):  # the lines of boxes, and their labels
        for rows, columns in (
            (slice(y1 - 18, y1 + 12), slice(x1 - 9, x1 + 90)),
            (slice(y2 - 9, y2 + 9), slice(x1, x2)),
        ):
            inner[max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop] = False
        for x in (x1, x2):
            inner[:, max(x - 9, 0) : x + 9] = False
    return inner


@pytest.mark.parametrize("blur", [Blur(), one(0)], ids=["everybody", "but one"])
def test_a_photo_is_the_same_whoever_is_hidden(tmp_path: Path, blur: Blur) -> None:
    hidden = hidden_of(blur)
    each = Input("a.jpg", "picture", Path("a.jpg"))
    for name, other in (("x", 0), ("y", 1)):
        image = np.where(hidden[..., None], noise(other), noise(0))
        write_photo(each, tmp_path / name, Picture(Frame("/a.jpg"), image), seen(0, 1, 2), Wanted(blur=blur))
    drawn = [(tmp_path / name / "a.jpg.people.jpg") for name in "xy"]
    assert drawn[0].read_bytes() == drawn[1].read_bytes()
    assert b"Exif" not in drawn[0].read_bytes()
    read, inner = read_image(drawn[0]).astype(int), deep(hidden)
    assert inner.sum() > 2_000
    assert np.abs(read[inner] - COVER).max() <= 8
    if blur.asked is not None:
        stays = deep(~hidden & (hidden_pixels(HW, BOXES[:1])))
        assert stays.sum() > 1_000
        assert np.abs(read[stays] - noise(0).astype(int)[stays]).mean() < 16
    rows = json.loads((tmp_path / "x" / "a.jpg.json").read_text())["people"]
    assert [row["hidden"] for row in rows] == [blur.asked is None, True, True]
    assert not any("embedding" in row for row in rows)


@pytest.mark.parametrize("blur", [Blur(), one(0)], ids=["everybody", "but one"])
def test_a_video_is_the_same_whoever_is_hidden(tmp_path: Path, blur: Blur, monkeypatch) -> None:
    pytest.importorskip("av")
    from mgts_trt.annotating.mp4 import Recording

    shown, add = list[np.ndarray](), Recording.add

    def spy(self: Recording, seconds: float, image: np.ndarray) -> None:
        shown.append(image.copy())  # x264 does not always make the same of the same
        add(self, seconds, image)

    monkeypatch.setattr(Recording, "add", spy)
    hidden = hidden_of(blur)
    each = Input("a.avi", "video", Path("a.avi"))
    for name, other in (("x", 0), ("y", 1)):
        film = Film(each, tmp_path / name, Wanted(blur=blur))
        for number in range(8):
            image = np.where(hidden[..., None], noise(number + 20 * other), noise(0))
            film.add(Picture(Frame("/a.avi", number, "5" * 64, number / 10), image), seen(0, 1, 2))
        film.close()
    assert (tmp_path / "x/a.avi.jsonl").read_bytes() == (tmp_path / "y/a.avi.jsonl").read_bytes()
    assert len(shown) == 16
    assert all(np.array_equal(one, other) for one, other in zip(shown[:8], shown[8:], strict=True))
    frames = list(video_frames(str(tmp_path / "x/a.avi.people.mp4"), lambda number: True))
    assert len(frames) == 8
    inner = deep(hidden)
    for frame in frames:
        assert np.abs(frame.image.astype(int)[inner] - COVER).max() <= 12
    lines = [json.loads(line) for line in (tmp_path / "x/a.avi.jsonl").read_text().splitlines()]
    assert {tuple(row["hidden"] for row in line["people"]) for line in lines} == {(blur.asked is None, True, True)}


def test_somebody_overlooked_for_a_moment_stays_covered() -> None:
    def covered(blurring: Blurring, seconds: float, *who: int) -> list[bool]:
        image, _ = blurring.hide(noise(0), seen(*who), seconds, list(who))
        return [bool((image[60:200, x] == COVER).all()) for x in (40, 145, 300)]

    blurring = Blurring(Blur())
    assert covered(blurring, 0.0, 0, 1) == [True, True, False]
    assert covered(blurring, 0.5, 2) == [True, True, True]
    assert covered(blurring, 0.5 + HOLD, 1) == [False, True, True]
    assert covered(blurring, 1.4 + HOLD) == [False, True, False]
    assert covered(blurring, 9.0) == [False, False, False]
    # Who is not hidden leaves no cover behind, and none stays over them.
    blurring = Blurring(one(0))
    assert covered(blurring, 0.0, 0, 1) == [False, True, False]
    assert covered(blurring, 0.5) == [False, True, False]


def test_the_most_alike_alone_is_shown_and_nobody_if_none_is_alike() -> None:
    blur = one(1)
    assert blur.shown(seen(0, 1, 2)) == 1
    assert blur.shown(seen(0, 2)) is None
    assert blur.shown(seen()) is None
    twice = replace(seen(0, 1), embeddings=unit(1, rows=1).repeat(2, 0))
    assert blur.shown(twice) == 0
    assert Blur().shown(seen(0, 1)) is None


def test_outlines_of_whom_is_hidden_are_refused() -> None:
    with pytest.raises(MgtsError, match="outlines of people"):
        Wanted(masks=True, blur=Blur())
