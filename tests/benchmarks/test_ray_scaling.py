import sys
from pathlib import Path

import pytest

from mgts_trt.cli.run import run_app
from mgts_trt.errors import ClusterError
from mgts_trt.gallery.indexing.ray_cluster import import_ray
from tests.helpers.camera_scenes import write_scenes
from tests.helpers.tiny_bundle import make_tiny_bundle

pytest.importorskip("lancedb")
from benchmarks.ray_scaling import Report, app


@pytest.mark.slow
def test_one_worker(monkeypatch, capsys, tmp_path: Path) -> None:
    try:
        import_ray()
    except ClusterError as error:
        pytest.skip(str(error))
    bundle = make_tiny_bundle(tmp_path / "b")
    write_scenes(tmp_path / "in", range(2))
    arguments = [tmp_path / "in", "--bundle", bundle, "--count", 8, "--workers", 1, "--rounds", 1]
    monkeypatch.setattr(sys, "argv", ["ray_scaling", *map(str, arguments), "--json", str(tmp_path / "r.json")])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    assert not exit_.value.code, capsys.readouterr().err
    report = Report.model_validate_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (report.pictures, report.ratio, report.bundle) == (8, 1.0, "tiny")
    (run,) = report.runs
    assert run.rate == report.rates[1] > 0
    assert 0 < run.start_seconds < run.seconds
