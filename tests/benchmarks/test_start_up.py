import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.start_up import STARTS, StartUpReport, app
from mgts_trt.cli.run import run_app

PROJECT = """[project]
scripts = { mgts-trt = "mgts_trt.entry:run" }
"""
LAZY = """def __getattr__(name):
    import time
    time.sleep(1.5)
    return object
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout, whose `PersonSearch` takes long to import, and whose command does next to nothing."""
    package = tmp_path / "other" / "mgts_trt"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(LAZY)
    (package / "entry.py").write_text(
        "import sys\nrun = lambda: sys.exit(sys.argv[1:] not in (['--help'], ['--version']))"
    )
    (package.parent / "pyproject.toml").write_text(PROJECT)
    return package.parent


def start_up(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["start_up", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    return int(exit_.value.code or 0)


def test_command(monkeypatch, capsys, checkout: Path, tmp_path: Path) -> None:
    assert start_up(monkeypatch, checkout, "--turns", 1, "--json", tmp_path / "report.json") == 0
    report = StartUpReport.model_validate_json((tmp_path / "report.json").read_text())
    assert (report.other_commit, report.turns) == ("", 1)
    starts = {start.name: start for start in report.starts}
    assert list(starts) == list(STARTS)
    for start in report.starts:
        assert start.ratio == pytest.approx(start.here_ms / start.there_ms, rel=1e-2)
        assert start.there_cpu_ms > 0
        assert start.here_cpu_ms > 0
    slow = starts["import PersonSearch"]
    assert slow.there_ms > 1500 > slow.there_cpu_ms  # it sleeps, so the clock alone runs on
    assert starts["mgts-trt --help"].here_cpu_ms > 2 * starts["mgts-trt --help"].there_cpu_ms
    assert "import PersonSearch" in capsys.readouterr().out


def test_a_command_that_fails_is_told(monkeypatch, capsys, checkout: Path) -> None:
    (checkout / "mgts_trt" / "entry.py").write_text("def run(): raise SystemExit('it is broken')")
    assert start_up(monkeypatch, checkout, "--turns", 1) == 2
    assert "it is broken" in capsys.readouterr().err


def test_what_is_no_checkout_is_refused(monkeypatch, capsys, tmp_path: Path) -> None:
    assert start_up(monkeypatch, tmp_path) == 2
    assert "is no checkout of mgts-trt" in capsys.readouterr().err


def test_the_commit_of_a_checkout_is_kept(monkeypatch, checkout: Path, tmp_path: Path) -> None:
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    (checkout / "mgts_trt" / "__init__.py").write_text("PersonSearch = 1")
    assert start_up(monkeypatch, checkout, "--turns", 1, "--json", tmp_path / "report.json") == 0
    assert len(StartUpReport.model_validate_json((tmp_path / "report.json").read_text()).other_commit) == 40
