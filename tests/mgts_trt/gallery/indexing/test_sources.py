import os
from pathlib import Path

import pytest

from mgts_trt.errors import SourceError
from mgts_trt.gallery.indexing.sources import Source, find_sources, from_lists


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "day/c.mp4", "day/d.webp", ".hidden/e.jpg", ".f.jpg", "empty/.keep"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["b.jpg"], ["b.jpg"]),
        (["notes.txt"], ["notes.txt"]),  # named itself, it is read whatever its name
        (["."], ["a.PNG", "b.jpg", "day/c.mp4", "day/d.webp"]),
        (["day", "b.jpg"], ["day/c.mp4", "day/d.webp", "b.jpg"]),
        (["b.jpg", "./b.jpg", "."], ["b.jpg", "a.PNG", "day/c.mp4", "day/d.webp"]),
        (["*.jpg"], ["b.jpg"]),
        (["**/*.w*"], ["day/d.webp"]),
        (["d?y"], ["day/c.mp4", "day/d.webp"]),
        (["*"], ["a.PNG", "b.jpg", "day/c.mp4", "day/d.webp"]),
    ],
)
def test_files(folder: Path, arguments: list[str], expected: list[str]) -> None:
    found = find_sources(arguments)
    assert [os.path.relpath(source.location, folder) for source in found] == expected
    assert all((source.kind == "video") == source.location.endswith(".mp4") for source in found)


def test_a_file_url(folder: Path) -> None:
    (folder / "two words.jpg").touch()
    found = find_sources([f"file://{folder}/two%20words.jpg"])
    assert found == [Source(str(folder / "two words.jpg"), "picture")]


def test_a_file_whose_name_looks_like_a_pattern(folder: Path) -> None:
    (folder / "[1].jpg").touch()
    assert [Path(source.location).name for source in find_sources(["[1].jpg"])] == ["[1].jpg"]


def test_a_streams_name_holds_no_password() -> None:
    (stream,) = find_sources(["rtsp://ann:s3cret@10.0.0.1:554/live?channel=1"], camera="door")
    assert stream == Source("rtsp://ann:s3cret@10.0.0.1:554/live?channel=1", "stream", "door")
    assert stream.name == "rtsp://10.0.0.1:554/live?channel=1"
    assert "s3cret" not in repr(stream)
    (stream,) = find_sources(["rtsp://ann:s3cret@cam/1"], camera_pattern="//(.*)/")
    assert stream.camera == "cam"


def test_cameras(tmp_path: Path) -> None:
    for name in ("0002_c1s1_000451.jpg", "0002_c6s4_000001.jpg", "other.jpg"):
        (tmp_path / name).touch()
    found = find_sources([str(tmp_path)], camera="x", camera_pattern=r"_c(\d)s")
    assert [source.camera for source in found] == ["1", "6", "x"]


@pytest.mark.parametrize(
    ("arguments", "pattern", "message"),
    [
        (["nowhere"], None, "There is no nowhere. Name photos"),
        (["empty"], None, "Nothing to index in empty: neither picture"),
        (["*.bmp"], None, r"Nothing matches \*\.bmp"),
        (["gopher://x"], None, "Protocol not known: gopher"),
        (["rtsp://[::1/x"], None, r"rtsp://\[::1/x cannot be read. .* IPv6 address in brackets"),
        (["rtsp://ann:p#w@cam/1"], None, r"rtsp://cam/1 cannot be read. .* %23 for #"),
        (["s3://key:p/w@bucket/a.jpg"], None, r"s3://bucket/a.jpg cannot be read. .* %2F for /"),
        (["file://[/nowhere"], None, "There is no /nowhere"),
        (["b.jpg"], "_c(", "is no regular expression"),
        (["b.jpg"], "_c", "has no group"),
    ],
)
def test_what_cannot_be_indexed(folder: Path, arguments: list[str], pattern: str | None, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        find_sources(arguments, camera_pattern=pattern)


def test_a_cameras_name_is_utf8(folder: Path) -> None:
    with pytest.raises(SourceError, match="is not written in UTF-8"):
        find_sources(["b.jpg"], camera=os.fsdecode(b"caf\xe9"))


def test_a_list_stands_for_its_lines(folder: Path) -> None:
    (folder / "cameras").write_text("# the yard\nrtsp://me:secret@camera/1\n\n  rtsp://camera/2  \n")
    assert from_lists(["b.jpg", "@cameras", "day"]) == ["b.jpg", "rtsp://me:secret@camera/1", "rtsp://camera/2", "day"]
    (folder / "@b.jpg").touch()
    assert from_lists(["@b.jpg"]) == ["@b.jpg"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "Cannot read the list of sources cameras: No such file"),
        (b"\xff\xfe", "it is no text in UTF-8"),
        (b"# none\n", "names no source"),
    ],
)
def test_a_list_that_is_none_is_refused(folder: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (folder / "cameras").write_bytes(content)
    with pytest.raises(SourceError, match=told):
        from_lists(["@cameras"])
