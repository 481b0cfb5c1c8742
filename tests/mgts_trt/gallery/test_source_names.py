import os
from pathlib import Path

import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.source_names import find_source, short_names

ALL = [
    "/shop/day 1/a.jpg", "/shop/day 2/a.jpg", "/shop/day 2/b.jpg", "front door.jpg", "up/load.jpg",
    "rtsp://cam/1?x=2", "s3://bucket/c.jpg", "file:///shop/caf%E9.jpg",
]  # fmt: skip


@pytest.fixture
def gallery(monkeypatch, tmp_path: Path):
    """A gallery of these sources, as far as names are asked for."""
    pa = pytest.importorskip("pyarrow")
    column = pa.table({"source": ALL})

    class Names:
        url = "g"
        tables = (type("T", (), {"search": lambda s: s, "select": lambda s, _: s, "to_arrow": lambda s: column})(),)

    return Names()


@pytest.mark.parametrize(
    ("text", "source"),
    [
        *((name, name) for name in ALL),
        ("b.jpg", "/shop/day 2/b.jpg"),
        ("day 1/a.jpg", "/shop/day 1/a.jpg"),
        ("/shop/day 1/../day 2/b.jpg", "/shop/day 2/b.jpg"),
        ("file:///shop/day%201/a.jpg", "/shop/day 1/a.jpg"),
        ("file://localhost/shop/day%201/a.jpg", "/shop/day 1/a.jpg"),
        ("rtsp://ann:s3cret@cam/1?x=2", "rtsp://cam/1?x=2"),
        ("load.jpg", "up/load.jpg"),
        (os.fsdecode(b"/shop/caf\xe9.jpg"), "file:///shop/caf%E9.jpg"),
    ],
)
def test_a_source_is_found_by_all_it_is_called(gallery, text: str, source: str) -> None:
    assert find_source(gallery, text) == source


def test_a_relative_path(gallery, monkeypatch) -> None:
    monkeypatch.setattr(os, "getcwd", lambda: "/shop/day 2")
    assert find_source(gallery, "./a.jpg") == "/shop/day 2/a.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg", "may be any of 2 sources: /shop/day 1/a.jpg, /shop/day 2/a.jpg"),
        (".jpg", "has nothing of .jpg"),
        ("rtsp://ann:s3cret@other/1", "has nothing of rtsp://other/1"),
        ("nul\0", "has nothing of"),
    ],
)
def test_what_stands_for_none_or_several(gallery, text: str, message: str) -> None:
    with pytest.raises(GalleryError, match=message):
        find_source(gallery, text)


def test_short_names_of_all_kinds_together_are_found_again(gallery) -> None:
    shown = short_names(ALL)
    assert shown[:4] == ["day 1/a.jpg", "day 2/a.jpg", "day 2/b.jpg", "front door.jpg"]
    assert [find_source(gallery, name) for name in shown] == ALL
    assert short_names([]) == []
    assert short_names(["up/load.jpg"]) == ["up/load.jpg"]
