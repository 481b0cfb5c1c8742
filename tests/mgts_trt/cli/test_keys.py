import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from mgts_trt.access.key_ring import KeyRing
from mgts_trt.cli.keys import parse_expiry
from mgts_trt.errors import AccessError


@pytest.fixture
def run(monkeypatch, capsys, tmp_path: Path):
    """Run `mgts-trt keys …` with a file of keys; returns exit code, standard output and standard error."""

    def _run(*options: str) -> tuple[int, str, str]:
        from mgts_trt.cli.app import main

        monkeypatch.setenv("MGTS_KEYS", str(tmp_path / "keys.json"))
        monkeypatch.setattr(sys, "argv", ["mgts-trt", "keys", *options])
        with pytest.raises(SystemExit) as exit_:
            main()
        said = capsys.readouterr()
        return int(exit_.value.code or 0), said.out, " ".join(said.err.split())

    return _run


def test_added_listed_and_revoked(run, tmp_path: Path) -> None:
    code, key, note = run("add", "desk", "--role", "search", "--role", "index", "--expires", "30d")
    assert (code, key.count("\n")) == (0, 1)
    assert "not shown again" in note
    caller = KeyRing(None, tmp_path / "keys.json").verify(key.strip())
    assert (caller.name, caller.roles) == ("desk", {"search", "index"})
    code, shown, _ = run("list", "--json", str(tmp_path / "list.json"))
    assert code == 0
    assert "desk" in shown
    assert "search, index" in shown
    (listed,) = json.loads((tmp_path / "list.json").read_text())["keys"]
    assert (listed["name"], listed["expired"]) == ("desk", False)
    for text in (shown, (tmp_path / "list.json").read_text()):
        assert key.strip()[-64:] not in text
        assert "hash" not in text
    assert run("revoke", "desk")[0] == 0
    code, _, said = run("revoke", "desk")
    assert (code, "no key named" in said) == (2, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--role", "king"), "Roles are: search, index, forget, admin"),
        (("--role", "search", "--expires", "soon"), "such as 2030-12-31"),
        (("--role", "search", "--expires", "2001-01-01"), "has passed"),
        (("--role", "search", "--expires", "0d"), "has passed"),
    ],
)
def test_what_is_no_role_or_time(run, tmp_path: Path, options: tuple, told: str) -> None:
    code, key, said = run("add", "desk", *options)
    assert (code, key, told in said) == (2, "", True), said
    assert not (tmp_path / "keys.json").exists()


def test_when_keys_expire() -> None:
    assert [parse_expiry(text, 1000) for text in ("90m", "12h", "30d", "8w")] == [
        1000 + seconds for seconds in (5400, 43200, 2592000, 4838400)
    ]
    assert parse_expiry("2030-12-31", 0) == datetime(2030, 12, 31).timestamp()
    assert parse_expiry("2030-12-31T12:30+00:00", 0) == 1924950600
    for text in ("", "30", "d", "-1d", "1y", "2030-13-01", "9999999d"):
        with pytest.raises(AccessError):
            parse_expiry(text, 0)


def test_nothing_heavy_is_needed() -> None:
    code = (
        "import sys; sys.modules['lancedb'] = sys.modules['fastapi'] = None; from mgts_trt.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "keys", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "revoke" in done.stdout
