"""What several commands take alike: the transport of RTSP, and the login in its URL."""

from pathlib import Path

import pytest

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


def _keeps_secrets(camera: RtspCamera, said: str, place: Path) -> None:
    told = said.encode() + written(place)
    assert camera.url.encode() in told
    assert not any(secret in told for secret in (b"zoe", b"s3/cret", b"s3%2Fcret"))
