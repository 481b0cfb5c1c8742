import json
import sys

import pytest

from benchmarks import gallery_growth
from benchmarks.gallery_growth import Size
from mgts_trt.cli.run import run_app

pytest.importorskip("lancedb")


def test_a_gallery_is_measured_as_it_grows(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(gallery_growth, "_alone", lambda call: call())  # a process each takes seconds to begin
    words = ["--folder", tmp_path / "g", "--sizes", "800,1600", "--probes", 3, "--json", tmp_path / "report.json"]
    monkeypatch.setattr(sys, "argv", ["benchmarks.gallery_growth", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        run_app(gallery_growth.app)
    assert not ended.value.code
    report = json.loads((tmp_path / "report.json").read_text())
    assert [size["people"] for size in report["sizes"]] == [800, 1600]
    for size in report["sizes"]:
        assert (size["recall_sightings"], size["recall_people"]) == (1, 1)
        assert all(value > 0 for value in size["figures"].values())
    assert {fit["figure"] for fit in report["fits"]} == set(report["sizes"][0]["figures"])
    assert {path.name for path in (tmp_path / "g").iterdir()} == {"800", "1600", "growing", "added.json"}
    assert "10,000,000" in " ".join(capsys.readouterr().out.split())


def test_a_line_goes_through_what_lies_on_one() -> None:
    sizes = [
        Size(people=people, figures={"s": 3 + people / 1e5}, recall_sightings=1, recall_people=1)
        for people in (100_000, 200_000, 800_000)
    ]
    fit = gallery_growth._fit("s", sizes)
    assert (fit.a, fit.b_per_million, fit.at_ten_million) == pytest.approx((3, 10, 103))
    assert fit.residual == pytest.approx(0, abs=1e-9)
