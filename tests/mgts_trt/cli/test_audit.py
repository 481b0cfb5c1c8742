import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")

from mgts_trt.access.audit_check import read_log
from mgts_trt.access.audit_log import log_files
from mgts_trt.gallery.audit_place import audit_log
from tests.helpers.camera_scenes import write_scenes
from tests.helpers.tiny_bundle import make_tiny_bundle


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line in this process; returns exit code and what it printed, of both kinds."""

    def _run(*words: object) -> tuple[int, str]:
        from mgts_trt.cli.app import main

        monkeypatch.setattr(sys, "argv", ["mgts-trt", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "250")
        with pytest.raises(SystemExit) as exit_:
            main()
        said = capsys.readouterr()
        return int(exit_.value.code or 0), " ".join(f"{said.out} {said.err}".split())

    return _run


def test_commands_are_recorded_shown_and_verified(run, tmp_path: Path) -> None:
    bundle, photos, gallery = make_tiny_bundle(tmp_path / "b"), tmp_path / "photos", tmp_path / "gallery"
    write_scenes(photos, range(3))
    probe, source = sorted(photos.iterdir())[:2]
    index = ("index", "-b", bundle, photos, "-g", gallery, "--mode", "box", "--threads", 1)
    assert run("gallery", "audit", "verify", gallery)[0] == 2
    assert run(*index)[0] == 0
    assert run("search", "-b", bundle, "--query", probe, "-g", gallery, "--threads", 1)[0] == 0
    assert run("gallery", "forget", gallery, source)[0] == 0

    entries = [entry.fields for entry in read_log(audit_log(gallery).folder)]
    told = [(entry["what"], entry.get("stage")) for entry in entries]
    assert told == [("index", "begun"), ("index", "done"), ("search", None), ("forget", "begun"), ("forget", "done")]
    assert all(entry["who"]["by"] == "user" and entry["who"]["name"] for entry in entries)
    assert entries[1]["rows"] > entries[4]["rows"] > 0
    assert not any(b"photos" in path.read_bytes() for path in log_files(audit_log(gallery).folder))

    def shown(*options: object) -> list[int]:
        assert run("gallery", "audit", "show", gallery, *options, "--json", tmp_path / "shown.json")[0] == 0
        return [entry["n"] for entry in json.loads((tmp_path / "shown.json").read_text())]

    user = entries[0]["who"]["name"]
    assert shown() == shown("--who", user) == shown("--since", "2001-01-01") == [1, 2, 3, 4, 5]
    assert shown("--who", "nobody-of-this-name") == shown("--until", "2001-01-01") == []
    assert shown("--what", "forget") == shown("--source", source) == [4, 5]
    assert shown("--source", photos) == [1, 2]
    assert shown("--probe", probe) == [3]
    assert shown("--probe", source) == []
    assert shown("--last", 2) == [4, 5]
    code, text = run("gallery", "audit", "show", gallery)
    assert code == 0
    assert f"user {user}" in text
    assert run("gallery", "audit", "show", gallery, "--since", "soon")[0] == 2

    code, text = run("gallery", "audit", "verify", gallery, "--json", tmp_path / "report.json")
    assert (code, "5 entries in 1 file; none at fault" in text) == (0, True)
    last = json.loads((tmp_path / "report.json").read_text())["last"]
    noted = f"{last['number']}:{last['hash']}"
    assert noted in text
    assert run("gallery", "audit", "verify", gallery, "--expect", noted)[0] == 0
    assert run("gallery", "audit", "verify", gallery, "--expect", f"1:{last['hash']}")[0] == 1
    assert run("gallery", "audit", "verify", gallery, "--expect", "five")[0] == 2
    (file,) = log_files(audit_log(gallery).folder)
    file.write_bytes(file.read_bytes().replace(b'"what":"search"', b'"what":"rested"'))
    code, text = run("gallery", "audit", "verify", gallery)
    assert (code, "line 3 of" in text, "was changed" in text) == (1, True, True)


def test_whatever_changes_a_gallery_is_recorded(run, tmp_path: Path) -> None:
    bundle, gallery = make_tiny_bundle(tmp_path / "b"), tmp_path / "gallery"
    assert run("gallery", "upgrade", gallery)[0] == 2
    assert not gallery.exists()
    photos = tmp_path / "photos"
    write_scenes(photos, range(2))
    assert run("index", "-b", bundle, photos, "-g", gallery, "--mode", "box", "--threads", 1)[0] == 0
    next(photos.iterdir()).unlink()
    for words in (["policy", "--keep", "30d"], ["expire"], ["sync", photos], ["optimise"], ["upgrade"]):
        assert run("gallery", words[0], gallery, *words[1:])[0] == 0, words
        last = [entry.fields for entry in read_log(audit_log(gallery).folder)][-2:]
        assert [(entry["what"], entry["stage"]) for entry in last] == [(words[0], "begun"), (words[0], "done")]


def test_a_command_that_fails_is_recorded(run, tmp_path: Path) -> None:
    bundle, gallery = make_tiny_bundle(tmp_path / "b"), tmp_path / "gallery"
    (tmp_path / "bad.jpg").write_bytes(b"none")
    assert run("index", "-b", bundle, tmp_path / "bad.jpg", "-g", gallery, "--threads", 1)[0] == 2
    told = [(entry.fields["what"], entry.fields.get("stage")) for entry in read_log(audit_log(gallery).folder)]
    assert told == [("index", "begun"), ("index", "failed")]


def test_where_nothing_can_be_recorded_commands_go_on_and_say_so(run, tmp_path: Path) -> None:
    bundle, gallery = make_tiny_bundle(tmp_path / "b"), tmp_path / "gallery"
    write_scenes(tmp_path / "photos", range(1))
    gallery.mkdir()
    (gallery / "_audit").write_text("in the way")
    code, text = run("index", "-b", bundle, tmp_path / "photos", "-g", gallery, "--threads", 1)
    assert (code, "not recorded:" in text) == (0, True)
