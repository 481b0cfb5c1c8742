from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.bench_plot import WHOLE, bench_bars, bench_plot
from mgts_trt.pictures.image import read_image
from mgts_trt.pictures.palette import LINE, STAGES, rgb
from tests.helpers.bench_reports import STAGE_MS, bench_report


def colours(path: Path) -> dict[str, int]:
    """How many pixels of each stage's colour a picture has."""
    picture = read_image(path)
    return {stage: int((picture == rgb(colour)).all(-1).sum()) for stage, colour in STAGES.items()}


def test_bars_of_our_networks_alone() -> None:
    bars = bench_bars(bench_report())
    assert [bar.label for bar in bars] == ["none, 8 people", "net, 8 people", "box, 8 people"]
    assert bars[1].parts == STAGE_MS
    assert bars[1].total == sum(STAGE_MS.values())
    assert "masknet" not in bars[2].parts


def test_the_papers_bars_stand_beside_those_of_its_networks() -> None:
    bars = bench_bars(bench_report("paper"))
    assert [bar.label for bar in bars[1::2]] == ["the paper, Tesla K80"] * 3
    none, net, box = bars[1::2]
    assert net.parts == {"detector": 626, "masknet": 579, "reid": 64}
    assert net.total == 1270
    assert (none.parts, none.total) == ({WHOLE: 650}, 650)
    assert (box.parts, box.total) == ({WHOLE: 690}, 690)


def test_every_stage_has_its_colour_and_its_share(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bench_plot(bench_report(), tmp_path / "bars.png")
    shown = colours(tmp_path / "bars.png")
    wide = ("detector", "masknet", "reid")  # the others are narrow next to their edges
    area = {"detector": 300, "masknet": 80, "reid": 150}
    for stage in wide:
        # The texts on the bars and the legend's patches make for the tolerance.
        assert shown[stage] / shown["detector"] == pytest.approx(area[stage] / 300, rel=0.25), stage
    assert min(shown[stage] for stage in STAGE_MS) > 50
    ground = read_image(tmp_path / "bars.png")[2:-2, 2]
    np.testing.assert_array_equal(ground[-20:], 255, "opaque, for dark pages")


def test_one_scale_for_both(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bench_plot(bench_report("paper"), tmp_path / "slow.png")
    bench_plot(bench_report("paper", scale=0.1), tmp_path / "fast.png")
    slow, fast = colours(tmp_path / "slow.png"), colours(tmp_path / "fast.png")
    assert fast["detector"] < 0.8 * slow["detector"], "ours are shorter, the paper's stay"
    assert fast["masknet"] > 0.7 * slow["masknet"]
    picture = read_image(tmp_path / "fast.png")
    assert (picture == rgb(LINE)).all(-1).sum() > 10_000, "bars of which only the total is known"


@pytest.mark.parametrize("name", ["bars.svg", "bars.pdf"])
def test_other_formats(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bench_plot(bench_report(), tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(MgtsError, match=r"Name a \.png, \.svg or \.pdf"):
        bench_plot(bench_report(), tmp_path / "bars.bmp5")
