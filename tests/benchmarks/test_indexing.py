import sys
from pathlib import Path

import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")

from tests.helpers.camera_scenes import write_scenes
from tests.helpers.tiny_bundle import make_tiny_bundle


def test_command(monkeypatch, capsys, tmp_path: Path) -> None:
    from benchmarks.indexing import IndexingReport, app
    from mgts_trt.cli.run import run_app

    write_scenes(tmp_path / "in", range(3))
    arguments = [
        "--images", tmp_path / "in", "--bundle", make_tiny_bundle(tmp_path / "bundle"), "--pictures", 7,
        "--rounds", 2, "--mode", "none", "--threads", 1, "--json", tmp_path / "report.json",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["indexing", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    assert exit_.value.code == 0, capsys.readouterr().err
    report = IndexingReport.model_validate_json((tmp_path / "report.json").read_text())
    assert report.bare.pictures == report.indexing.pictures == 7
    assert report.bare.people == report.indexing.people > 0
    assert report.ratio == pytest.approx(report.bare.seconds / report.indexing.seconds)
    assert len(report.memory_mib) == 2
