import sys
from pathlib import Path

import pytest

from benchmarks.cpu_batches import CpuBatchesReport, app
from mgts_trt.cli.run import run_app
from tests.helpers.paths import SAMPLES
from tests.helpers.tiny_bundle import make_tiny_bundle


def test_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle, file = make_tiny_bundle(tmp_path / "bundle"), tmp_path / "report.json"
    arguments = ("--bundle", bundle, "--images", SAMPLES, "--rounds", 1, "--threads", 1, "--json", file)
    monkeypatch.setattr(sys, "argv", ["cpu_batches", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    assert not exit_.value.code
    report = CpuBatchesReport.model_validate_json(file.read_text())
    assert [(each.mode, each.size) for each in report.batches] == [(m, n) for m in ("box", "net") for n in (2, 4, 8)]
    assert all(each.ratio > 0 and each.cpu_ratio > 0 for each in report.batches)
