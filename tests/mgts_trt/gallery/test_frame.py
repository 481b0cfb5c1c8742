from dataclasses import replace

import pytest

from mgts_trt.gallery import Frame, Gallery, parse_filter
from tests.helpers.stored_people import SPACE, entry, unit

pytest.importorskip("lancedb")

URL = "rtsp://zoe:Kq#Vw@cam/1"


def test_no_row_holds_a_password(tmp_path) -> None:
    assert Frame(URL) == Frame("rtsp://cam/1")
    assert Frame("/a@b:c@d.jpg").source == "/a@b:c@d.jpg"
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        gallery.add([entry(3, source=URL), entry(1, source="/a.jpg")])
        assert {person.source for person, _ in gallery.rows()} == {"rtsp://cam/1", "/a.jpg"}
        assert gallery.forget(URL) == 3
        assert gallery.count() == 1


def test_older_rows_show_none(tmp_path) -> None:
    old = entry(3)
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        frame = replace(old.frame)
        object.__setattr__(frame, "source", URL)  # as rows were written once
        gallery.add([replace(old, frame=frame)])
        (person, *_) = gallery.search(unit(3, rows=3)[0], where=parse_filter("source~zoe"))
        assert person.source == "rtsp://cam/1"
        assert gallery.forget(URL) == 3
