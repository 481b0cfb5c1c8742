import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.gallery.privacy import keep_gallery_private
from tests.helpers.camera_scenes import write_scenes, write_video
from tests.helpers.tiny_bundle import make_tiny_bundle


def modes(folder: Path) -> dict[str, str]:
    """Of a folder and all in it, what others may open."""
    found = {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    return {str(path): f"{mode:o}" for path, mode in found.items() if mode != (0o700 if path.is_dir() else 0o600)}


@pytest.fixture
def run(monkeypatch, capsys):
    def _run(*words: object) -> None:
        from mgts_trt.cli.app import main

        monkeypatch.setattr(sys, "argv", ["mgts-trt", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert not exit_.value.code, capsys.readouterr().err

    return _run


@pytest.mark.parametrize("umask", [0, 0o022])
def test_no_command_leaves_a_file_that_others_may_open(run, tmp_path: Path, umask: int) -> None:
    bundle, photos, gallery = make_tiny_bundle(tmp_path / "b"), tmp_path / "photos", tmp_path / "gallery"
    sheet, listed = tmp_path / "sheet.png", tmp_path / "info.json"
    before = os.umask(umask)
    try:
        write_scenes(photos, range(3))
        write_video(photos / "cam_7.avi", range(4, 7))
        probe = next(path for path in sorted(photos.iterdir()) if path.suffix != ".avi")
        for words in (
            ("index", "-b", bundle, photos, "-g", gallery, "--mode", "box", "--threads", 1),
            ("gallery", "optimise", gallery),
            ("gallery", "upgrade", gallery),
            ("search", "-b", bundle, "--query", probe, "--gallery", gallery, "--sheet", sheet, "--threads", 1),
            ("gallery", "info", gallery, "--json", listed),
            ("gallery", "forget", gallery, probe),
        ):
            run(*words)
            assert modes(gallery) == {}, words
    finally:
        os.umask(before)
    assert len(list(gallery.rglob("*"))) > 20
    for path in (sheet, listed):  # asked for by name
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_nor_does_the_service(tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi", reason="needs the extra serve")
    from tests.helpers.running_service import picture, serving

    gallery = tmp_path / "gallery"
    before = os.umask(0)
    try:
        with serving(tmp_path, "--gallery", gallery) as running:
            files = [("images", (f"{i}.png", picture((0, 1), seed=i))) for i in range(3)]
            assert httpx.post(f"{running.url}/index", files=files, timeout=60).status_code == 200
            assert httpx.delete(f"{running.url}/sources?source=1.png", timeout=60).status_code == 200
            running.terminate()
    finally:
        os.umask(before)
    assert modes(gallery) == {}


def test_a_gallery_that_was_open_to_others_is_closed_when_it_is_opened(run, tmp_path: Path) -> None:
    bundle, gallery = make_tiny_bundle(tmp_path / "b"), tmp_path / "gallery"
    write_scenes(tmp_path / "photos", range(2))
    run("index", "-b", bundle, tmp_path / "photos", "-g", gallery, "--mode", "box", "--threads", 1)
    subprocess.run(["cp", "-r", gallery, tmp_path / "copy"], check=True)  # as of an older version: without lists
    subprocess.run(["chmod", "-R", "a+rwX", tmp_path / "copy"], check=True)
    assert modes(tmp_path / "copy")
    run("gallery", "info", tmp_path / "copy")
    assert modes(tmp_path / "copy") == {}


def test_a_folder_with_other_things_stays_open(tmp_path: Path) -> None:
    for name in ("people.lance", "photos"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
        (tmp_path / name / "file").chmod(0o644)
    tmp_path.chmod(0o755)
    keep_gallery_private(tmp_path)
    assert modes(tmp_path / "people.lance") == {}
    assert set(modes(tmp_path)) == {str(tmp_path), str(tmp_path / "photos"), str(tmp_path / "photos/file")}
