import sys

import pytest

from benchmarks import partitions
from benchmarks.partitions import CROWD, Report
from mgts_trt.cli.run import run_app

pytest.importorskip("lancedb")


def test_both_find_the_same(monkeypatch, tmp_path) -> None:
    words = ["--days", 10, "--cameras", 2, "--sightings", CROWD, "--probes", 4, "--json", tmp_path / "report.json"]
    monkeypatch.setattr(sys, "argv", ["benchmarks.partitions", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        run_app(partitions.app)
    assert not ended.value.code
    report = Report.model_validate_json((tmp_path / "report.json").read_text())
    a_day = 2 * CROWD
    assert report.sightings == 10 * a_day
    assert [each.sightings for each in report.searches] == [a_day, 6 * a_day, 10 * a_day, CROWD, 10 * CROWD]
    assert all((each.one.recall, each.days.recall) == (1, 1) for each in report.searches)
    assert report.people_erased == {"one": a_day, "days": a_day}
