"""The check of the versions that pyproject.toml allows: what it reads, and that it tells a failure."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers import bounds
from tests.helpers.paths import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_pythons_it_tries_begin_with_the_oldest_that_is_not_proven_otherwise() -> None:
    pythons = bounds.claimed(PROJECT)
    assert pythons == sorted(pythons, key=lambda version: int(version.partition(".")[2]))
    assert pythons[0] == "3.11"
    oldest = tomllib.loads(PROJECT)["project"]["requires-python"].removeprefix(">=")
    assert oldest == "3.10"
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    assert f"mypy --python-version {oldest}" in lint
    assert f"vermin --quiet --no-tips --target={oldest}-" in lint


def test_what_needs_a_newer_python_is_found(tmp_path: Path) -> None:
    (tmp_path / "newer.py").write_text("import hashlib\nhashlib.file_digest(file, 'sha256')\n")
    pytest.importorskip("vermin", reason="needs the extra check")
    vermin = [
        sys.executable,
        "-c",
        "import vermin; vermin.main()",
        "--quiet",
        "--no-tips",
        "--target=3.10-",
        "--violations",
    ]
    for place, code in ((tmp_path, 1), (ROOT / "mgts_trt", 0)):
        done = subprocess.run([*vermin, str(place)], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("FAILED a\n1 failed, 2 passed in 3.10s\n", "1 failed, 2 passed"),
        ("=== 1692 passed, 154 skipped, 6 warnings in 313.61s (0:05:13) ===\n", "1692 passed, 154 skipped, 6 warnings"),
        ("35 errors in 5.88s\n", "35 errors"),
        ("ImportError\n", ""),
    ],
)
def test_the_count_is_found(said: str, told: str) -> None:
    assert bounds.summary(said) == told


@pytest.mark.parametrize(
    ("body", "well", "told"),
    [
        ("exit 0", True, "pytest ended with 0: see above"),
        ('case "$1" in pip) echo no such version; exit 1;; esac', False, "cannot be installed: see above"),
        ('case "$1" in venv) echo no such Python; exit 2;; esac', False, "cannot be installed: see above"),
    ],
)
def test_what_cannot_be_installed_fails(
    body: str, well: bool, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uv that does as little as is asked; its environment's Python does nothing, and well."""
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\n{body}\n")
    uv.chmod(0o755)
    (tmp_path / "environment/bin").mkdir(parents=True)
    (tmp_path / "environment/bin/python").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert bounds.attempt("3.11", "lowest", ["check"], [], tmp_path / "environment") == (well, told)


def test_one_that_fails_makes_the_whole_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = {"lowest": (False, "1 failed"), "newest": (True, "9 passed")}
    monkeypatch.setattr(bounds, "attempt", lambda python, resolution, *rest: results[resolution])
    monkeypatch.setattr(sys, "argv", ["bounds", "--python", "3.11"])
    with pytest.raises(SystemExit, match="1"):
        bounds.main()
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[:2] + row.split()[3:] for row in rows] == [
        ["3.11", "lowest", "FAILED:", "1", "failed"],
        ["3.11", "newest", "ok:", "9", "passed"],
    ]
