import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgts_trt.annotating.annotate import Report, annotate
from mgts_trt.annotating.inputs import find_inputs
from mgts_trt.annotating.results import Wanted, fitting_mode
from mgts_trt.errors import MgtsError
from mgts_trt.gallery.indexing.reading import LiveOptions
from mgts_trt.gallery.indexing.video import video_frames
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.stream import ReadAhead
from tests.helpers.camera_scenes import camera, scene, write_scenes, write_video
from tests.helpers.video_files import write_film

pytest.importorskip("av")

SCALE = 4


def large(seed: int) -> np.ndarray:
    """A scene whose boxes are wide enough for strokes to be told from what is inside."""
    return scene(seed).repeat(SCALE, 0).repeat(SCALE, 1)


def write_large(path: Path, seeds: list[int]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96 * SCALE, 64 * SCALE))
    for seed in seeds:
        writer.write(np.ascontiguousarray(large(seed)[..., ::-1]))
    writer.release()


@pytest.fixture
def run(search: PersonSearch, tmp_path: Path):
    """Annotate what is named into `tmp_path / "out"`."""

    def _run(*arguments: object, **options) -> Report:
        inputs, _ = find_inputs([str(argument) for argument in arguments], out=tmp_path / "out")
        return annotate(search, inputs, tmp_path / "out", **options)

    return _run


def lines_of(path: Path) -> list[dict]:
    text = path.read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def frames_of(path: Path) -> list:
    return list(video_frames(str(path), lambda number: True))


@pytest.mark.parametrize("masks", [None, True])
@pytest.mark.parametrize("every", [1, 3])
def test_a_video_is_drawn_where_its_lines_say(run, search, tmp_path: Path, every: int, masks) -> None:
    seeds = [3, 3, 3, 9, 3, 5, 5, 5]
    write_large(tmp_path / "film.avi", seeds)
    progress: list[tuple[int, int | None]] = []
    report = run(
        tmp_path / "film.avi",
        every=every,
        wanted=Wanted(masks=masks),
        on_progress=lambda report: progress.append((report.searched, report.expected)),
    )
    numbers = list(range(0, len(seeds), every))
    lines, frames = lines_of(tmp_path / "out/film.avi.jsonl"), frames_of(tmp_path / "out/film.avi.people.mp4")
    assert [line["number"] for line in lines] == numbers
    assert [line["time"] for line in lines] == pytest.approx([number / 10 for number in numbers])
    assert [frame.seconds for frame in frames] == pytest.approx([number / 10 for number in numbers], abs=1.1e-3)
    assert progress[-1] == (len(numbers), len(numbers))
    original = {frame.number: frame.image for frame in frames_of(tmp_path / "film.avi")}
    for line, frame in zip(lines, frames, strict=True):
        assert line["source"] == str(tmp_path / "film.avi")
        assert line["image"] == {"height": 256, "width": 384}
        found = search(original[line["number"]])
        assert [row["box"] for row in line["people"]] == [pytest.approx(box, abs=0.01) for box in found.boxes.tolist()]
        assert [row["score"] for row in line["people"]] == pytest.approx(found.scores.tolist(), abs=1e-5)
        changed = np.abs(frame.image.astype(int) - original[line["number"]]).max(2) > 60
        around = np.zeros((256, 384), bool)
        for x1, y1, x2, y2 in (np.rint(row["box"]).astype(int) for row in line["people"]):
            around[max(y1 - 24, 0) : y2 + 5, max(x1 - 5, 0) : x2 + 60] = True  # with the labels
            assert changed[y1 + 30 : y2 - 4, x1].mean() > 0.9
        assert not changed[~around].any()
    assert (report.frames, report.photos, report.failures) == (len(numbers), 0, [])
    assert report.people == sum(len(line["people"]) for line in lines)
    tracks = [row["track"] for line in lines for row in line["people"]]
    assert report.tracks == len(set(tracks))
    if every == 1:
        assert len({tuple(row["track"] for row in line["people"]) for line in lines[:3]}) == 1
    assert not any("embedding" in row for line in lines for row in line["people"])


def test_masks_are_drawn_where_asked_for(run, search, tmp_path: Path) -> None:
    write_large(tmp_path / "film.avi", [3])
    shown = {}
    for masks in (False, True):
        run(tmp_path / "film.avi", wanted=Wanted(masks=masks, track=False, embeddings=True))
        shown[masks] = frames_of(tmp_path / "out/film.avi.people.mp4")[0].image.astype(int)
    (line,) = lines_of(tmp_path / "out/film.avi.jsonl")
    assert not any("track" in row for row in line["people"])
    people = search(frames_of(tmp_path / "film.avi")[0].image)
    assert [row["embedding"] for row in line["people"]] == [pytest.approx(row, abs=1e-5) for row in people.embeddings]
    mask = cv2.erode(people.mask(0).view(np.uint8), np.ones((25, 25))).astype(bool)
    assert mask.any()
    assert np.abs(shown[True] - shown[False])[mask].max(1).mean() > 30
    assert np.abs(shown[True] - shown[False])[~people.masks.any(0)].mean() < 8


def test_a_broken_video_costs_itself_alone(run, tmp_path: Path) -> None:
    film = write_film(tmp_path / "cut.mp4", range(30))
    (tmp_path / "cut.mp4").write_bytes(film[: len(film) // 2])
    (tmp_path / "no.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    write_video(tmp_path / "whole.avi", range(4))
    write_scenes(tmp_path / "z", range(2))
    report = run(*(tmp_path / name for name in ("cut.mp4", "no.mp4", "whole.avi", "z")))
    failed = {Path(failure.source).name: str(failure.error) for failure in report.failures}
    assert sorted(failed) == ["cut.mp4", "no.mp4"]
    assert "cut short or damaged" in failed["cut.mp4"]
    assert not list((tmp_path / "out").glob("no.mp4*"))
    for name in ("cut.mp4", "whole.avi"):
        lines = lines_of(tmp_path / f"out/{name}.jsonl")
        assert len(lines) == len(frames_of(tmp_path / f"out/{name}.people.mp4")) > 3
    assert report.photos == 2
    assert report.frames == len(lines_of(tmp_path / "out/cut.mp4.jsonl")) + 4


def test_results_that_cannot_be_written_cost_their_video(run, tmp_path: Path) -> None:
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, range(5))
    (tmp_path / "out" / "a.avi.jsonl").mkdir(parents=True)
    report = run(tmp_path / "a.avi", tmp_path / "b.avi")
    (failure,) = report.failures
    assert "a.avi: cannot write to" in str(failure.error)
    assert len(lines_of(tmp_path / "out/b.avi.jsonl")) == 5


def test_a_rotated_video_is_upright(run, tmp_path: Path) -> None:
    data = write_film(tmp_path / "film.mp4", range(3))
    at = data.index(b"tkhd") + 44
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    turned = bytes(4) + one + bytes(4) + minus + bytes(8)
    (tmp_path / "film.mp4").write_bytes(data[:at] + turned + data[at + len(turned) :])
    run(tmp_path / "film.mp4")
    assert lines_of(tmp_path / "out/film.mp4.jsonl")[0]["image"] == {"height": 96, "width": 64}
    assert frames_of(tmp_path / "out/film.mp4.people.mp4")[0].image.shape == (96, 64, 3)


def test_photos_are_read_ahead_and_searched_together(run, search, tmp_path: Path, monkeypatch) -> None:
    paths = write_scenes(tmp_path / "in", range(8))
    streamed, stream = [], PersonSearch.stream

    def watched(self, images, **options):
        streamed.append(images)
        return stream(self, images, **options)

    monkeypatch.setattr(PersonSearch, "stream", watched)
    report = run(tmp_path / "in")
    assert isinstance(streamed[0], ReadAhead)
    assert report.photos == 8
    for path in paths:
        found = json.loads((tmp_path / f"out/{path.name}.json").read_text())
        alone = search(read_image(path)).boxes.tolist()
        assert [row["box"] for row in found["people"]] == [pytest.approx(box, abs=0.01) for box in alone]


def test_a_webcam_and_a_stream_side_by_side(run, webcam_of, tmp_path: Path) -> None:
    webcam_of([np.ascontiguousarray(scene(3)[..., ::-1])] * 50)
    with camera() as running:
        report = run("2", running.url, live=LiveOptions(limit=6), every=2)
        source = running.url
    assert report.expected is None
    assert not report.failures
    lines = lines_of(tmp_path / "out/video2.jsonl")
    assert [line["number"] for line in lines] == [0, 2, 4, 6, 8, 10]
    assert {line["source"] for line in lines} == {"/dev/video2"}
    assert len({row["track"] for line in lines for row in line["people"]}) == len(lines[0]["people"])
    (name,) = [path.name for path in (tmp_path / "out").glob("127.0.0.1*_live.jsonl")]
    seen = lines_of(tmp_path / "out" / name)
    assert {line["source"] for line in seen} == {source}
    assert len(seen) == 6
    numbers = [line["number"] for line in seen]
    assert report.dropped == (numbers[-1] - numbers[0]) // 2 + 1 - 6
    for stem, told in (("video2", lines), (name.removesuffix(".jsonl"), seen)):
        frames = frames_of(tmp_path / f"out/{stem}.people.mp4")
        assert len(frames) == len(told)
        times = [line["time"] for line in told]
        assert times == sorted(times)


def test_a_webcam_that_is_pulled_out(run, webcam_of, tmp_path: Path) -> None:
    webcam_of([np.ascontiguousarray(scene(3)[..., ::-1])] * 4)
    report = run("0")
    assert "gives no more frames, after 4" in str(report.failures[0].error)
    assert len(frames_of(tmp_path / "out/video0.people.mp4")) == 4


def test_stopping_leaves_whole_files(run, tmp_path: Path) -> None:
    write_video(tmp_path / "film.avi", range(200))
    stop = threading.Event()

    def on_progress(report: Report) -> None:
        if report.frames == 20:
            stop.set()

    report = run(tmp_path / "film.avi", stop=stop, on_progress=on_progress)
    lines, frames = lines_of(tmp_path / "out/film.avi.jsonl"), frames_of(tmp_path / "out/film.avi.people.mp4")
    assert report.interrupted
    assert 20 <= report.frames == len(lines) == len(frames) < 200


def test_a_stream_whose_results_cannot_be_written_ends_it(search, tmp_path: Path) -> None:
    with camera() as running:
        inputs, _ = find_inputs([running.url], out=tmp_path)
        inputs[0].results(tmp_path)[1].mkdir()
        with pytest.raises(MgtsError, match=r"Cannot write .*a video of 96×64 pixels: Is a directory"):
            annotate(search, inputs, tmp_path)


def test_the_mode_is_that_of_what_is_wanted(search, tmp_path: Path) -> None:
    write_video(tmp_path / "film.avi", range(2))
    (photo,) = write_scenes(tmp_path / "in", range(1))
    films, _ = find_inputs([str(tmp_path / "film.avi")], out=tmp_path / "out")
    both, _ = find_inputs([str(tmp_path / "film.avi"), str(photo)], out=tmp_path / "out")
    for inputs, wanted, mode in (
        (films, Wanted(), "none"),
        (films, Wanted(masks=True), "net"),
        (films, Wanted(embeddings=True), "net"),
        (both, Wanted(), "net"),
    ):
        assert fitting_mode(search.bundle, inputs, wanted, "fp32") == mode
