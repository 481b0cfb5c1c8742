import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.gallery.indexing.video import video_frames
from mgts_trt.pictures.hiding import COVER
from mgts_trt.pictures.image import read_image
from tests.helpers.camera_scenes import camera, write_video
from tests.helpers.paths import ROOT


def test_detect_a_folder_with_a_broken_picture(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(photo, folder / "a.png")
    shutil.copy(photo, folder / "sub" / "b.PNG")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    code, out, err = run("detect", folder, "-b", pristine, "-o", tmp_path / "out", "--mode", "net")
    assert code == 0
    assert "2 people in 2 of 3 pictures" in " ".join(out.split())
    assert "broken.jpg" in err
    found = json.loads((tmp_path / "out" / "sub" / "b.PNG.json").read_text())
    assert found["people"][0]["box"] == pytest.approx([32, 0, 64, 64])
    assert found["people"][0]["mask"] == "instance"
    assert len(found["people"][0]["embedding"]) == 128
    assert cv2.imread(str(tmp_path / "out" / "a.png.people.jpg")).shape == (128, 192, 3)

    code, _, _ = run(
        "detect", folder, "-b", pristine, "-o", tmp_path / "out2", "--strict", "--no-draw", "--no-embeddings"
    )
    assert code == 1
    assert not list((tmp_path / "out2").rglob("*.jpg"))
    assert "embedding" not in json.loads((tmp_path / "out2" / "a.png.json").read_text())["people"][0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "x.jpg"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_text("hello, I am text"), "x.jpg"),
        (lambda p: p.mkdir(), "No pictures in"),
    ],
)
def test_detect_of_what_is_no_picture(run, pristine: Path, tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "x.jpg")
    code, _, err = run("detect", tmp_path / "x.jpg", "-b", pristine, "-o", tmp_path / "out")
    assert code == 2
    assert message in err
    assert not list(tmp_path.glob("out/*.json"))


def test_detect_keeps_pictures_of_one_name_apart(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(photo, tmp_path / folder / "1.png")
    code, out, _ = run("detect", tmp_path / "a", tmp_path / "b", "-b", pristine, "-o", tmp_path / "out")
    assert code == 0
    assert "2 of 2 pictures" in out
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("*.json")) == ["a", "b"]


def test_detect_writes_over_no_picture(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    for name in ("1.png", "1.png.people.jpg", "1.png.json"):
        shutil.copy(photo, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, _, err = run("detect", *sorted(before), "-b", pristine, "-o", tmp_path)
    assert code == 2
    assert "over what belongs to" in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_detect_twice_finds_the_same_pictures(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    shutil.copy(photo, tmp_path / "1.png")
    for out_folder in (tmp_path / "out", tmp_path, tmp_path):
        code, out, _ = run("detect", tmp_path, "-b", pristine, "-o", out_folder)
        assert code == 0
        assert "1 of 1 pictures" in out
    code, out, err = run("detect", tmp_path, "-b", pristine, "-o", tmp_path / "other")
    assert "1 of 1 pictures" in out
    assert "drawn by detect" in err


def test_a_result_that_cannot_be_written_costs_itself(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photo, folder / "fine.png")
    shutil.copy(photo, folder / f"{'n' * 248}.png")
    cv2.imwrite(str(folder / "wide.png"), np.zeros((8, 66_000, 3), np.uint8))
    code, out, err = run("detect", folder, "-b", pristine, "-o", tmp_path / "out", "--people", 2)
    assert code == 0
    assert "1 of 3 pictures" in out
    assert "File name too long" in err
    assert "JPEG holds at most" in err
    assert (tmp_path / "out" / "fine.png.people.jpg").exists()
    assert (tmp_path / "out" / "wide.png.json").exists()
    assert run("detect", folder, "-b", pristine, "-o", tmp_path / "out", "--strict")[0] == 1


def test_memory_that_is_not_there_costs_one_picture(run, pristine, photo, tmp_path: Path, monkeypatch) -> None:
    from mgts_trt.runtime.people import People

    drawn, draw = [], People.draw

    def scarce(people: People, image: np.ndarray) -> np.ndarray:
        drawn.append(image)
        if len(drawn) == 1:
            raise MemoryError
        return draw(people, image)

    monkeypatch.setattr(People, "draw", scarce)
    for name in ("1.png", "2.png"):
        shutil.copy(photo, tmp_path / name)
    code, out, err = run("detect", tmp_path, "-b", pristine, "-o", tmp_path / "out")
    assert code == 0
    assert "1 of 2 pictures" in out
    assert "1.png: there is not enough memory" in err


@pytest.mark.parametrize("name", ["o[red]y", "o[-x]", ":car:", "two\nlines", "a\x1b[31mb", os.fsdecode(b"caf\xe9")])
def test_detect_of_an_awkward_name(run, pristine: Path, photo: Path, tmp_path: Path, name: str) -> None:
    try:
        shutil.copy(photo, tmp_path / f"{name}.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    (tmp_path / f"{name}.jpg").write_bytes(b"")
    code, out, err = run("detect", tmp_path, "-b", pristine, "-o", tmp_path / name)
    assert code == 0
    assert "1 of 2 pictures" in out
    assert "\x1b" not in out + err
    assert json.loads((tmp_path / name / f"{name}.png.json").read_text())["file"] == str(tmp_path / f"{name}.png")


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="/dev/stdin is a Unix's")
def test_a_photo_from_standard_input(pristine: Path, photo: Path, tmp_path: Path) -> None:
    for command in (
        f"detect /dev/stdin -b {pristine} -o out",
        f"search -b {pristine} -q /dev/stdin@1,1,50,60 -g {photo}",
    ):
        line = f"{sys.executable} -m mgts_trt {command} -b {pristine} < {photo}"
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "stdin.json").read_text())["people"]


def test_a_folder_for_results_is_looked_at_first(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run("detect", photo, "-b", tmp_path / "no-bundle", "-o", tmp_path / "file")
    assert code == 2
    assert "it is a file, and a folder is expected" in err


def test_a_damaged_photo_is_searched_and_told(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    whole = cv2.imencode(".jpg", cv2.imread(str(photo)))[1].tobytes()
    (folder / "whole.jpg").write_bytes(whole)
    (folder / "harmed.jpg").write_bytes(whole[:-40] + b"\xff\xd9")
    words = ("detect", folder, "-b", pristine, "-o", tmp_path / "out")
    code, out, err = run(*words)
    assert code == 0
    assert "in 2 of 2 pictures" in " ".join(out.split())
    assert "harmed.jpg is damaged" in " ".join(err.split())
    assert "whole.jpg" not in err
    assert json.loads((tmp_path / "out" / "whole.jpg.json").read_text())["damage"] is None
    assert "premature end of data" in json.loads((tmp_path / "out" / "harmed.jpg.json").read_text())["damage"]
    assert run(*words, "--strict")[0] == 1
    (folder / "harmed.jpg").unlink()
    assert run(*words, "--strict")[0] == 0


def test_photos_and_videos_of_a_pattern(run, pristine: Path, photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    shutil.copy(photo, tmp_path / "1.png")
    write_video(tmp_path / "1.avi", range(6))
    code, out, _ = run("detect", tmp_path / "1*", "-b", pristine, "-o", tmp_path / "out", "--every", 2)
    assert code == 0
    assert "in 1 of 1 pictures and 3 frames of 1 video, mode net" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "1.avi.jsonl", "1.avi.people.mp4", "1.png.json", "1.png.people.jpg",
    ]  # fmt: skip
    code, out, err = run("detect", tmp_path / "1.avi", "-b", pristine, "-o", tmp_path / "out", "--no-track")
    assert code == 0
    assert "boxes in 6 frames of 1 video, mode none" in out
    (tmp_path / "no.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    words = ("detect", tmp_path / "no.mp4", tmp_path / "1.avi", "-b", pristine, "-o", tmp_path / "out", "--strict")
    code, out, err = run(*words)
    assert code == 1
    assert "6 frames of 2 videos" in out
    assert "no.mp4 is not a video OpenCV can read" in err
    code, out, err = run("detect", tmp_path / "no.mp4", "-b", pristine, "-o", tmp_path / "out")
    assert code == 2
    assert "is not a video" in err


def test_without_the_package_that_writes_videos(run, pristine: Path, tmp_path: Path, monkeypatch) -> None:
    write_video(tmp_path / "1.avi", range(2))
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "mgts_trt.annotating.mp4", raising=False)
    code, _, err = run("detect", tmp_path / "1.avi", "-b", pristine, "-o", tmp_path / "out")
    assert code == 2
    assert "This needs the package av, which is not installed. Install it: pip install" in err
    code, out, _ = run("detect", tmp_path / "1.avi", "-b", pristine, "-o", tmp_path / "out", "--no-draw")
    assert code == 0
    assert "2 frames of 1 video" in out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1.avi.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_whole_files(pristine: Path, tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("av")
    with camera() as running:
        line = ["detect", running.url, "-b", str(pristine), "-o", "out"]
        with subprocess.Popen(
            [sys.executable, "-m", "mgts_trt", *line],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            lines: list[Path] = []
            while process.poll() is None and not (lines and lines[0].read_text().count("\n") >= 10):
                time.sleep(0.01)
                lines = list(tmp_path.glob("out/*.jsonl"))
            process.send_signal(number)
            out, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert "Interrupted; the files hold what had been searched." in out
    told = [json.loads(line) for line in lines[0].read_text().splitlines()]
    frames = list(video_frames(str(next(tmp_path.glob("out/*.people.mp4"))), lambda number: True))
    assert len(frames) == len(told) >= 10
    assert f"{len(told)} frames of 1 video" in out
    assert [frame.seconds for frame in frames] == pytest.approx(
        [line["time"] - told[0]["time"] for line in told], abs=0.2
    )


def _covered(path: Path) -> list[bool]:
    """Whether the cells that people stand in are."""
    picture = read_image(path).astype(int)
    return [bool(np.abs(picture[24:58, x + 9 : x + 23] - COVER).max() <= 12) for x in (0, 96)]


def test_everybody_is_hidden_but_the_one_asked_for(run, pristine: Path, tmp_path: Path) -> None:
    folder, image = tmp_path / "in", np.full((128, 192, 3), 60, np.uint8)
    folder.mkdir()
    image[:64, :32], image[:64, 96:128] = 255, (255, 255, 0)
    whole = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    secret = b"Exif\0\0" + b"where it was taken"
    (folder / "a.jpg").write_bytes(whole[:2] + b"\xff\xe1" + (len(secret) + 2).to_bytes(2, "big") + secret + whole[2:])
    words = ("detect", folder, "-b", pristine, "-o", tmp_path / "out")
    drawn = tmp_path / "out" / "a.jpg.people.jpg"
    query = f"{folder}/a.jpg@100,5"
    for options, covered in (
        ((), [False, False]),
        (("--blur",), [True, True]),
        (("--blur-others", query, "--likeness", 0.99), [True, False]),
    ):
        code, _, err = run(*words, *options)
        assert code == 0, err
        assert _covered(drawn) == covered
        assert b"where it was taken" not in drawn.read_bytes()
        people = json.loads((tmp_path / "out" / "a.jpg.json").read_text())["people"]
        assert ("embedding" in people[0]) == (not options)
        assert sorted(row["box"][0] for row in people if row.get("hidden")) == [
            x for x, hidden in zip((0, 96), covered, strict=True) if hidden
        ]
    for options, message in (
        (("--blur", "--blur-others", query, "--far", 1e-3), "Give one of them"),
        (("--blur-others", query), "Give one of --far"),
        (("--blur-others", query, "--far", 1e-3), "not calibrated"),
        (("--likeness", 0.5), "Name that person"),
        (("--blur", "--people", 3), "would not be covered"),
        (("--blur", "--masks"), "outlines of people"),
    ):
        code, _, err = run(*words, *options)
        assert (code, message in err) == (2, True), err
