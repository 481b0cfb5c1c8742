import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.errors import ImageError, MgtsError
from mgts_trt.machine.files import place_kind
from mgts_trt.pictures.folders import find_images, list_pictures, look_into

PNG = cv2.imencode(".png", np.zeros((2, 3, 3), np.uint8))[1].tobytes()


def put(folder: Path, *names: str, data: bytes = PNG) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def names(folder: Path, **how: object) -> list[str]:
    return [file.relative_to(folder).as_posix() for file, _ in look_into(folder, **how).files]


def test_a_folder(tmp_path: Path) -> None:
    put(tmp_path, "b.JPG", "a.png", "photo", ".hidden.jpg", "below/c.jpeg", "below/d.gif", ".cache/e.jpg", "empty.jfif")
    put(tmp_path, "notes.txt", "more/list.csv", data=b"text\n")
    (tmp_path / "empty.jfif").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    found = look_into(tmp_path)
    listed = [file.relative_to(tmp_path).as_posix() for file, _ in found.files]
    assert listed == ["a.png", "b.JPG", "below/c.jpeg", "below/d.gif", "empty.jfif", "gone.jpg", "photo"]
    assert found.told == ["passed over in folders: 1 .csv, 1 .txt"]
    assert look_into(tmp_path / "notes.txt").files == [(tmp_path / "notes.txt", "picture")]
    assert look_into(tmp_path / "folder.jpg").files == []
    assert find_images(str(tmp_path / "below")) == [tmp_path / "below" / "c.jpeg", tmp_path / "below" / "d.gif"]
    with pytest.raises(ImageError, match="nowhere"):
        look_into(tmp_path / "nowhere")


def test_what_cannot_be_looked_into_is_told(tmp_path: Path, monkeypatch) -> None:
    put(tmp_path, "in/a.png", "closed/b.png", "elsewhere/c.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "closed").rename(tmp_path / "in" / "closed")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = look_into(tmp_path / "in")
    assert [file.name for file, _ in found.files] == ["a.png"]
    told = " ".join(found.unseen)
    assert "closed cannot be looked into: Permission denied" in told
    assert "link is a link to a folder" in told
    assert "circle is a link to a folder" in told


def test_a_place_that_cannot_be_looked_at_is_a_sentence(tmp_path: Path, monkeypatch) -> None:
    for name in ("n" * 300, "nul\0"):
        with pytest.raises(MgtsError, match="Cannot look at"):
            look_into(tmp_path / name)
    (tmp_path / "turn").symlink_to("turn")
    with pytest.raises(MgtsError, match="Too many levels"):
        look_into(tmp_path / "turn")
    assert place_kind(tmp_path / "a.png" / "b") is None
    monkeypatch.setattr(Path, "stat", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(MgtsError, match="Permission denied"):
        place_kind(tmp_path)


def test_names_keep_their_folders_below_what_they_share(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png", "b/deep/2.png", "3.png")

    def listed(*sources: str) -> list[str]:
        return sorted(str(name) for _, name in list_pictures([tmp_path / source for source in sources])[0])

    assert listed("a") == ["1.png"]
    assert listed("a", "b") == ["a/1.png", "b/1.png", "b/deep/2.png"]
    assert listed("a/1.png", "b/1.png") == ["a/1.png", "b/1.png"]
    assert listed("a", "3.png") == ["3.png", "a/1.png"]
    assert listed("a", "a/1.png", "a/../a") == ["1.png"]
    assert listed("b", "b/deep") == ["1.png", "deep/2.png"]


def test_what_detect_drew_is_no_picture_to_search(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "1.png.people.jpg", "out/2.png", "holiday.people.jpg")
    put(tmp_path, "1.png.json", data=b"{}")
    assert names(tmp_path, without=tmp_path / "out") == ["1.png", "holiday.people.jpg"]
    assert "1 drawn by detect" in look_into(tmp_path).passed_over


def test_a_pipe_is_a_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert look_into(tmp_path / "pipe").files == [(tmp_path / "pipe", "picture")]  # and nobody waits for its writer


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    try:
        put(tmp_path, os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    ((file, kind),) = look_into(tmp_path).files
    assert (os.fsencode(file.name), kind) == (b"caf\xe9.png", "picture")
