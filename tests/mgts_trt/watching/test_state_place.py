from pathlib import Path

import pytest

from mgts_trt.watching.state_place import default_state


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return tmp_path


def test_in_the_folder_for_state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = default_state(["Ann"], ["film.avi"])
    assert place is not None
    assert place.parent == home / ".local" / "state" / "mgts-trt"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert default_state(["Ann"], ["film.avi"]) == Path("/var/state/mgts-trt") / place.name
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_state(["Ann"], ["film.avi"]) == place
    assert "Ann" not in place.name


def test_in_the_gallery(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert default_state(["Ann"], ["a"], "shop").parent == home / "shop"
    assert default_state(["Ann"], ["a"], (home / "shop").as_uri()).parent == home / "shop"
    assert default_state(["Ann"], ["a"], "s3://bucket/shop") == default_state(["Ann"], ["a"])


def test_others_have_a_file_of_their_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    asked = [(["Ann"], ["a"]), (["Bob"], ["a"]), (["Ann"], ["b"]), (["Ann"], ["a", "b"]), (["Ann"], ["rtsp://a"])]
    assert len({default_state(*each) for each in asked}) == len(asked)
    assert default_state(["Ann"], ["b", "a"]) == default_state(["Ann"], [str(home / "a"), "b"])
