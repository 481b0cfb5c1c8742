import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgts_trt.pictures.image import read_image
from tests.helpers.camera_scenes import camera, scene, silent_camera, write_scenes, write_video
from tests.helpers.paths import ROOT
from tests.helpers.stored_people import SPACE, entry
from tests.helpers.tiny_bundle import make_tiny_bundle

pytest.importorskip("lancedb")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line in this process; returns (exit code, standard output, standard error)."""

    def _run(*arguments: object) -> tuple[int, str, str]:
        from mgts_trt.cli.app import main

        monkeypatch.setattr(sys, "argv", ["mgts-trt", *(str(argument) for argument in arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), " ".join(captured.out.split()), " ".join(captured.err.split())

    return _run


def test_index_search_and_look_after(run, bundle: Path, tmp_path: Path) -> None:
    folder, gallery = tmp_path / "in", tmp_path / "gallery"
    write_scenes(folder, range(4))
    write_video(folder / "cam_7.avi", range(4, 8))
    (folder / "bad.jpg").write_bytes(b"\xff\xd8 none")
    arguments = ["index", "-b", bundle, folder, "-g", gallery, "--mode", "box", "--camera-pattern", r"cam_(\d)"]
    code, out, err = run(*arguments, "--threads", 1)
    assert code == 0, err
    assert "8 frames with" in out
    assert "1 failed and will be tried again next time" in out
    assert "not indexed:" in err
    assert "bad.jpg" in err
    code, out, _ = run("index", "-b", bundle, folder, "-g", gallery, "--strict")  # in the gallery's mode
    assert code == 1
    assert "0 frames with 0 people indexed, 8 were there already, 1 failed" in out

    query = ["search", "-b", bundle, "--query", folder / "0000.png", "--gallery", gallery, "--top", 3]
    code, out, err = run(*query, "--json", tmp_path / "r.json", "--sheet", tmp_path / "s.png")
    assert code == 0, err
    assert "in the gallery" in out
    result = json.loads((tmp_path / "r.json").read_text())
    assert [match["rank"] for match in result["matches"]] == [1, 2, 3]
    assert not any(match["source"].endswith("0000.png") for match in result["matches"])
    assert run(*query, "--include-own", "--json", tmp_path / "own.json")[0] == 0
    assert json.loads((tmp_path / "own.json").read_text())["matches"][0]["source"].endswith("0000.png")
    assert read_image(tmp_path / "s.png").shape[1] > 400
    code, out, _ = run(*query, "--where", "camera=7", "--exact", "--json", tmp_path / "r.json")
    assert code == 0
    assert "cam_7.avi" in out
    assert "0:00:00." in out
    everybody = json.loads(run("gallery", "info", gallery, "--json", "-")[1])["people"]
    assert 0 < int(re.search(r"(\d+) sightings? in the gallery", out)[1]) < everybody
    matches = json.loads((tmp_path / "r.json").read_text())["matches"]
    assert {(match["camera"], match["time"] == match["number"] / 10) for match in matches} == {("7", True)}

    code, out, _ = run("gallery", "info", gallery, "--json", "-")
    before = json.loads(out)
    assert (before["frames"], before["sources"], before["space"]["mode"]) == (8, 5, "box")
    code, out, _ = run("gallery", "info", gallery)
    assert f"people {before['people']}" in out
    assert "indexed none: fewer than 20,000 people are compared one by one" in out
    code, out, _ = run("gallery", "optimise", gallery)
    assert f"of {before['people']} people are in the index" in out
    code, out, _ = run("gallery", "forget", gallery, folder / "cam_7.avi")
    assert "in 4 frames of" in out
    assert json.loads(run("gallery", "info", gallery, "--json", "-")[1])["frames"] == 4
    code, _, err = run("gallery", "forget", gallery, folder / "cam_7.avi")
    assert code == 2
    assert "has nothing of" in err


def test_what_was_forgotten_stays_out_until_it_is_recalled(run, bundle: Path, tmp_path: Path) -> None:
    folder, gallery = tmp_path / "in", tmp_path / "gallery"
    write_scenes(folder, range(3))
    write_video(folder / "film.avi", range(4, 8))
    index = ["index", "-b", bundle, folder, "-g", gallery, "--threads", 1]
    assert run(*index)[0] == 0
    for source in ("0001.png", "film.avi"):
        code, out, err = run("gallery", "forget", gallery, folder / source)
        assert (code, "It stays out" in out) == (0, True), err
    shutil.copy(folder / "0001.png", folder / "copy.png")
    code, out, _ = run(*index)
    assert code == 0
    assert "0 frames with 0 people indexed, 2 were there already, 3 left out, as forgotten" in out
    code, out, err = run(*index, "--recall", folder / "film.avi", "--recall", folder / "0002.png")
    assert code == 0
    assert "0002.png: the gallery was not told to forget it" in err
    assert "4 frames with" in out
    assert "2 left out, as forgotten" in out
    (folder / "0001.png").rename(folder / "renamed.png")
    assert "5 were there already" not in run(*index)[1]
    assert "2 frames with" in run(*index, "--recall", folder / "renamed.png")[1]  # by its content
    assert run("gallery", "verify", gallery)[0] == 0


def test_people_are_kept_as_long_as_the_policy_says(run, bundle: Path, tmp_path: Path) -> None:
    from mgts_trt.gallery import Entry, Frame, Gallery
    from mgts_trt.runtime.pipeline import PersonSearch

    folder, gallery = tmp_path / "in", tmp_path / "gallery"
    write_scenes(folder, range(3))
    assert run("index", "-b", bundle, folder, "-g", gallery)[0] == 0
    assert run("gallery", "policy", gallery)[1] == "people are kept for ever"
    code, _, err = run("gallery", "expire", gallery)
    assert (code, "No policy is set" in err) == (2, True)
    assert run("gallery", "policy", gallery, "--keep", "30d", "--keep-camera", "door=72h")[1] == (
        "people are kept 30 d of camera door: 3 d"
    )
    with PersonSearch.open(bundle, mode="none", threads=1) as search, Gallery.open(gallery) as opened:
        found = search(scene(0))
        days = [time.time() - days * 86400 for days in (2, 4, 31)]
        for number, seen in enumerate(days):
            opened.add([Entry(Frame(f"{number}.jpg", sha256=str(number) * 64, time=seen, camera="door"), found)])
        held = opened.count()
    err = run("index", "-b", bundle, folder, "-g", gallery)[2]
    assert re.search(rf"erased {2 * len(found)} (people|person) whose time was over", err)
    assert run("gallery", "expire", gallery)[1] == "Erased 0 people whose time was over"
    assert json.loads(run("gallery", "info", gallery, "--json", "-")[1])["people"] == held - 2 * len(found)
    for words in (["--keep", "soon"], ["--keep", "0d"], ["--keep-camera", "door"], ["--keep-camera", "=3d"]):
        code, _, err = run("gallery", "policy", gallery, *words)
        assert (code, "Expected" in err) == (2, True)


def test_what_has_gone_from_its_folder_goes(run, bundle: Path, tmp_path: Path) -> None:
    folder, gallery = tmp_path / "in", tmp_path / "gallery"
    write_scenes(folder, range(4))
    assert run("index", "-b", bundle, folder, "-g", gallery)[0] == 0
    (folder / "0002.png").unlink()
    code, out, err = run("gallery", "sync", gallery, folder, "--dry-run")
    assert (code, out) == (0, "1 of 4 sources have gone; nothing was erased")
    assert "0002.png" in err
    code, out, _ = run("gallery", "sync", gallery, folder)
    assert (code, "of 1 sources that have gone; 3 are there" in out) == (0, True)
    assert "0 of 3 sources have gone" in run("gallery", "sync", gallery, folder, "--dry-run")[1]
    for path in folder.iterdir():
        path.unlink()
    code, _, err = run("gallery", "sync", gallery, folder)
    assert (code, "say --all-gone" in err) == (2, True)
    assert run("gallery", "sync", gallery, folder, "--all-gone")[0] == 0
    assert json.loads(run("gallery", "info", gallery, "--json", "-")[1])["people"] == 0
    code, _, err = run("gallery", "sync", gallery, tmp_path / "none")
    assert (code, "Is its disk mounted" in err) == (2, True)


def test_an_older_gallery_is_upgraded(run, bundle: Path, tmp_path: Path) -> None:
    from mgts_trt.gallery import Entry, Space
    from mgts_trt.runtime.pipeline import PersonSearch
    from tests.helpers.old_galleries import write_format_2
    from tests.helpers.walkers import walk

    gallery, folder = tmp_path / "gallery", tmp_path / "in"
    with PersonSearch.open(bundle, mode="none", threads=1) as search:
        space = Space.of(search.bundle, "none")
    entries = list[Entry]()
    for each in walk(1):
        short = each.people.embeddings
        long = np.pad(short, ((0, 0), (0, space.embedding - short.shape[1])))
        entries.append(replace(each, people=replace(each.people, embeddings=long)))
    write_format_2(gallery, space, entries)
    assert "sightings none in this format: `mgts-trt gallery upgrade`" in run("gallery", "info", gallery)[1]
    write_scenes(folder, range(1))
    code, _, err = run("index", "-b", bundle, folder, "-g", gallery)
    assert code == 0, err
    assert "format 2, without sightings" in err
    code, out, err = run("gallery", "upgrade", gallery)
    assert code == 0, err
    assert "was of format 2 and is of format 3; 1 video or streams tracked" in out
    about = json.loads(run("gallery", "info", gallery, "--json", "-")[1])
    assert (about["format"], about["frames"]) == (3, 61)
    assert about["sightings"] > 2
    assert f"sightings {about['sightings']}" in run("gallery", "info", gallery)[1]
    assert "is of format 3; 0 videos or streams tracked" in run("gallery", "upgrade", gallery)[1]
    assert run("gallery", "upgrade", tmp_path / "none")[0] == 2
    assert "without sightings" not in run("index", "-b", bundle, folder, "-g", gallery)[2]


def test_a_gallery_filled_over_http_and_by_index(run, bundle: Path, tmp_path: Path) -> None:
    from mgts_trt.gallery import Entry, Frame, Gallery
    from mgts_trt.runtime.pipeline import PersonSearch

    folder, gallery = tmp_path / "in", tmp_path / "gallery"
    write_scenes(folder, range(2))
    assert run("index", "-b", bundle, folder, "-g", gallery, "--mode", "none")[0] == 0
    with PersonSearch.open(bundle, mode="none") as search, Gallery.open(gallery) as store:
        people = search(read_image(folder / "0001.png"))
        store.add([Entry(Frame("front door.jpg", sha256="1" * 64), people)])  # as POST /index names it
    code, out, err = run("search", "-b", bundle, "-q", folder / "0000.png", "-g", gallery, "--top", 50)
    assert code == 0, err
    assert "front door.jpg" in out
    assert "0001.png" in out
    for name, shown in (("front door.jpg", "front door.jpg"), ("0001.png", str(folder / "0001.png"))):
        code, out, err = run("gallery", "forget", gallery, name)
        assert code == 0, err
        assert f"in 1 frame of {shown} It stays out" in out
    assert run("gallery", "forget", gallery, f"file://{folder}/0000.png")[0] == 0
    assert json.loads(run("gallery", "info", gallery, "--json", "-")[1])["frames"] == 0


def test_a_name_that_is_no_utf8_is_indexed_found_and_forgotten(run, bundle: Path, tmp_path: Path) -> None:
    folder, gallery = tmp_path / "in", tmp_path / "gallery"
    write_scenes(folder, range(2))
    try:
        (folder / "0001.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    code, out, err = run("index", "-b", bundle, folder, "-g", gallery, "--mode", "none")
    assert code == 0, err
    assert "2 frames with" in out
    assert "2 were there already" in run("index", "-b", bundle, folder, "-g", gallery)[1]
    code, out, err = run(
        "search", "-b", bundle, "-q", folder / "0000.png", "-g", gallery, "--json", tmp_path / "r.json"
    )
    assert code == 0, err
    assert {match["source"] for match in json.loads((tmp_path / "r.json").read_text())["matches"]} == {
        f"file://{folder}/caf%E9.png"
    }
    assert run("gallery", "forget", gallery, folder / os.fsdecode(b"caf\xe9.png"))[0] == 0


def test_search_without_an_index(run, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_scenes(folder, range(4))
    (folder / "bad.jpg").write_bytes(b"none")
    query = ["search", "-b", bundle, "--query", folder / "0001.png", "--gallery", folder, "--mode", "none"]
    code, out, err = run(*query, "--json", tmp_path / "r.json", "--sheet", tmp_path / "s.png", "--top", 2)
    assert code == 0, err
    assert "people in 3 of 4 scenes compared" in out  # the probe's own photo is left out
    assert "bad.jpg" in err
    matches = json.loads((tmp_path / "r.json").read_text())["matches"]
    assert len(matches) == 2
    assert matches[0]["likeness"] >= matches[1]["likeness"]
    shutil.copy(folder / "0001.png", folder / "copy.png")
    assert "people in 3 of 4 scenes compared" in run(*query)[1]  # so is a copy of it
    assert "people in 5 of 6 scenes compared" in run(*query, "--include-own")[1]
    assert run(*query, "--strict")[0] == 1


def test_a_folder_that_is_not_looked_into_is_told(run, bundle: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", range(2))
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in")
    common = ("-b", bundle, "--mode", "none")
    for command in (
        ("detect", tmp_path / "in", "-o", tmp_path / "out"),
        ("index", tmp_path / "in", "-g", tmp_path / "gallery"),
        ("search", "-q", tmp_path / "in" / "0000.png", "-g", tmp_path / "in"),
    ):
        code, _, err = run(*command, *common)
        assert code == 0, err
        assert "link is a link to a folder, which is not followed" in err
        assert run(*command, *common, "--strict")[0] == 1


@pytest.fixture(scope="module")
def indexed(bundle: Path, tmp_path_factory) -> Path:
    """A folder with photos in `in`, their gallery in mode none in `gallery`, and nothing in `empty`."""
    from mgts_trt.gallery import Gallery, Space
    from mgts_trt.gallery.indexing.index import index
    from mgts_trt.gallery.indexing.sources import find_sources
    from mgts_trt.runtime.pipeline import PersonSearch

    folder = tmp_path_factory.mktemp("indexed")
    write_scenes(folder / "in", range(2))
    (folder / "empty").mkdir()
    (folder / "text.mp4").write_text("none")
    with (
        PersonSearch.open(bundle, mode="none", threads=1) as pipeline,
        Gallery.create(folder / "gallery", Space.of(pipeline.bundle, "none")) as gallery,
    ):
        index(pipeline, find_sources([str(folder / "in")]), gallery)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("index -b BUNDLE nowhere -g new", "There is no nowhere. Name photos, videos, folders"),
        ("index -b BUNDLE empty -g new", "Nothing to index in empty"),
        ("index -b BUNDLE text.mp4 -g gallery", "text.mp4 is not a video OpenCV can read"),
        ("index -b BUNDLE in -g gallery --mode box", "made otherwise"),
        ("index -b BUNDLE in -g gallery --camera-pattern (", "is no regular expression"),
        ("search -b BUNDLE -q in/0000.png -g nowhere", "There is no nowhere: a gallery made by `mgts-trt index`"),
        ("search -b BUNDLE -q in/0000.png -g empty", "No pictures in empty"),
        ("search -b BUNDLE -q in/0000.png -g in -g gallery", "gallery is a gallery that was indexed, and 1 more place"),
        ("search -b BUNDLE -q in/0000.png -g gallery --mode net", "indexed in mode none, and mode net was asked for"),
        ("search -b BUNDLE -q in/0000.png -g in --where camera=3", "needs a gallery that was indexed, and in is none"),
        ("search -b BUNDLE -q in/0000.png -g gallery --where color=3", "no field 'color'"),
        ("search -b BUNDLE -q in/0007.png -g gallery", "There is no file in/0007.png"),
        ("gallery info empty", "There is no gallery in"),
    ],
)
def test_errors_are_one_paragraph(run, bundle: Path, indexed: Path, monkeypatch, arguments: str, message: str) -> None:
    monkeypatch.chdir(indexed)
    code, _, err = run(*(bundle if word == "BUNDLE" else word for word in arguments.split()))
    assert code == 2, err
    assert message in err
    assert "Traceback" not in err
    assert not (indexed / "new").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "index -b BUNDLE rtsp://zoe:{}@[::1/x -g new",
        "index -b BUNDLE sftp://zoe:{}@127.0.0.1:1/x -g new",
        "index -b BUNDLE nowhere/rtsp://zoe:{}@h/x -g new",
        "index -b BUNDLE in -g db://zoe:{}@h",
        "search -b BUNDLE -q in/0000.png -g db://zoe:{}@h",
        "search -b BUNDLE -q in/0000.png -g in -g db://zoe:{}@h",
        "search -b BUNDLE -q rtsp://zoe:{}@h/x -g gallery",
        "gallery info db://zoe:{}@h --json",
        "gallery optimise db://zoe:{}@h",
        "gallery forget gallery rtsp://zoe:{}@h/x",
        "serve BUNDLE --gallery db://zoe:{}@h --port 0",
        "detect -b BUNDLE rtsp://zoe:{}@[::1/x",
    ],
)
def test_no_password_is_printed(run, bundle: Path, indexed: Path, monkeypatch, arguments: str) -> None:
    monkeypatch.chdir(indexed)
    for sign in ("", "#", "/", "?", "@", " ", ":", "&", "[", "%2F"):
        words = [bundle if word == "BUNDLE" else word.format(f"Kq{sign}Vw") for word in arguments.split()]
        code, out, err = run(*words)
        assert code == 2, err
        assert not any(part in out + err for part in ("Kq", "Vw", "zoe")), sign


def test_search_with_another_models_gallery(run, indexed: Path, bundle: Path, tmp_path: Path, monkeypatch) -> None:
    from mgts_trt.bundle.manifest import read_manifest, write_manifest
    from mgts_trt.pictures.image import write_image

    other = make_tiny_bundle(tmp_path / "other")
    manifest = read_manifest(other)
    checkpoints = {"idnet": "ab" * 32}
    training = manifest.training.model_copy(update={"trained": True, "checkpoints": checkpoints})
    write_manifest(other, manifest.model_copy(update={"training": training}))
    write_image(tmp_path / "q.png", scene(0))
    code, _, err = run("search", "-b", other, "-q", tmp_path / "q.png", "-g", indexed / "gallery")
    assert code == 2
    assert "made otherwise: weights" in err


def test_ctrl_c_writes_what_is_in_flight(bundle: Path, tmp_path: Path) -> None:
    with camera(pause=0.02) as live:
        gallery = tmp_path / "gallery"
        command = [sys.executable, "-m", "mgts_trt", "index", "-b", bundle, live.url, "-g", gallery, "--threads", "1"]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        ) as process:  # fmt: skip
            while not _stored(gallery) and process.poll() is None:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Run the same command again to go on" in out
    assert "Traceback" not in err
    assert f"{_stored(gallery)} frames with" in out


def test_several_cameras_and_how_they_are_doing(run, bundle: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    with camera(pause=0.05) as door, camera(frames=4, pause=0.05) as yard:
        pattern = f":({door.server.server_port}|{yard.server.server_port})/"
        command = [
            "index",
            "-b",
            bundle,
            door.url,
            yard.url,
            "-g",
            gallery,
            "--camera-pattern",
            pattern,
            "--threads",
            "1",
        ]
        with subprocess.Popen(
            [sys.executable, "-m", "mgts_trt", *command, "--threads", "1"], cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            told = []
            while process.poll() is None and not (len(told) == 2 and all(each["state"]["taken"] for each in told)):
                time.sleep(0.2)
                told = (
                    json.loads(run("gallery", "info", gallery, "--json", "-")[1])["streams"] if _stored(gallery) else []
                )
            shown = run("gallery", "info", gallery)[1]
            process.kill()
        assert {each["state"]["source"] for each in told} == {door.url, yard.url}
        assert all(each["running"] and each["process"] == process.pid for each in told)
        assert re.search(rf"stream {door.server.server_port}: up since .* 0 restarts \(process {process.pid}\)", shown)
        assert f"(process {process.pid} was killed)" in run("gallery", "info", gallery)[1]
        code, out, err = run(*command, "--duration", 1)
        assert code == 0, err
        assert out.count("frames taken") == 2
    about = json.loads(run("gallery", "info", gallery, "--json", "-")[1])
    assert about["streams"] == []
    ports = sorted(str(each.server.server_port) for each in (door, yard))
    assert [each["camera"] for each in about["cameras"]] == ports
    assert sum(each["people"] for each in about["cameras"]) == about["people"]
    assert sum(each["sightings"] for each in about["cameras"]) == about["sightings"]
    assert all(each["frames"] and each["last"] > each["first"] > 1e9 for each in about["cameras"])
    assert re.search(rf"{ports[0]} \d+ \d+ \d+ 20\d\d-", run("gallery", "info", gallery)[1])


def _stored(gallery: Path) -> int:
    """Frames in a gallery that another process may be making."""
    from mgts_trt.errors import GalleryError
    from mgts_trt.gallery import Gallery

    try:
        with Gallery.open(gallery) as opened:
            return opened.summary().frames
    except GalleryError:  # not yet
        return 0


def test_a_dead_stream_is_a_failure(run, bundle: Path, tmp_path: Path) -> None:
    with camera() as live:
        url = live.url
    write_scenes(tmp_path / "in", range(1))
    arguments = ["index", "-b", bundle, url, "-g", tmp_path / "gallery", "--duration", 0.1, "--threads", 1]
    code, _, err = run(*arguments)
    assert code == 2
    assert f"The stream {url} cannot be opened" in err
    code, _, err = run(*arguments, url.replace("live", "other"))  # nor do two
    assert code == 2
    assert err.count("not indexed: The stream") == 2
    assert "Nothing was indexed: 2 of 2 sources failed" in err
    code, out, err = run(*arguments, tmp_path / "in", "--strict")
    assert code == 1
    assert "1 frame with" in out
    assert f"not indexed: The stream {url} cannot be opened" in err


@pytest.mark.parametrize(("signals", "delay"), [(1, 0.0), (1, 0.3), (1, 1.0), (2, 0.0)])
def test_it_is_ended_while_a_camera_says_nothing(bundle: Path, tmp_path: Path, signals: int, delay: float) -> None:
    with silent_camera() as (url, asked, go):
        command = [sys.executable, "-m", "mgts_trt", "index", "-b", bundle, url, "-g", tmp_path / "gallery"]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        ) as process:  # fmt: skip
            while not asked.wait(0.1):
                assert process.poll() is None, process.communicate()
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            if signals == 1:
                # OpenCV comes back when all has been told and Python is about to end, if it did not wait for it.
                told = select.select([process.stdout], [], [], 1.5)[0]
                go.set()
                assert not told
            else:
                time.sleep(0.5)
                process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "terminate" not in err
    assert "Traceback" not in err
    assert ("Interrupted" in out) == (signals == 1)


def test_verify(run, tmp_path: Path) -> None:
    from mgts_trt.gallery import Gallery

    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        gallery.add([entry(3)])
    code, out, err = run("gallery", "verify", tmp_path / "g", "--json", tmp_path / "v.json")
    assert (code, err) == (0, "")
    assert "orphans none" in out
    assert json.loads((tmp_path / "v.json").read_text())["clean"] is True
    (tmp_path / "g/people.lance/data/left.lance").write_bytes(b"of a writer that was killed")
    code, out, _ = run("gallery", "verify", tmp_path / "g", "--json", tmp_path / "v.json")
    assert code == 1
    assert "people.lance/data/left.lance" in out
    found = json.loads((tmp_path / "v.json").read_text())
    assert (found["clean"], found["orphans"]) == (False, ["people.lance/data/left.lance"])
    assert run("gallery", "verify", tmp_path)[0] == 2


def test_forget_finishes_what_was_cut_off(run, tmp_path: Path, monkeypatch) -> None:
    from mgts_trt.gallery import Gallery
    from mgts_trt.gallery.disk import steps

    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        gallery.add([entry(3), entry(2, source="/b.mp4")])

    def full(step: str) -> None:
        if step == "rewrite people":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(steps, "on_step", full)
    code, _, err = run("gallery", "forget", tmp_path / "g", "/b.mp4")
    assert code == 2
    assert "No space left on device" in err
    monkeypatch.undo()
    code, out, err = run("gallery", "forget", tmp_path / "g", "/b.mp4")
    assert "Finished an erasure that was cut off" in out
    assert code == 2
    assert "/b.mp4" in err  # which is gone
    assert run("gallery", "verify", tmp_path / "g")[0] == 0
    assert not any(b"/b.mp4" in path.read_bytes() for path in (tmp_path / "g").rglob("*") if path.is_file())
