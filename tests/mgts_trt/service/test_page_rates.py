"""The page in a real browser, over a calibrated bundle: rates of false matches, and matches up to a rate."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.helpers.page_visits import KEY, Served, Visit, make_picture, need
from tests.helpers.running_service import serving

RED = 4
"""Other sightings of the one looked for, and a photo: more alike than the curve reaches; blue is less so."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need(all(map(find_spec, ("lancedb", "fastapi", "uvicorn"))), "needs the service: pip install 'mgts-trt[serve]'")
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.bundle.manifest import FalseMatches, write_manifest
    from tests.helpers.followed_gallery import fill

    folder = tmp_path_factory.mktemp("page-rates")
    bundle, gallery = fill(folder)
    manifest = Bundle.open(bundle).manifest
    curve = FalseMatches(
        cosines=(-1.0, 0.5, 0.6), far=(1.0, 0.02, 0.0005), pairs=9000, people=30, of="two sets",
        network=manifest.models["mgts"].weights,
    )  # fmt: skip
    write_manifest(bundle, manifest.model_copy(update={"likeness": {"net": curve}}))
    with serving(folder, "--gallery", gallery, bundle=bundle, environment={"MGTS_API_KEY": KEY}) as running:
        yield Served(running.url, make_picture(folder / "photo.png", hoops=1))


@pytest.fixture
def red(served: Served) -> str:
    """A link that searches for who passed the door twice."""
    seen = served.get("/sightings?camera=door").json()["sightings"]
    return f"#person={max(seen, key=lambda each: each['start'])['id']}"


def searched(page: Any, n: int) -> None:
    page.locator("#search-status", has_text=f"The {n} most similar sightings").wait_for()


def test_matches_tell_how_often_strangers_look_so_alike(visit: Visit, red: str) -> None:
    page = visit(at=red, expect="404 (Not Found)")  # the scene of a live stream
    searched(page, 6)
    assert "9,000 pairs of different people (two sets)" in page.locator("#calibration").text_content()
    rates = page.locator(".match .false-matches").all_text_contents()
    assert rates[:RED] == ["false 1 in 2,000"] * RED
    assert "false 1 in 2,000" not in rates[RED:]
    page.locator(".match").first.click()
    page.locator("#detail-facts dt", has_text="False matches").wait_for()
    assert "1 in 2,000" in page.locator("#detail-facts").text_content()


def test_only_matches_up_to_a_rate(visit: Visit, red: str) -> None:
    page = visit(at=red)
    searched(page, 6)
    page.get_by_label("False matches").select_option("up to 1 in 1,000")
    searched(page, RED)
    bars = len(page.locator(".sighting-bar").all())
    assert bars == RED - 1  # the photo has none
    link = page.evaluate("location.hash")
    assert "far=0.001" in link
    again = visit(at=link)
    searched(again, RED)
    assert again.get_by_label("False matches").input_value() == "0.001"
    page.get_by_label("False matches").select_option("any")
    searched(page, 6)


def test_a_rate_smaller_than_was_measured_is_refused_in_words(visit: Visit, red: str) -> None:
    page = visit(at=red, expect="400 (Bad Request)")
    searched(page, 6)
    page.get_by_label("False matches").select_option("up to 1 in 10,000")
    page.locator("#search-alert", has_text="Ask for that or more").wait_for()
    assert page.locator(".match").count() == 0
    assert page.locator("#timeline").is_hidden()
    page.get_by_label("False matches").select_option("up to 1 in 1,000")
    searched(page, RED)
    assert page.locator("#search-alert").is_hidden()
