import itertools
import re

import pytest

from mgts_trt.pictures import palette
from mgts_trt.pictures.palette import STAGES, contrast, ink_on, luminance, rgb
from mgts_trt.runtime.people import STAGES as STAGES_THAT_RUN
from tests.helpers.paths import ROOT

PAGE = (ROOT / "mgts_trt/service/page/style.css").read_text(encoding="utf-8")
DARK_GROUND = re.findall(r"--ground: (#\w+);", PAGE)[1]


@pytest.mark.parametrize(
    "name", ["GROUND", "SURFACE", "SUNKEN", "TEXT", "MUTED", "LINE", "CONTROL", "ACCENT", "PICKED"]
)
def test_the_colours_are_the_pages(name: str) -> None:
    assert re.search(rf"--{name.lower()}: (#\w+);", PAGE).group(1) == getattr(palette, name)


def test_every_stage_has_a_colour_of_its_own() -> None:
    assert tuple(STAGES) == STAGES_THAT_RUN
    for one, other in itertools.combinations(STAGES.values(), 2):
        assert sum(abs(a - b) for a, b in zip(rgb(one), rgb(other), strict=True)) > 100


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_shows_on_paper_and_on_a_dark_ground(stage: str) -> None:
    colour = STAGES[stage]
    assert contrast(colour, palette.SURFACE) >= 3
    assert contrast(colour, DARK_GROUND) >= 3
    assert contrast(ink_on(colour), colour) >= 4.5, "what is written on it"


def test_contrast() -> None:
    assert rgb("#ff8000") == (255, 128, 0)
    assert luminance("#ffffff") == pytest.approx(1)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert (ink_on("#000000"), ink_on("#ffffff")) == (palette.SURFACE, palette.TEXT)
