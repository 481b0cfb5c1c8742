import json
import multiprocessing
from pathlib import Path

import pytest

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.disk.notes import FolderNotes
from mgts_trt.gallery.disk.tombstones import Tombstones

NAME, CONTENT = "/photos/ann.jpg", "a" * 64


@pytest.fixture
def stones(tmp_path: Path) -> Tombstones:
    stones = Tombstones(FolderNotes(tmp_path / "keeping"))
    stones.add(stones.make(NAME, [CONTENT, "b" * 64]))
    return stones


@pytest.mark.parametrize(
    ("source", "sha256", "covered"),
    [
        (NAME, CONTENT, True),
        (NAME, "", True),
        (NAME, "c" * 64, True),  # the name alone
        ("/copy.jpg", CONTENT, True),  # the content alone
        ("/copy.jpg", "b" * 64, True),
        ("/copy.jpg", "c" * 64, False),
        ("/copy.jpg", "", False),
        (CONTENT, "", False),  # a name is no content
        ("/copy.jpg", NAME, False),
    ],
)
def test_what_was_forgotten_stays_out(stones: Tombstones, source: str, sha256: str, covered: bool) -> None:
    assert stones.cover(source, sha256) == covered
    other = "/x", ""
    assert stones.let_in([(source, sha256), other], lambda each: each) == [*[(source, sha256)][covered:], other]


@pytest.mark.parametrize("lifted", [(NAME, ""), ("/copy.jpg", "b" * 64)])
def test_it_is_let_in_again(stones: Tombstones, lifted: tuple[str, str]) -> None:
    stones.add(stones.make("/other.jpg", ["d" * 64]))
    stones.add(stones.make("/other.jpg", ["d" * 64]))
    assert len(stones) == 2
    assert stones.lift(*lifted) == 1
    assert stones.lift(*lifted) == 0
    assert not stones.cover(NAME, CONTENT)
    assert stones.cover("/other.jpg")


def test_nothing_stands_in_clear_or_is_the_same_elsewhere(stones: Tombstones, tmp_path: Path) -> None:
    (file,) = (tmp_path / "keeping").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert "ann" not in text
    assert CONTENT not in text
    elsewhere = Tombstones(FolderNotes(tmp_path / "elsewhere"))
    assert elsewhere.make(NAME, [CONTENT]) != stones.make(NAME, [CONTENT])


def test_another_process_sees_it_at_once(stones: Tombstones, tmp_path: Path) -> None:
    other = Tombstones(FolderNotes(tmp_path / "keeping"))
    assert not other.cover("/later.jpg")
    process = multiprocessing.get_context("fork").Process(target=lambda: stones.add(stones.make("/later.jpg", [])))
    process.start()
    process.join()
    assert other.cover("/later.jpg")
    assert stones.cover("/later.jpg")


def test_a_stream_has_no_content(tmp_path: Path) -> None:
    stones = Tombstones(FolderNotes(tmp_path / "k"))
    stones.add(stones.make("rtsp://10.0.0.4/live", [""]))
    assert stones.cover("rtsp://10.0.0.4/live")
    assert not stones.cover("rtsp://10.0.0.5/live", "")


def test_a_name_that_is_no_address_keeps_no_other_picture_out(tmp_path: Path) -> None:
    stones = Tombstones(FolderNotes(tmp_path / "k"))
    stones.add(stones.make("image.jpg", [CONTENT]))
    assert stones.cover("image.jpg", CONTENT)
    assert not stones.cover("image.jpg", "c" * 64)
    assert stones.lift("image.jpg", CONTENT) == 1


def test_without_notes_nobody_is_remembered() -> None:
    stones = Tombstones(None)
    assert stones.make(NAME, [CONTENT]) is None
    assert not stones.cover(NAME, CONTENT)
    assert len(stones) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"key": "xx", "stones": []}), json.dumps({"key": "00"})])
def test_damage_lets_nobody_in(stones: Tombstones, tmp_path: Path, text: str) -> None:
    (tmp_path / "keeping" / "forgotten").write_text(text)
    with pytest.raises(GalleryError, match="Bring it back"):
        stones.cover(NAME)
