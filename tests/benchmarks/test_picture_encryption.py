import sys
from pathlib import Path

import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")
pytest.importorskip("cryptography", reason="needs the extra encryption")

from tests.helpers.camera_scenes import write_scenes
from tests.helpers.tiny_bundle import make_tiny_bundle


def test_command(monkeypatch, capsys, tmp_path: Path) -> None:
    from benchmarks.picture_encryption import CROWD, FRAMES, Report, app
    from mgts_trt.cli.run import run_app

    write_scenes(tmp_path / "in", range(3))
    arguments = [
        "--images", tmp_path / "in", "--bundle", make_tiny_bundle(tmp_path / "bundle"), "--photos", 4, "--rounds", 2,
        "--people", CROWD * FRAMES + 1, "--searches", 3, "--mode", "none", "--threads", 1,
        "--json", tmp_path / "report.json",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["picture_encryption", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    assert exit_.value.code == 0, capsys.readouterr().err
    report = Report.model_validate_json((tmp_path / "report.json").read_text())
    for task, count in ((report.indexing, 4), (report.storing, CROWD * FRAMES), (report.searching, 3)):
        assert task.plain.count == task.encrypted.count == 2 * count
        assert task.slower_cpu == pytest.approx(task.encrypted.cpu_seconds / task.plain.cpu_seconds - 1)
    assert report.bytes_a_person["encrypted"] > report.picture_bytes
