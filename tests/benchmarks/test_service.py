import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("tritonclient", reason="needs the extra check")

from tests.helpers.running_service import picture
from tests.helpers.tiny_bundle import make_tiny_bundle


def test_command(monkeypatch, tmp_path: Path) -> None:
    from benchmarks.doors import DOORS
    from benchmarks.service import ServiceReport, app
    from mgts_trt.cli.run import run_app

    (tmp_path / "photo.png").write_bytes(picture((0, 0)))
    arguments = [
        make_tiny_bundle(tmp_path / "bundle"), "--image", tmp_path / "photo.png", "--clients", "1,3", "--pictures", 4,
        "--rounds", 2, "--threads", 1, "--json", tmp_path / "report.json",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["service", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    assert exit_.value.code == 0
    report = ServiceReport.model_validate_json((tmp_path / "report.json").read_text())
    assert [(level.door, level.clients) for level in report.levels] == [
        (None, 0), *((door, count) for door in DOORS[:3] for count in (1, 3))
    ]  # fmt: skip
    assert report.kept_alive_p50_ms > 0
    for level in report.levels:
        assert level.pictures == 8
        assert 0 < level.p50_ms <= level.p95_ms <= level.p99_ms
