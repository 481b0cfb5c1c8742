"""The page in a real browser, against the real service on a bundle of tiny networks: the search."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.page_visits import KEY, Served, Visit, first_match, make_picture, need, show, tab_to
from tests.helpers.running_service import serving

HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`mgts-trt serve` with a key and a gallery of two people: hoops on camera 1, stripes on camera `<b>2</b>`."""
    need(all(map(find_spec, ("lancedb", "fastapi", "uvicorn"))), "needs the service: pip install 'mgts-trt[serve]'")
    folder = tmp_path_factory.mktemp("page")
    with serving(folder, "--gallery", folder / "gallery", environment={"MGTS_API_KEY": KEY}) as running:
        service = Served(running.url, make_picture(folder / "photo.png", hoops=1, stripes=4))
        for dress, column, source, camera in (
            ("hoops", 4, "videos/hoops.png", "1"),
            ("stripes", 1, HOSTILE, "<b>2</b>"),
        ):
            picture = make_picture(folder / f"{dress}.png", **{dress: column})
            form = {"files": {"images": picture.read_bytes()}, "data": {"source": source, "camera": camera}}
            answer = service.post("/index", **form).raise_for_status().json()
            assert answer["people"] == 1
        yield service


def test_click_ranks_the_gallery(visit: Visit, served: Served):
    page = visit()
    left, right = show(page, served.photo)
    assert re.fullmatch(r"Person [12], score [01]\.\d\d", left.get_attribute("aria-label"))
    left.click()
    assert first_match(page) == "hoops.png"
    assert page.locator(".match .similarity").first.text_content() >= "0.9"
    page.locator(".thumbnail.loading").first.wait_for(state="detached")
    assert page.locator(".thumbnail.missing").count() == 0
    assert left.get_attribute("aria-pressed") == "true"
    assert right.get_attribute("aria-pressed") == "false"


def test_keyboard_alone(visit: Visit, served: Served):
    page = visit(expect="404 (Not Found)")  # the scene of what was sent over HTTP
    page.on("filechooser", lambda chooser: chooser.set_files(served.photo))
    tab_to(page, "#choose")
    page.keyboard.press("Enter")
    page.locator(".box:focus").wait_for()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")  # the person on the right
    page.keyboard.press("Enter")
    assert first_match(page) == HOSTILE
    tab_to(page, ".match")
    page.keyboard.press("Enter")
    assert page.locator("#detail-title").text_content().startswith("Rank 1")
    page.keyboard.press("ArrowRight")
    assert page.locator("#detail-title").text_content().startswith("Rank 2")
    page.keyboard.press("Escape")
    # The browser first gives the focus back to the card that opened the dialog; the dialog's event moves it later.
    page.locator(".match:focus .rank").get_by_text("2", exact=True).wait_for()
    assert page.locator("#detail").is_hidden()


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_box_of_ones_own(visit: Visit, served: Served, by: str):
    page = visit()
    _, right = show(page, served.photo)
    box = right.bounding_box()
    if by == "mouse":
        page.mouse.move(box["x"] + 1, box["y"] + 1)
        page.mouse.down()
        page.mouse.move(box["x"] + 20, box["y"] + 30)
        page.mouse.move(box["x"] + box["width"], box["y"] + box["height"])
        page.mouse.up()
    else:
        page.get_by_role("button", name="Draw a box").click()
        for key, presses in (("ArrowRight", 12), ("ArrowUp", 13), ("Shift+ArrowRight", 1)):
            for _ in range(presses):
                page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.locator(".box.own[aria-pressed=true]").wait_for()
    assert first_match(page) == HOSTILE


def test_texts_of_the_gallery_stay_texts(visit: Visit, served: Served):
    page = visit(expect="404 (Not Found)")
    show(page, served.photo)[1].click()
    assert first_match(page) == HOSTILE
    assert page.locator(".match .camera").first.text_content() == "camera <b>2</b>"
    assert page.locator("#search [name=camera] option").all_text_contents() == ["All", "1 (1)", "<b>2</b> (1)"]
    page.locator(".match").first.click()
    assert page.locator("#detail-facts dd").all_text_contents()[:2] == [HOSTILE, "<b>2</b>"]
    assert page.locator("main img, main b, dialog img, dialog b").count() == 0


def test_filter(visit: Visit, served: Served):
    page = visit(expect="400 (Bad Request)")
    show(page, served.photo)[1].click()
    assert first_match(page) == HOSTILE
    page.locator("#search summary").click()
    page.locator("#search").get_by_label("Filter").fill("camera=1")
    page.keyboard.press("Enter")
    page.locator("#search-status", has_text="The most similar person").wait_for()
    assert page.locator(".match .source").all_text_contents() == ["hoops.png"]
    page.locator("#search").get_by_label("Filter").fill("colour=red")
    page.keyboard.press("Enter")
    page.locator("#search-alert", has_text="colour").wait_for()
    assert page.locator(".match").count() == 0


def test_wrong_key_then_right_key(visit: Visit, served: Served):
    page = visit(key=None, expect="401 (Unauthorized)")
    field = page.get_by_label("API key")
    field.fill("wrong")
    field.press("Enter")
    page.set_input_files("#file", served.photo)
    page.locator("#key-reason", has_text="key").wait_for()
    field.fill(KEY)
    field.press("Enter")
    page.locator("#photo-status", has_text="2 people found").wait_for()
    page.reload()
    page.locator("#service", has_text="people from").wait_for()
    assert not field.is_visible()


def test_broken_file_shows_the_services_sentence(visit: Visit, served: Served, tmp_path: Path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff broken")
    answer = served.post("/detect", files={"image": ("broken.jpg", broken.read_bytes())})
    page = visit(expect="400 (Bad Request)")
    page.set_input_files("#file", broken)
    page.locator("#photo-alert").wait_for()
    assert page.locator("#photo-alert").text_content() == answer.json()["error"]
    assert page.get_by_role("button", name="Choose a photo").is_visible()
    assert len(show(page, served.photo)) == 2
    assert not page.locator("#photo-alert").is_visible()


def test_new_search_aborts_the_last(visit: Visit, served: Served):
    page = visit()
    left, right = show(page, served.photo)
    held: list[Any] = []
    aborted: list[Any] = []
    page.on("requestfailed", lambda request: aborted.append(request))
    page.route("**/search", lambda route: route.continue_() if held else held.append(route))
    left.click()
    right.click()
    assert first_match(page) == HOSTILE
    assert [request.url for request in aborted] == [served.url + "/search"]


def test_add_to_gallery(visit: Visit, served: Served, tmp_path: Path):
    page = visit()
    photo = make_picture(tmp_path / "added.png", shorts=2)
    show(page, photo)
    page.get_by_label("Taken by camera").fill("garden")
    page.get_by_role("button", name="Add to gallery").click()
    page.locator("#photo-status", has_text="1 photo with 1 person added").wait_for()
    page.locator("#search [name=camera]").select_option("garden")
    page.locator(".box").click()
    page.locator("#search-status", has_text="Nobody matches").wait_for()  # the photo itself is no match
    show(page, make_picture(tmp_path / "another.png", shorts=4))
    page.locator(".box").click()
    assert first_match(page) == "added.png"


def test_several_photos(visit: Visit, served: Served, tmp_path: Path):
    page = visit()
    page.set_input_files("#file", [served.photo, make_picture(tmp_path / "one.png", shorts=2)])
    page.locator("#photo-status", has_text="2 people found").wait_for()
    page.get_by_role("button", name="Next photo").click()
    page.locator("#photo-status", has_text="1 person found").wait_for()
    assert page.locator("#which").text_content() == "2 of 2: one.png"
    assert page.get_by_role("button", name="Add 2 photos to gallery").is_visible()


def test_service_away_and_back(visit: Visit, served: Served):
    page = visit(expect="ERR_INTERNET_DISCONNECTED")
    page.context.set_offline(True)
    page.set_input_files("#file", served.photo)
    page.locator("#photo-alert", has_text="does not answer").wait_for()
    page.locator("#service.away").wait_for()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    page.locator("#photo-status", has_text="2 people found").wait_for()


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        ({"has_gallery": True, "gallery": {"people": 0, "frames": 0}}, "empty"),
        ({"has_gallery": False, "gallery": None}, "has no gallery"),
    ],
)
def test_advice_without_a_gallery(visit: Visit, found: dict[str, Any], advice: str):
    page = visit()
    page.route("**/healthz", lambda route: route.fulfill(json={**route.fetch().json(), **found}))
    page.reload()
    page.locator("#empty-text", has_text=advice).wait_for()
    assert "mgts-trt index" in page.locator("#empty-command").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(visit: Visit, served: Served, scheme: str):
    page = visit(
        expect="404 (Not Found)",
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        color_scheme=scheme,
    )
    show(page, served.photo)[0].tap()
    assert first_match(page) == "hoops.png"
    assert page.evaluate("Math.max(document.documentElement.scrollWidth, innerWidth)") == 360
    for button in page.locator("button:visible, input:visible, select:visible, summary:visible").all():
        size = button.bounding_box()
        assert min(size["width"], size["height"]) >= 43.9, button.text_content()
    page.locator(".match").first.tap()
    assert page.locator("#detail").bounding_box()["width"] <= 360
