from pathlib import Path

import pytest

from mgts_trt.annotating.inputs import Input, check_names, find_inputs
from mgts_trt.errors import MgtsError
from tests.helpers.camera_scenes import write_scenes, write_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "in" / "photos", range(2))
    (tmp_path / "in" / "films").mkdir()
    write_video(tmp_path / "in" / "films" / "a.avi", range(2))
    write_video(tmp_path / "in" / "films" / "b.avi", range(2))
    (tmp_path / "in" / "notes.txt").write_text("of no interest")
    return tmp_path / "in"


def test_folders_patterns_webcams_and_streams(folder: Path, tmp_path: Path) -> None:
    found, beside = find_inputs([str(folder), "0", "rtsp://me:secret@door/1?a=b", "/dev/video3"], out=tmp_path / "out")
    assert [(each.kind, str(each.name)) for each in found] == [
        ("video", "films/a.avi"),
        ("video", "films/b.avi"),
        ("picture", "photos/0000.png"),
        ("picture", "photos/0001.png"),
        ("webcam", "video0"),
        ("stream", "door_1_a_b"),
        ("webcam", "video3"),
    ]
    assert found[5].source == found[5].key == "rtsp://door/1?a=b"
    assert beside.others == {".txt": 1}
    found, _ = find_inputs([f"{folder}/**/*.avi", f"{folder}/films/a.avi"], out=tmp_path / "out")
    assert [each.name.name for each in found] == ["a.avi", "b.avi"]


def test_results_are_told_by_their_names() -> None:
    out = Path("out")
    assert Input("a.jpg", "picture", Path("a.jpg")).results(out) == (
        Path("out/a.jpg.json"),
        Path("out/a.jpg.people.jpg"),
    )
    assert Input("a.mp4", "video", Path("a.mp4")).results(out) == (
        Path("out/a.mp4.jsonl"),
        Path("out/a.mp4.people.mp4"),
    )


def test_what_is_live_writes_over_nothing(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        (found,), _ = find_inputs(["http://door/live"], out=tmp_path)
        names.append(str(found.name))
        found.results(tmp_path)[0].touch()
    assert names == ["door_live", "door_live.2", "door_live.3"]


def test_drawn_videos_are_passed_over(folder: Path, tmp_path: Path) -> None:
    for name in ("a.avi.people.mp4", "a.avi.jsonl", "lone.people.mp4"):
        (folder / "films" / name).write_bytes(b"\0\0\0\x18ftypmp42" if name.endswith(".mp4") else b"{}\n")
    found, beside = find_inputs([str(folder / "films")], out=tmp_path)
    assert [each.name.name for each in found] == ["a.avi", "b.avi", "lone.people.mp4"]
    assert beside.drawn == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nowhere.mp4", "There is no nowhere.mp4"),
        ("*.mp4", r"Nothing matches \*.mp4"),
        (".", "No pictures in .*, and no videos .*passed over in folders: 1 .txt"),
        ("rtsp://me:a/b@door/", "cannot be read"),
    ],
)
def test_what_is_nothing(tmp_path: Path, monkeypatch, argument: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("of no interest")
    with pytest.raises(MgtsError, match=message):
        find_inputs([argument], out=tmp_path / "out")


def test_a_file_is_nearer_than_a_webcam(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_scenes(tmp_path, range(1))[0].rename(tmp_path / "0")
    (found,), _ = find_inputs(["0"], out=tmp_path / "out")
    assert found.kind == "picture"


def test_no_result_takes_anothers_place(folder: Path, tmp_path: Path) -> None:
    urls = ["http://door/a/b", "http://door/a_b"]
    inputs, _ = find_inputs(urls, out=tmp_path)
    with pytest.raises(MgtsError, match="over what belongs to http://door/a/b"):
        check_names(inputs, tmp_path)
    check_names(inputs[:1], tmp_path)
