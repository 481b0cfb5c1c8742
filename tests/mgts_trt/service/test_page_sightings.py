"""The page in a real browser: sightings, their timeline and their frames."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import pytest

from tests.helpers.page_visits import KEY, Served, Visit, make_picture, need, tab_to
from tests.helpers.running_service import serving

NO_SCENE = "404 (Not Found)"
"""Of live streams there are none."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need(all(map(find_spec, ("lancedb", "fastapi", "uvicorn"))), "needs the service: pip install 'mgts-trt[serve]'")
    from tests.helpers.followed_gallery import fill

    folder = tmp_path_factory.mktemp("page-sightings")
    bundle, gallery = fill(folder)
    with serving(folder, "--gallery", gallery, bundle=bundle, environment={"MGTS_API_KEY": KEY}) as running:
        yield Served(running.url, make_picture(folder / "photo.png", hoops=1))


@pytest.fixture
def red(served: Served) -> str:
    """A link that searches for who passed the door twice."""
    seen = served.get("/sightings?camera=door").json()["sightings"]
    return f"#person={max(seen, key=lambda each: each['start'])['id']}"


def searched(page: Any, n: int = 6) -> None:
    page.locator("#search-status", has_text=f"The {n} most similar sightings").wait_for()


def bars(page: Any, lane: str) -> list[str]:
    return page.get_by_role("group", name=f"Camera {lane}").locator(".sighting-bar").all_text_contents()


def test_a_lane_for_each_camera_and_a_bar_for_each_sighting(visit: Visit, red: str):
    page = visit(at=red)
    searched(page)
    assert [len(bars(page, lane)) for lane in ("door", "yard", "hall")] == [2, 1, 2]
    assert page.locator("#far-field").is_hidden()
    assert "not calibrated" in page.locator("#calibration").text_content()
    # A photo, which has no from–to, is ranked and has no bar.
    ranks = page.locator(".match .rank").all_text_contents()
    (photo,) = set(ranks) - set(page.locator(".sighting-bar").all_text_contents())
    assert page.locator(".match", has_text="red.jpg").locator(".rank").text_content() == photo
    door, yard = (
        page.get_by_role("group", name=f"Camera {lane}").locator(".sighting-bar").first for lane in ("door", "yard")
    )
    assert door.bounding_box()["x"] < yard.bounding_box()["x"]  # who passed there later
    boxes = [bar.bounding_box() for bar in page.locator(".sighting-bar").all()]
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            apart_x = one["x"] >= other["x"] + other["width"] or other["x"] >= one["x"] + one["width"]
            apart_y = one["y"] >= other["y"] + other["height"] or other["y"] >= one["y"] + one["height"]
            assert apart_x or apart_y


def test_a_bar_opens_the_frames_and_plays_them(visit: Visit, red: str):
    page = visit(at=red, expect=NO_SCENE)
    searched(page)
    page.get_by_role("group", name="Camera yard").locator(".sighting-bar").click()
    status = page.locator("#detail .film-status")
    status.get_by_text("of 12").wait_for()
    position = page.get_by_role("slider", name="Frame of the sighting")
    position.focus()
    page.keyboard.press("Home")
    status.get_by_text("Frame 1 of 12").wait_for()
    page.keyboard.press("ArrowRight")  # the slider's own key: not the next person
    status.get_by_text("Frame 2 of 12").wait_for()
    assert page.locator("#detail-title").text_content().startswith("Rank 2")
    shown = "() => document.querySelector('#detail-match').toDataURL()"
    before = page.evaluate(shown)
    page.get_by_role("button", name="Play").click()
    status.get_by_text("Frame 12 of 12").wait_for()
    page.get_by_role("button", name="Play").wait_for()  # at its end it stops
    assert page.evaluate(shown) != before
    page.keyboard.press("Escape")
    page.locator(".sighting-bar:focus").wait_for()


def test_the_timeline_by_keyboard_alone(visit: Visit, red: str):
    page = visit(at=red, expect=NO_SCENE)
    searched(page)
    tab_to(page, ".sighting-bar")
    focused = "() => document.activeElement.getAttribute('aria-label')"
    assert ", door, " in page.evaluate(focused)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    first = page.evaluate(focused)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) != first
    page.keyboard.press("ArrowDown")
    assert ", yard, " in page.evaluate(focused)
    page.keyboard.press("ArrowDown")
    assert ", hall, hall.mp4, " in page.evaluate(focused)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.locator("#detail .film-status", has_text="of 12").wait_for()
    page.keyboard.press("Escape")
    page.locator(".sighting-bar:focus").wait_for()
    assert ", yard, " in page.evaluate(focused)
    page.keyboard.press("Tab")  # the timeline is one stop
    assert page.locator(".sighting-bar:focus").count() == 0


def test_single_frames_as_ever(visit: Visit, red: str):
    page = visit(at=red)
    searched(page)
    page.get_by_label("Single frames").check()
    page.locator("#search-status", has_text="The 12 most similar people").wait_for()
    assert page.locator("#timeline").is_hidden()
    assert "frames=true" in page.evaluate("location.hash")
    page.get_by_role("button", name="More results").click()
    page.locator(".match .rank").get_by_text("24", exact=True).wait_for()
    assert page.locator(".match .rank").all_text_contents() == [str(rank) for rank in range(1, 25)]


def test_further_probes_and_who_is_not_meant(visit: Visit, red: str):
    page = visit(at=red, expect=NO_SCENE)
    searched(page)
    page.get_by_role("group", name="Camera yard").locator(".sighting-bar").click()
    page.get_by_role("button", name="This is them, too").click()
    searched(page, 5)
    assert bars(page, "yard") == []
    page.locator(".match").last.click()
    page.get_by_role("button", name="This is not them").click()
    searched(page, 4)
    assert page.locator("#refined button").count() == 2
    page.locator("#refined li canvas").nth(1).wait_for()  # each with a picture of whom it means
    page.locator("#refined li canvas").nth(0).wait_for()
    other = visit(at=page.evaluate("location.hash"))
    searched(other, 4)
    assert other.locator("#refined button").count() == 2
    page.get_by_role("button", name="Take away: also like person 1").click()
    searched(page, 5)
    assert len(bars(page, "yard")) == 1


def test_the_sightings_of_the_gallery(visit: Visit, served: Served):
    page = visit(at="#view=gallery&kind=sightings")
    page.locator("#browse-status", has_text="6 sightings;").wait_for()
    assert page.locator("#browse-people .seen-in").all_text_contents() == ["12 frames"] * 6
    page.locator("#browse [name=camera]").select_option("yard")
    page.locator("#browse-status", has_text="1 sighting;").wait_for()
    page.get_by_label("Show").select_option("")
    page.locator("#browse-status", has_text="12 people;").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_cut(visit: Visit, red: str, width: int, scheme: str):
    page = visit(at=red, expect=NO_SCENE, viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=True)
    searched(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    lane = page.locator(".lane-bars").first.bounding_box()
    for bar in page.locator(".sighting-bar").all():
        box = bar.bounding_box()
        assert box["x"] >= lane["x"] - 1
        assert box["x"] + box["width"] <= lane["x"] + lane["width"] + 1
        assert min(box["width"], box["height"]) >= 24  # WCAG 2.2, 2.5.8
    for name in page.locator(".lane-name span").all():
        assert name.evaluate("(line) => line.scrollWidth <= line.clientWidth"), name.text_content()
    for ticks in page.locator(".ticks").all():
        boxes = [tick.bounding_box() for tick in ticks.locator("span").all()]
        assert all(one["x"] + one["width"] < other["x"] for one, other in pairwise(boxes))
    page.locator(".sighting-bar").first.click()
    page.locator("#detail .film-status", has_text="of 12").wait_for()
    assert page.locator("#detail").evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")
