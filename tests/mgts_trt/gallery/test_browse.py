from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.gallery import Gallery, parse_filter
from mgts_trt.gallery.browse import CameraSeen, SourceSeen, overview, people_page, person_with_embedding
from tests.helpers.stored_people import SPACE, entry


@pytest.fixture
def gallery(tmp_path: Path):
    """A video of camera 1 at its end, a picture of no camera and nobody, and one of two cameras."""
    with Gallery.create(tmp_path / "gallery", SPACE) as opened:
        opened.add([entry(number, camera="1") for number in (7, 2, 1)])
        opened.end_video("/a/video.mp4", "5" * 64, 8)
        opened.add([entry(0, 0, source="/a/empty.jpg", time=None)])
        opened.add([entry(0, 2, source="/B/door.jpg", time=5e8, camera=camera, sha256=camera * 64) for camera in "23"])
        yield opened


def test_pages_hold_everybody_once_and_in_order(gallery: Gallery) -> None:
    pages = [people_page(gallery, offset=offset, limit=3) for offset in range(0, 12, 3)]
    assert {page.total for page in pages} == {3 + 2 + 1 + 4}
    people = [person for page in pages for person in page.people]
    assert [len(page.people) for page in pages] == [3, 3, 3, 1]
    assert len({person.id for person in people}) == 10
    assert [(person.source, person.number) for person in people[:5]] == [("/B/door.jpg", 0)] * 4 + [("/a/video.mp4", 1)]
    assert [person.number for person in people[4:]] == [1, 2, 2, 7, 7, 7]


def test_a_page_of_a_filter(gallery: Gallery) -> None:
    page = people_page(gallery, parse_filter("camera=1,number>1"), offset=1, limit=2)
    assert (page.total, [person.number for person in page.people]) == (5, [2, 7])
    assert people_page(gallery, parse_filter("camera=nobody")) == ([], 0)


def test_overview(gallery: Gallery) -> None:
    seen = overview(gallery)
    assert seen.cameras() == [
        CameraSeen("1", 3, 6, 0.5, 3.5),
        CameraSeen("2", 1, 2, 5e8, 5e8),
        CameraSeen("3", 1, 2, 5e8, 5e8),
        CameraSeen(None, 1, 0, None, None),
    ]
    door = SourceSeen("/B/door.jpg", ["2", "3"], 2, 4, 5e8, 5e8)
    empty = SourceSeen("/a/empty.jpg", [], 1, 0, None, None)
    video = SourceSeen("/a/video.mp4", ["1"], 3, 6, 0.5, 3.5)
    assert seen.sources() == ([door, empty, video], 3)
    assert seen.sources(offset=1, limit=1) == ([empty], 3)
    assert seen.sources("DOOR") == ([door], 1)
    assert seen.sources("%") == ([], 0)
    assert seen.has("/a/empty.jpg")
    assert not seen.has("/a/empty")


def test_overview_of_nothing(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "gallery", SPACE) as gallery:
        assert overview(gallery).cameras() == []
        assert overview(gallery).sources() == ([], 0)
        assert people_page(gallery) == ([], 0)


def test_a_persons_embedding(gallery: Gallery) -> None:
    for person, embedding in gallery.rows():
        found, vector = person_with_embedding(gallery, person.id)
        assert found.id == person.id
        assert vector == pytest.approx(embedding, abs=1e-6)
        assert np.linalg.norm(vector) == pytest.approx(1)
    assert person_with_embedding(gallery, "nobody' OR '1'='1") is None
