"""What several commands take alike: the transport of RTSP, the login in its URL, and the key of a gallery."""

import json
import os
import secrets
from pathlib import Path

import pytest

from mgts_trt.pictures.image import read_image
from tests.helpers.camera_scenes import write_scenes
from tests.helpers.h264 import enlarged
from tests.helpers.rtsp_camera import RtspCamera, rtsp_camera

pytest.importorskip("av")
pytest.importorskip("lancedb")


def words(command: str, url: str, bundle: Path, photo: Path, place: Path) -> list[object]:
    """A command that reads three frames of a stream, and tells in `place` all that it can."""
    options: dict[str, list[object]] = {
        "index": ["-g", place / "gallery", "--metrics", place / "metrics.prom"],
        "detect": ["-o", place / "out"],
        "watch": ["--for", photo, "--likeness", -1, "--json", place / "alarms", "--state", place / "state"],
    }
    options["watch"] += ["--metrics", place / "metrics.prom"]
    return [command, url, "-b", bundle, "--mode", "none", "--limit", 3, *options[command]]


def written(place: Path) -> bytes:
    """All files, one after the other."""
    return b"".join(path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file())


@pytest.mark.parametrize("command", ["index", "detect", "watch"])
@pytest.mark.parametrize("transport", [(), ("--rtsp-transport", "udp")])
def test_the_transport_of_rtsp(
    run, pristine: Path, photo: Path, tmp_path: Path, command: str, transport: tuple[str, ...]
) -> None:
    with rtsp_camera((96, 64), login=("zoe", "s3/cret"), picture=enlarged) as camera:
        line = words(command, camera.url_of("zoe", "s3%2Fcret"), pristine, photo, tmp_path)
        code, out, err = run(*line, *transport)
    assert code == 0, err
    assert camera.used == [transport[-1] if transport else "tcp"]
    _keeps_secrets(camera, out + err, tmp_path)


@pytest.mark.parametrize("command", ["index", "detect", "watch"])
def test_a_wrong_password_is_what_is_told(run, pristine: Path, photo: Path, tmp_path: Path, command: str) -> None:
    with rtsp_camera(login=("zoe", "right")) as camera:
        code, out, err = run(*words(command, camera.url_of("zoe", "s3%2Fcret"), pristine, photo, tmp_path))
    assert code == 2
    assert f"The stream {camera.url} cannot be opened: its user name or password is wrong" in err
    _keeps_secrets(camera, out + err, tmp_path)


@pytest.mark.parametrize("command", ["index", "watch"])
def test_the_patience_with_a_stalled_camera(run, pristine: Path, photo: Path, tmp_path: Path, command: str) -> None:
    with rtsp_camera((96, 64)) as camera:
        camera.stalled.set()
        line = words(command, camera.url, pristine, photo, tmp_path)
        code, _, err = run(*line, "--patience", 0.3, "--attempts", 1)
    assert code == 2
    assert f"The stream {camera.url} cannot be opened (1 attempt)" in err


def test_the_key_of_a_gallery(run, pristine: Path, photo: Path, tmp_path: Path, monkeypatch) -> None:
    """Made with one, its pictures are shown with it alone, whichever way it is given; all else needs none."""
    pytest.importorskip("cryptography", reason="needs the extra encryption")
    write_scenes(tmp_path / "in", range(3))
    keys = [tmp_path / name for name in ("key", "new")]
    for key in keys:
        key.write_text(secrets.token_hex(32) + "\n")
        key.chmod(0o600)
    gallery, sheet = tmp_path / "gallery", tmp_path / "sheet.png"
    index = ["index", "-b", pristine, "-g", gallery, "--mode", "none", tmp_path / "in"]
    code, _, err = run(*index, "--gallery-key", keys[0])
    assert code == 0, err
    assert "MGTS_GALLERY_KEY_FILE" not in os.environ, "it is named while the command runs"
    assert b"\xff\xd8\xff" not in written(gallery)
    assert "encrypted the pictures, and nothing else" in " ".join(run("gallery", "info", gallery)[1].split())
    told = json.loads(run("gallery", "info", gallery, "--json", "-")[1])
    assert (told["encrypted"], told["format"]) == (True, 4)

    search = ["search", "-b", pristine, "-q", photo, "-g", gallery]
    code, out, err = run(*search)
    assert code == 0, err
    assert "similarity" in out
    code, _, err = run(*search, "--sheet", sheet)
    assert (code, sheet.exists()) == (2, False)
    assert "are encrypted, and no key was given. Name its file with --gallery-key" in err
    code, _, err = run(*search, "--sheet", sheet, "--gallery-key", keys[1])
    assert code == 2
    assert "This key does not open the pictures" in err
    assert run(*search, "--sheet", sheet, "--gallery-key", keys[0])[0] == 0
    shown = read_image(sheet)

    code, out, err = run("gallery", "rekey", gallery, keys[1], "--gallery-key", keys[0])
    assert code == 0, err
    assert f"From now on the key in {keys[1]} opens the pictures" in " ".join(out.split())
    assert "copies of the gallery from before still open with the old key" in err
    assert run(*search, "--sheet", sheet, "--gallery-key", keys[0])[0] == 2
    monkeypatch.setenv("MGTS_GALLERY_KEY", keys[1].read_text())
    assert run(*search, "--sheet", sheet)[0] == 0
    assert (read_image(sheet) == shown).all()
    monkeypatch.delenv("MGTS_GALLERY_KEY")

    write_scenes(tmp_path / "in", range(3, 5))
    code, _, err = run(*index)
    assert code == 2
    assert "no key was given" in err
    assert run(*index, "--no-thumbnails")[0] == 0
    keys[1].chmod(0o644)
    code, _, err = run(*index, "--gallery-key", keys[1])
    assert code == 2
    assert f"may read or write the gallery's key in {keys[1]}" in err
    code, out, _ = run("gallery", "forget", gallery, tmp_path / "in" / "0000.png")
    assert code == 0, out


def _keeps_secrets(camera: RtspCamera, said: str, place: Path) -> None:
    told = said.encode() + written(place)
    assert camera.url.encode() in told
    assert not any(secret in told for secret in (b"zoe", b"s3/cret", b"s3%2Fcret"))
