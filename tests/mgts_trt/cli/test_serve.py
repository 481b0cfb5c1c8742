import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mgts_trt.access.key_file import add_key, revoke_key
from mgts_trt.errors import MgtsError
from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import make_tiny_bundle

pytest.importorskip("fastapi", reason="needs the extra serve")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def refuse(monkeypatch, capsys, bundle: Path):
    """Run `mgts-trt serve` with options it refuses to start with; returns what it says."""

    def _refuse(*options: object) -> str:
        from mgts_trt.cli.app import main

        monkeypatch.setattr(
            sys, "argv", ["mgts-trt", "serve", "--bundle", str(bundle), "--threads", "1", *map(str, options)]
        )
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    return _refuse


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_others_are_served_with_a_key_alone(refuse, monkeypatch, host: str) -> None:
    monkeypatch.delenv("MGTS_API_KEY", raising=False)
    said = refuse("--host", host)
    assert "no key guards it" in said
    assert "--key-file" in said


@pytest.mark.parametrize("key", ["", " \n", "schlüssel", "two\nlines"])
def test_keys_that_are_none(refuse, monkeypatch, tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key)
    assert "openssl rand" in refuse("--key-file", tmp_path / "key")
    monkeypatch.setenv("MGTS_API_KEY", key)
    assert "$MGTS_API_KEY" in refuse()


def test_a_key_that_can_be_guessed(refuse, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("fifteen-letters")
    said = refuse("--key-file", tmp_path / "key")
    assert "has 15 characters, at least 16 are expected" in said
    assert "openssl rand" in said
    (tmp_path / "key").write_text("password" * 4)
    assert "can be guessed: it repeats itself" in refuse("--key-file", tmp_path / "key")


def test_a_file_of_keys_that_is_open_to_others_or_empty(refuse, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MGTS_API_KEY", raising=False)
    path = tmp_path / "keys.json"
    assert "There is no file of keys" in refuse("--keys", path)
    add_key(path, "desk", ["search"])
    path.chmod(0o604)
    assert f"chmod 600 {path}" in refuse("--keys", path)
    path.chmod(0o600)
    revoke_key(path, "desk")
    assert "There is no key in" in refuse("--keys", path)


def test_a_key_that_others_may_read(tmp_path: Path, capsys) -> None:
    from mgts_trt.cli.serve import _find_key

    path = tmp_path / "key"
    path.write_text("a-key-of-some-length")
    for mode, told in ((0o644, True), (0o640, True), (0o600, False), (0o400, False)):
        path.chmod(mode)
        assert _find_key(path) == "a-key-of-some-length"
        assert (f"chmod 600 {path}" in " ".join(capsys.readouterr().err.split())) is told


def test_a_key_file_that_is_missing(refuse, tmp_path: Path) -> None:
    assert "Cannot read the key" in refuse("--key-file", tmp_path / "none")


def test_a_port_that_is_taken(refuse) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "Cannot listen on 127.0.0.1" in refuse("--port", other.getsockname()[1])


def test_without_its_packages(bundle: Path) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from mgts_trt.cli.app import main; main()"
    command = [sys.executable, "-c", code, "serve", "--bundle", str(bundle)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'mgts-trt[serve]'" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("10.0.0.1", False)],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    from mgts_trt.service.server import is_loopback

    assert is_loopback(host) is loopback


def test_a_gallery_of_another_mode_is_refused(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="needs the extra gallery")
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.cli.serve import _open_gallery
    from mgts_trt.gallery import Gallery, Space

    opened = Bundle.open(bundle)
    Gallery.create(tmp_path / "g", Space.of(opened, "box")).close()
    gallery, mode = _open_gallery(opened, str(tmp_path / "g"), None)
    assert mode == "box"
    gallery.close()
    with pytest.raises(MgtsError, match="mode box there, net here"):
        _open_gallery(opened, str(tmp_path / "g"), "net")


def test_variables_that_ask_for_what_cannot_be_end_nothing(monkeypatch, capsys) -> None:
    """They may be meant for all programs of a machine."""
    from mgts_trt.cli.serve import _open_traces

    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    assert _open_traces() is None
    assert "requests are not traced: OTEL_TRACES_EXPORTER names zipkin" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "limits", "depth"),
    [
        ((), (None, None), 3),
        (("--max-people", "8"), (8, None), 3),
        (("--pictures-in-flight", "5"), (None, 5), 5),
        (("--pictures-in-flight", "1"), (None, 1), 3),  # the pipeline keeps to its one
    ],
)
def test_the_memory_of_the_pipeline_is_bounded(monkeypatch, bundle: Path, options, limits, depth: int) -> None:
    from mgts_trt.cli.app import main
    from mgts_trt.service import core, server

    opened, depths = [], []

    class Noted(core.Dispatcher):
        def __init__(self, search, on_passage, prepare, depth) -> None:
            depths.append(depth)
            super().__init__(search, on_passage, prepare, depth)

    monkeypatch.setattr(core, "Dispatcher", Noted)
    monkeypatch.setattr(server, "serve", lambda service, listener, keys, proxy, tracer: opened.append(service.search))
    words = ["mgts-trt", "serve", "--bundle", str(bundle), "--threads", "1", "--port", "0", *options]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert [(each._limits["max_people"], each._limits["pictures_in_flight"]) for each in opened] == [limits]
    assert depths == [depth]
