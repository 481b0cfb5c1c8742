import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs the extra gallery")

from benchmarks.cameras import CamerasReport, app, growth, require_whole
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from mgts_trt.gallery import Gallery
from mgts_trt.gallery.indexing.following import Followers
from tests.helpers.camera_scenes import write_scenes
from tests.helpers.stored_people import SPACE
from tests.helpers.tiny_bundle import make_tiny_bundle
from tests.helpers.walkers import stored_in_batches, walk


@pytest.mark.slow
def test_command(monkeypatch, capsys, tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", range(3))
    arguments = [
        "--pictures", tmp_path / "in", "--bundle", make_tiny_bundle(tmp_path / "bundle"), "--count", 2, "--rate", 10,
        "--minutes", 0.03, "--storm-minutes", 0.05, "--kills", 1, "--json", tmp_path / "report.json",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["cameras", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    assert exit_.value.code == 0, capsys.readouterr().err
    report = CamerasReport.model_validate_json((tmp_path / "report.json").read_text())
    assert json.loads((tmp_path / "report.json").read_text())["bundle"] == "bundle"
    assert report.steady.people
    for watch in (report.steady, report.storm):
        assert len(watch.cameras) == 2
        assert all(run.sent >= run.stored == run.taken for run in watch.cameras)
        assert any(run.stored for run in watch.cameras)
    assert (report.kills.kills, len(report.kills.lost_seconds)) == (1, 1)
    assert report.kills.people


@pytest.mark.parametrize("slope", [0.0, 3.0, -1.0])
def test_growth(slope: float) -> None:
    chance = np.random.default_rng(0)
    memory = [(float(t), 500 + slope * t / 60 + chance.normal(0, 0.2)) for t in range(600)]
    estimate, low, high = growth(memory)
    assert low < slope < high
    assert estimate == pytest.approx(slope, abs=0.05)
    assert high - low < 0.1


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", SPACE) as gallery:
        followers = Followers(gallery, 5.0)
        stored_in_batches(gallery, followers, walk(2, 30, "rtsp://camera/1", "", start=1.7e9))
        require_whole(gallery)
        rows = gallery.sightings.search().to_arrow().to_pylist()
        gallery.sightings.update(where=f"id = '{rows[0]['id']}'", values={"frames": rows[0]["frames"] + 1})
        with pytest.raises(MgtsError, match="is not of its rows"):
            require_whole(gallery)
        gallery.sightings.delete(f"id = '{rows[0]['id']}'")
        with pytest.raises(MgtsError, match="sightings, but rows of"):
            require_whole(gallery)
        frames = gallery.tables[1]
        frames.add(frames.search().limit(1).to_arrow())
        with pytest.raises(MgtsError, match="A frame is stored twice"):
            require_whole(gallery)
