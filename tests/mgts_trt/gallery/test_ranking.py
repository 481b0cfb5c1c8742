from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgts_trt.errors import ImageError, QueryError
from mgts_trt.gallery import sheet
from mgts_trt.gallery.match import Match
from mgts_trt.gallery.probe import Probe, find_probe, parse_query
from mgts_trt.gallery.ranking import rank, rank_gallery
from mgts_trt.gallery.sheet import CROP_HW, ranking_sheet
from mgts_trt.pictures.grid import Card
from mgts_trt.pictures.image import crop, read_image, write_image
from mgts_trt.pictures.palette import PICKED, rgb
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.tiny_bundle import make_tiny_bundle

HEIGHT, WIDTH = 32, 16
NOWHERE = np.zeros(4, np.float32)
CELLS = {  # three people, told apart by where they are dark
    name: np.where((np.add.outer(np.arange(HEIGHT) // rows, np.arange(WIDTH) // columns) % 4 == 0)[..., None], 120, 255)
    for name, rows, columns in (("ann", 4, 16), ("bob", 32, 2), ("eve", 8, 4))
}


def scene(**people: tuple[int, int]) -> np.ndarray:
    """Grey, with people at (row, column) of the tiny detector's 2 × 6 cells."""
    image = np.full((64, 96, 3), 60, np.uint8)
    for name, (row, column) in people.items():
        image[row * HEIGHT : (row + 1) * HEIGHT, column * WIDTH : (column + 1) * WIDTH] = CELLS[name]
    return image


SCENES = {
    "1.png": {"ann": (0, 1), "bob": (1, 4)},
    "2.png": {"eve": (1, 2)},
    "3.png": {"eve": (0, 0), "ann": (1, 3)},
    "4.png": {},
}


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    root = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")
    with PersonSearch.open(root, mode="none") as opened:  # the patch is the cell, whatever is around it
        yield opened


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_image(folder / "probe.png", scene(ann=(0, 5), bob=(0, 2)))
    (folder / "gallery").mkdir()
    for name, people in SCENES.items():
        write_image(folder / "gallery" / name, scene(**people))
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b.jpg", ("a/b.jpg", None)),
        ("a.jpg@10,20", ("a.jpg", (10, 20))),
        ("a.jpg@10,20,30.5,40", ("a.jpg", (10, 20, 30.5, 40))),
        ("a.jpg@xywh:10,20,30.5,40", ("a.jpg", (10, 20, 40.5, 60))),
        ("me@home.jpg@-3,.5,4,4", ("me@home.jpg", (-3, 0.5, 4, 4))),
    ],
)
def test_query(text: str, expected: tuple) -> None:
    path, where = parse_query(text)
    assert (str(path), where) == expected


def test_a_files_name_may_hold_an_at(tmp_path: Path) -> None:
    file = tmp_path / "me@1,2"
    file.touch()
    assert parse_query(str(file)) == (file, None)


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg@",
        "a.jpg@1",
        "a.jpg@1,2,3",
        "a.jpg@1,2,1,4",
        "a.jpg@1,2,3,2",
        "a.jpg@xywh:1,2,0,4",
        "a.jpg@xywh:1,2",
        "a.jpg@x,y",
        "a.jpg@1.2.3,4",
    ],
)
def test_query_that_is_none(text: str) -> None:
    with pytest.raises(QueryError, match=r"a\.jpg@"):
        parse_query(text)


@pytest.mark.parametrize(
    ("where", "box"),
    [
        ((80, 0, 96, 32), (80, 0, 96, 32)),
        ((70, 5), (80, 0, 96, 32)),
        ((47, 30), (32, 0, 48, 32)),
        ((0, 0), (32, 0, 48, 32)),
        (None, (32, 0, 48, 32)),
    ],
)
def test_probe(search: PersonSearch, photos: Path, where: tuple | None, box: tuple) -> None:
    probe = find_probe(search, photos / "probe.png", where)
    if where is None:  # both are as large
        assert probe.box.tolist() in ([32, 0, 48, 32], [80, 0, 96, 32])
    else:
        np.testing.assert_allclose(probe.box, box, atol=1e-4)
    image = read_image(photos / "probe.png")
    x1, y1, x2, y2 = probe.box.round().astype(int)
    np.testing.assert_array_equal(probe.crop, image[y1:y2, x1:x2])


def test_the_largest_person_is_the_probe(search: PersonSearch, tmp_path: Path) -> None:
    wide = np.full((64, 192, 3), 60, np.uint8)  # on the canvas half as large
    wide[:, :32] = np.kron(CELLS["eve"], np.ones((2, 2, 1), int))
    write_image(tmp_path / "wide.png", wide)
    assert find_probe(search, tmp_path / "wide.png").crop.shape == (64, 32, 3)


def test_no_probe(search: PersonSearch, photos: Path) -> None:
    with pytest.raises(QueryError, match=r"Nobody was detected in .*4\.png\. Name the probe's box"):
        find_probe(search, photos / "gallery" / "4.png")
    with pytest.raises(ImageError, match="holds no pixel"):
        find_probe(search, photos / "probe.png", (200.0, 0.0, 210.0, 9.0))


def test_ranking(search: PersonSearch, photos: Path) -> None:
    probe = find_probe(search, photos / "probe.png", (80, 0, 96, 32))
    paths = [photos / "gallery" / name for name in SCENES]
    seen = []
    found = rank(search, probe, paths, on_scene=seen.append)
    assert seen == paths
    assert (found.people, found.failures) == (5, [])
    assert [Path(match.source).name for match in found.matches[:2]] == ["1.png", "3.png"]
    assert [match.likeness for match in found.matches[:2]] == pytest.approx([1, 1], abs=1e-6)
    np.testing.assert_allclose(found.matches[1].box, [48, 32, 64, 64], atol=1e-4)
    np.testing.assert_array_equal(found.matches[1].crop, np.broadcast_to(CELLS["ann"], (HEIGHT, WIDTH, 3)))
    likenesses = [match.likeness for match in found.matches]
    assert likenesses == sorted(likenesses, reverse=True)
    assert likenesses[2] < likenesses[1]
    assert [match.to_dict() for match in rank(search, probe, paths, top=2).matches] == [
        match.to_dict() for match in found.matches[:2]
    ]
    with pytest.raises(QueryError, match="The 0 best"):
        rank(search, probe, paths, top=0)
    everywhere = [*paths, photos / "probe.png"]
    others = rank(search, probe, everywhere)
    assert (others.own, others.people) == (1, found.people)
    assert [match.to_dict() for match in others.matches] == [match.to_dict() for match in found.matches]
    assert rank(search, probe, everywhere, include_own=True).people > found.people


def test_a_broken_scene_costs_itself_alone(search: PersonSearch, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    probe = find_probe(search, photos / "probe.png", (80, 5))
    found = rank(search, probe, [tmp_path / "bad.jpg", photos / "gallery" / "1.png", tmp_path / "gone.jpg"])
    assert [Path(match.source).name for match in found.matches] == ["1.png", "1.png"]
    assert [type(failure) for failure in found.failures] == [ImageError, ImageError]
    assert "bad.jpg" in str(found.failures[0])


def test_a_damaged_scene_is_searched_and_told(search: PersonSearch, photos: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "whole.jpg", read_image(photos / "gallery" / "1.png"))
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "harmed.jpg").write_bytes(data[:-40] + b"\xff\xd9")
    probe = find_probe(search, photos / "probe.png", (80, 5))
    found = rank(search, probe, [tmp_path / "whole.jpg", tmp_path / "harmed.jpg"])
    assert not found.failures
    (sentence,) = found.damaged
    assert sentence.startswith(f"{tmp_path / 'harmed.jpg'} is damaged")


def test_sheet(search: PersonSearch, photos: Path) -> None:
    probe = find_probe(search, photos / "probe.png", (80, 5))
    found = rank(search, probe, [photos / "gallery" / name for name in SCENES])
    drawn = ranking_sheet(probe, found.matches, columns=3)
    assert drawn.shape[0] > 2 * CROP_HW[0]
    # The probe and its first match are the same picture in the same place of neighbouring cells; only one has a frame.
    cell = (drawn.shape[1] - 9) // 3
    rows = slice(40, CROP_HW[0])
    np.testing.assert_array_equal(drawn[rows, 20 : cell - 10], drawn[rows, cell + 20 : 2 * cell - 10])
    yellow = (drawn == rgb(PICKED)).all(-1)
    assert yellow[:, : cell + 5].any()
    assert not yellow[:, cell + 5 :].any()
    assert not yellow[drawn.shape[0] // 2 + 5 :].any()


corners = st.floats(-50, 80)


@given(corners, corners, corners, corners)
def test_crop_is_never_empty(x1: float, y1: float, x2: float, y2: float) -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    height, width = crop(image, np.array([x1, y1, x2, y2], np.float32)).shape[:2]
    assert 1 <= height <= 30
    assert 1 <= width <= 40


@pytest.mark.parametrize(
    ("seconds", "live", "expected"),
    [
        (None, False, ""),
        (0.0, False, "0:00:00.0"),
        (59.96, False, "0:01:00.0"),
        (3671.25, False, "1:01:11.2"),
        (1_700_000_000.5, True, "2023-11-14 22:13:20"),
    ],
)
def test_times(seconds: float | None, live: bool, expected: str) -> None:
    assert Match(0.5, "v.mp4", np.zeros(4, np.float32), 0.9, None, 3, seconds, live=live).time == expected


def told(monkeypatch: pytest.MonkeyPatch, probe: Probe, *matches: Match) -> list[Card]:
    """The cards of a sheet."""
    seen: list[Card] = []
    monkeypatch.setattr(sheet, "picture_grid", lambda cards, columns: seen.extend(cards))
    sheet.ranking_sheet(probe, matches)
    return seen


@pytest.mark.parametrize(
    ("match", "name", "notes"),
    [
        (Match(0.5, "a/shop/v.mp4", NOWHERE, 0.9, None), "v.mp4", ["in shop"]),
        (Match(0.5, "v.mp4", NOWHERE, 0.9, None), "v.mp4", []),
        (Match(0.5, "a/v.mp4", NOWHERE, 0.9, None, 12, 1.2, "Tür"), "v.mp4", ["camera Tür", "0:00:01.2"]),
        (Match(0.5, "rtsp://10.0.0.7/live/1", NOWHERE, 0.9, None, camera="3"), "10.0.0.7/live/1", ["camera 3"]),
        (Match(0.5, "s3://bucket/a.jpg", NOWHERE, 0.9, None), "bucket/a.jpg", []),
    ],
)
def test_what_a_sheet_says(
    match: Match, name: str, notes: list[str], search: PersonSearch, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = find_probe(search, photos / "probe.png", (80, 5))
    first, second, third = told(monkeypatch, probe, match, replace(match, likeness=-0.25))
    assert (first.tag, first.bar, list(first.lines)) == ("probe", None, ["probe.png"])
    assert list(second.lines) == [("#1", "similarity 0.500"), name]
    assert list(second.notes) == notes
    assert (second.tag, second.bar) == ("", 0.5)
    assert third.lines[0] == ("#2", "similarity -0.250")


@pytest.mark.parametrize("hw", [(1, 1), (192, 80), (400, 3), (3, 400), (1000, 900)])
def test_pictures_of_a_sheet_keep_their_proportions(
    hw: tuple[int, int], search: PersonSearch, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = find_probe(search, photos / "probe.png", (80, 5))
    shown = told(monkeypatch, replace(probe, crop=np.zeros((*hw, 3), np.uint8)))[0].picture
    height, width = shown.shape[:2]
    assert height == CROP_HW[0] or width == CROP_HW[1]
    assert 1 <= height <= CROP_HW[0]
    assert 1 <= width <= CROP_HW[1]
    assert abs(height * hw[1] / hw[0] - width) <= 1 + hw[1] / hw[0]


def test_a_gallery(search: PersonSearch, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    from mgts_trt.gallery import Gallery, Space, parse_filter
    from mgts_trt.gallery.indexing.index import index
    from mgts_trt.gallery.indexing.sources import find_sources

    with Gallery.create(tmp_path / "gallery", Space.of(search.bundle, search.mode)) as gallery:
        index(search, find_sources([str(photos)], camera_pattern=r"/(\d)\.png"), gallery)
        probe = find_probe(search, photos / "probe.png", (80, 0, 96, 32))
        found = rank_gallery(gallery, probe, top=3)
        once = rank(search, probe, [photos / "gallery" / name for name in SCENES], top=3)
        # The same as without a gallery; the probe's own photo is in it, but not among the matches.
        assert [match.source for match in found.matches] == [match.source for match in once.matches]
        assert [match.likeness for match in found.matches] == pytest.approx(
            [m.likeness for m in once.matches], abs=1e-6
        )
        assert (found.people, once.people) == (7, 5)
        assert found.matches[0].crop.shape == (HEIGHT, WIDTH, 3)
        with_own = rank_gallery(gallery, probe, include_own=True).matches
        assert {match.source for match in with_own} - {
            match.source for match in rank_gallery(gallery, probe).matches
        } == {str(photos / "probe.png")}
        third = rank_gallery(gallery, probe, where=parse_filter("camera=3")).matches
        assert {(Path(match.source).name, match.camera) for match in third} == {("3.png", "3")}
