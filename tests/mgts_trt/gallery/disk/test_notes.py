from pathlib import Path

import pytest

from mgts_trt.gallery.disk.notes import FolderNotes


@pytest.fixture
def notes(tmp_path: Path) -> FolderNotes:
    return FolderNotes(tmp_path / "kept")


def test_a_note_is_there_until_it_is_removed(notes: FolderNotes, tmp_path: Path) -> None:
    assert notes.read("a.one") is notes.stamp("a.one") is None
    assert notes.names("") == []
    notes.change("a.one", lambda text: f"{text}, then é", step="")
    first = notes.stamp("a.one")
    notes.change("a.one", lambda text: f"{text}!", step="")
    assert notes.read("a.one") == "None, then é!"
    assert notes.stamp("a.one") != first
    assert (tmp_path / "kept" / "a.one").stat().st_mode & 0o777 == 0o600
    notes.change("b.two", lambda _: "", step="")
    assert notes.names(".one") == ["a.one"]
    notes.remove("a.one")
    notes.remove("a.one")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["b.two"]


def test_what_fails_leaves_what_was(notes: FolderNotes, tmp_path: Path) -> None:
    notes.change("a", lambda _: "old", step="")
    with pytest.raises(ZeroDivisionError):
        notes.change("a", lambda _: str(1 / 0), step="")
    assert notes.read("a") == "old"
    (tmp_path / "kept" / "a").write_bytes(b"\xff")
    assert notes.read("a") == "�"
