"""The page in a real browser: a person is forgotten once it was looked at who that is."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.helpers.page_visits import KEY, Served, Visit, make_picture, need, tab_to
from tests.helpers.running_service import serving

GONE = "404 (Not Found)"
"""Scenes of live streams, and thumbnails of the forgotten."""


@pytest.fixture
def served(tmp_path) -> Iterator[Served]:
    """One a test: people are forgotten."""
    need(all(map(find_spec, ("lancedb", "fastapi", "uvicorn"))), "needs the service: pip install 'mgts-trt[serve]'")
    from tests.helpers.followed_gallery import fill

    bundle, gallery = fill(tmp_path)
    with serving(tmp_path, "--gallery", gallery, bundle=bundle, environment={"MGTS_API_KEY": KEY}) as running:
        yield Served(running.url, make_picture(tmp_path / "photo.png", hoops=1))


def asked(page: Any, likeness: str) -> str:
    """The sentence about who would go, from a likeness on."""
    slider = page.get_by_role("slider", name="Similarity, at least")
    slider.evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        likeness,
    )
    page.locator("#forget-person-least", has_text=likeness).wait_for()
    page.wait_for_function("() => !document.querySelector('#forget-person-yes').disabled")
    return page.locator("#forget-person-status").text_content()


def opened(page: Any) -> str:
    """Ask about the first match; returns its id."""
    page.locator("#search-status", has_text="most similar").wait_for()
    page.locator(".match").first.click()
    page.get_by_role("button", name="Forget this person…").click()
    page.locator("#forget-person-status", has_text="would be erased").wait_for()
    return dict(zip(*(page.locator(f"#detail-facts {tag}").all_text_contents() for tag in ("dt", "dd")), strict=True))[
        "Identifier"
    ]


def test_who_would_go_is_shown_and_goes(visit: Visit, served: Served):
    one = served.get("/sightings?camera=door").json()["sightings"][0]["id"]
    everybody = served.get("/people").json()["total"]
    page = visit(at=f"#person={one}", expect=GONE)
    found = opened(page)
    assert served.get("/people").json()["total"] == everybody
    # The fewer, the more alike; each is shown, with how alike.
    few = asked(page, "0.98")
    shown = page.locator("#forget-person-list .match .similarity").all_text_contents()
    assert shown == sorted(shown, reverse=True)
    assert all(float(each) >= 0.98 for each in shown)
    assert "sighting" in few
    leaving = served.post("/forget", data={"person": found, "likeness": "0.98"}).json()
    assert len(shown) == len(leaving["leaving"])
    thumbnails = [each["thumbnail"] for each in leaving["leaving"]]
    assert all(served.get(each).status_code == 200 for each in thumbnails)
    page.get_by_role("button", name="Forget for good").click()
    page.locator("#forget-person-dialog").wait_for(state="hidden")
    assert served.get("/people").json()["total"] == everybody - leaving["people"]
    assert all(served.get(each).status_code == 404 for each in thumbnails)
    assert not page.locator("#detail").is_visible()
    assert page.locator("#matches .match").count() == 0  # who was looked for may be among them


def test_who_came_meanwhile_is_looked_at_first(visit: Visit, served: Served):
    one = served.get("/sightings?camera=door").json()["sightings"][0]["id"]
    page = visit(at=f"#person={one}", expect="responded with a status of 40")
    found = opened(page)
    everybody = served.get("/people").json()["total"]
    alike = served.post("/forget", data={"person": found, "likeness": "0.75"}).json()["leaving"]
    other = next(each["sighting"]["id"] for each in reversed(alike) if each["sighting"])
    assert other != found
    served.post("/forget", data={"person": other, "likeness": "0.9999", "dry_run": "false"}).raise_for_status()
    left = served.get("/people").json()["total"]
    assert left < everybody
    page.get_by_role("button", name="Forget for good").click()
    page.locator("#forget-person-status", has_text="would be erased").wait_for()
    assert served.get("/people").json()["total"] == left
    assert page.locator("#forget-person-dialog").is_visible()


def test_by_keyboard_and_out_again(visit: Visit, served: Served):
    one = served.get("/sightings?camera=door").json()["sightings"][0]["id"]
    everybody = served.get("/people").json()["total"]
    page = visit(at=f"#person={one}", expect=GONE)
    page.locator("#search-status", has_text="most similar").wait_for()
    page.locator(".match").first.focus()
    page.keyboard.press("Enter")
    tab_to(page, "#detail-forget-person")
    page.keyboard.press("Enter")
    page.locator("#forget-person-status", has_text="would be erased").wait_for()
    assert page.locator("#forget-person-no:focus").count() == 1  # Enter forgets nobody
    tab_to(page, "#forget-person-likeness")
    page.locator("#forget-person-list .match").first.click()  # to look at them
    page.locator("#detail-title").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator("#forget-person-dialog").wait_for(state="hidden")
    assert served.get("/people").json()["total"] == everybody
