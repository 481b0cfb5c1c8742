"""The page in a real browser: scenes, the gallery's view, forgetting, links, pickers and cards."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mgts_trt.machine.files import file_sha256
from tests.helpers.camera_scenes import write_video
from tests.helpers.page_visits import KEY, Served, Visit, first_match, make_picture, need, show, tab_to
from tests.helpers.running_service import serving
from tests.helpers.tiny_bundle import make_tiny_bundle

NOON = 1_764_331_200.0
"""Of a day, Unix seconds."""
DAY = 86_400.0
FRAMES = 40
STREAM = "rtsp://camera.example/entrance-of-the-building"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a key; of a picture of camera 1, a video of camera 2, a stream of camera `entrance` on two days."""
    need(all(map(find_spec, ("lancedb", "fastapi", "uvicorn"))), "needs the service: pip install 'mgts-trt[serve]'")
    from mgts_trt.gallery import Frame, Gallery, Space, entry_of
    from mgts_trt.gallery.indexing.video import video_frames
    from mgts_trt.pictures.image import read_image
    from mgts_trt.runtime.pipeline import PersonSearch

    folder = tmp_path_factory.mktemp("page-gallery")
    photo, video = make_picture(folder / "photo.png", hoops=1, stripes=4), folder / "video.avi"
    stored = make_picture(folder / "hoops.png", hoops=4)
    write_video(video, range(FRAMES))
    entries = [(Frame(str(stored), 0, file_sha256(stored), None, "1"), read_image(stored))]
    for frame in video_frames(str(video), lambda number: number % 3 == 1):
        entries.append((Frame(str(video), frame.number, file_sha256(video), frame.seconds, "2"), frame.image))
    for day in range(2):
        entries.append((Frame(STREAM, 7, "", NOON + day * DAY, "entrance"), read_image(stored)))
    with (
        PersonSearch.open(make_tiny_bundle(folder / "bundle"), threads=1) as search,
        Gallery.create(folder / "gallery", Space.of(search.bundle, search.mode)) as gallery,
    ):
        gallery.add([entry_of(image, frame, search(image)) for frame, image in entries])
        gallery.end_video(str(video), file_sha256(video), FRAMES)
    with serving(
        folder, "--gallery", folder / "gallery", bundle=folder / "bundle", environment={"MGTS_API_KEY": KEY}
    ) as running:
        yield Served(running.url, photo)


def in_gallery(page: Any) -> None:
    page.get_by_role("button", name="Gallery", exact=True).click()
    page.locator("#browse-status", has_text="shown").wait_for()


def pick_source(page: Any, name: str) -> None:
    page.locator(".source-name", has_text=name).click()
    page.locator("#browse-status", has_text=name).wait_for()


def test_the_scene_of_a_match_with_the_persons_box(visit: Visit, served: Served):
    page = visit()
    show(page, served.photo)[0].click()
    first_match(page)
    page.locator(".match", has_text="hoops.png").click()
    page.locator("#detail-scene").wait_for()
    scene, box = page.locator("#detail-scene").bounding_box(), page.locator("#detail-box").bounding_box()
    # The fifth of six columns, the upper of two rows.
    assert (box["x"] - scene["x"]) / scene["width"] == pytest.approx(4 / 6, abs=0.02)
    assert box["width"] / scene["width"] == pytest.approx(1 / 6, abs=0.02)
    assert box["height"] / scene["height"] == pytest.approx(1 / 2, abs=0.02)
    assert not page.locator("#detail-frames").is_visible()


def test_frames_of_a_video(visit: Visit, served: Served):
    page = visit()
    in_gallery(page)
    pick_source(page, "video.avi")
    page.locator("#browse-people .match").first.click()
    page.locator("#detail-frame", has_text="Frame 1 of 40, at 0:00.1").wait_for()
    assert page.locator("#detail-box").is_visible()
    assert page.locator("#detail-position").evaluate("(bar) => [bar.value, bar.max]") == [1, 39]
    page.get_by_role("button", name="Next frame").click()
    page.locator("#detail-frame", has_text="Frame 2 of 40").wait_for()
    assert not page.locator("#detail-box").is_visible()  # which is of their frame alone
    page.keyboard.press(",")
    page.locator("#detail-frame", has_text="Frame 1 of 40").wait_for()
    page.keyboard.press(",")
    page.locator("#detail-frame", has_text="Frame 0 of 40").wait_for()
    assert page.get_by_role("button", name="Previous frame").is_disabled()
    page.get_by_role("button", name="The frame they were seen in").click()
    page.locator("#detail-frame", has_text="Frame 1 of 40").wait_for()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
        if "Frame4Camera2" in page.locator("#detail-facts").text_content():
            break
    # The focus was on a button that cannot be pressed at a person's own frame.
    page.locator("#detail-frame", has_text="Frame 4 of 40").wait_for()
    assert page.locator("#detail-box").is_visible()


def test_a_scene_that_is_gone_says_why(visit: Visit, served: Served):
    page = visit(expect="404 (Not Found)")
    in_gallery(page)
    pick_source(page, STREAM)
    page.locator("#browse-people .match").first.click()
    page.locator("#detail-scene-status", has_text="live stream").wait_for()
    assert not page.locator("#detail-scene").is_visible()
    page.keyboard.press("Escape")


def test_pages_of_the_gallery(visit: Visit, served: Served):
    page = visit()
    in_gallery(page)
    seen = []
    while True:
        seen += page.locator("#browse-people .match").evaluate_all("(cards) => cards.map((card) => card.ariaLabel)")
        if page.locator("#page-next").is_disabled():
            break
        which = page.locator("#page-which").text_content()
        page.get_by_role("button", name="Next page").click()
        page.wait_for_function("(which) => document.querySelector('#page-which').textContent !== which", arg=which)
    page.locator("#page-previous:focus").wait_for()  # not lost with the last page
    total = int(re.match(r"\d+", page.locator("#browse-status").text_content())[0])
    assert len(seen) == total > 24
    assert "page=2" in page.url
    page.go_back()
    page.locator("#page-which", has_text="Page 1 of").wait_for()


def test_the_gallery_by_camera_source_and_time(visit: Visit, served: Served):
    page = visit()
    in_gallery(page)
    everybody = page.locator("#browse-status").text_content()
    page.locator("#browse [name=camera]").select_option("1")
    page.locator("#browse-status", has_text="1 person;").wait_for()
    assert page.locator("#browse-people .source").all_text_contents() == ["hoops.png"]
    page.locator("#browse [name=camera]").select_option("")
    page.locator("#browse-status", has_text=everybody).wait_for()  # else the next "1 person;" may be this one
    page.get_by_role("textbox", name="From").filter(visible=True).fill(local(page, NOON + DAY / 2))
    page.keyboard.press("Enter")
    page.locator("#browse-status", has_text="1 person;").wait_for()
    assert page.locator("#browse-people .source").all_text_contents() == ["entrance-of-the-building"]
    pick_source(page, "hoops.png")
    page.locator("#browse-status", has_text="Nobody of").wait_for()
    page.get_by_role("button", name="All sources").click()
    page.locator("#browse [name=camera]:focus").wait_for()
    page.locator("#browse-status", has_text="1 person;").wait_for()


def local(page: Any, seconds: float) -> str:
    """What a field for date and time takes, in the browser's zone."""
    return page.evaluate(
        "(s) => new Date(1000 * s - 60000 * new Date(1000 * s).getTimezoneOffset()).toISOString().slice(0, 19)", seconds
    )


def test_a_camera_and_a_time_narrow_a_search(visit: Visit, served: Served):
    page = visit()
    show(page, served.photo)[0].click()
    first_match(page)
    page.locator("#search [name=camera]").select_option("entrance")
    page.locator("#search-status", has_text="The 2 most similar").wait_for()
    assert set(page.locator("#matches .camera").all_text_contents()) == {"camera entrance"}
    page.locator("#search [name=until]").fill(local(page, NOON + 60))
    page.locator("#search [name=until]").blur()
    page.locator("#search-status", has_text="The most similar person").wait_for()
    assert page.locator("#matches .when").text_content() == local(page, NOON).replace("T", " ")


def test_somebody_of_the_gallery_is_searched_for(visit: Visit, served: Served):
    page = visit()
    in_gallery(page)
    pick_source(page, "hoops.png")
    page.locator("#browse-people .match").click()
    page.get_by_role("button", name="Search for this person").click()
    assert first_match(page) == "entrance-of-the-building"  # the same picture, as a stream's frame
    assert "hoops.png" not in page.locator("#matches .source").all_text_contents()
    assert page.locator("#probe").is_visible()


@pytest.mark.parametrize("by", ["photo", "person"])
def test_a_link_reproduces_a_search(visit: Visit, served: Served, by: str):
    page = visit()
    if by == "photo":
        show(page, served.photo)[0].click()
    else:
        in_gallery(page)
        page.locator("#browse-people .match").first.click()
        page.get_by_role("button", name="Search for this person").click()
    first_match(page)
    page.locator("#search [name=camera]").select_option("2")
    page.locator("#top").fill("5")
    page.locator("#top").blur()
    page.locator("#search-status", has_text="The 5 most").wait_for()
    page.wait_for_function("location.hash.includes('top=5') && location.hash.includes('camera=2')")
    labels = "(cards) => cards.map((card) => card.ariaLabel)"
    ranked = page.locator("#matches .match").evaluate_all(labels)
    other = visit(at=page.evaluate("location.hash"))
    other.locator("#search-status", has_text="The 5 most").wait_for()
    assert sorted(other.locator("#matches .match").evaluate_all(labels)) == sorted(ranked)
    assert other.locator("#search [name=camera]").input_value() == "2"
    assert other.locator("#top").input_value() == "5"
    assert other.locator("#probe").is_visible() is (by == "person")


def test_the_link_is_copied(visit: Visit, served: Served):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    show(page, served.photo)[0].click()
    first_match(page)
    page.get_by_role("button", name="Copy link").click()
    page.locator("#link-status", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.evaluate("location.href")
    assert "probe=" in copied


def test_a_link_to_the_gallery(visit: Visit, served: Served):
    page = visit(at="#view=gallery&camera=entrance")
    page.locator("#browse-status", has_text="2 people;").wait_for()
    assert page.locator("#browse [name=camera]").input_value() == "entrance"


@pytest.mark.parametrize(
    ("link", "sentence"),
    [
        ("#probe=%00%00", "damaged"),
        ("#probe=AAAA", "128 numbers"),
        ("#person=nobody", "no such person"),
        ("#probe=AAAA&space=other/net/123", "other weights"),
    ],
)
def test_a_link_that_is_none_says_why(visit: Visit, served: Served, link: str, sentence: str):
    page = visit(at=link, expect="Failed to load resource")
    page.locator("#search-alert", has_text=sentence).wait_for()


def test_back_returns_to_the_last_search(visit: Visit, served: Served):
    page = visit()
    left, right = show(page, served.photo)
    left.click()
    first_match(page)
    first = page.evaluate("location.hash")
    right.click()
    page.wait_for_function("(hash) => location.hash !== hash", arg=first)
    page.go_back()
    first_match(page)
    assert page.evaluate("location.hash") == first


def test_a_source_is_forgotten_after_a_second_question(visit: Visit, served: Served, tmp_path: Path):
    gone = make_picture(tmp_path / "gone.png", shorts=3)
    served.post("/index", files={"images": ("gone.png", gone.read_bytes())}, data={"camera": "gone"}).raise_for_status()
    page = visit()
    in_gallery(page)
    page.get_by_role("button", name="Forget gone.png").click()
    page.locator("#forget-what", has_text="1 person from 1 picture").wait_for()
    page.get_by_role("button", name="Cancel").click()
    assert page.locator(".source-name", has_text="gone.png").is_visible()
    page.get_by_role("button", name="Forget gone.png").click()
    page.get_by_role("button", name="Forget for good").click()
    page.locator("#browse-status", has_text="1 person of gone.png forgotten").wait_for()
    assert page.locator(".source-name", has_text="gone.png").count() == 0
    page.locator("#source-name:focus").wait_for()
    assert "gone (1)" not in page.locator("#browse [name=camera] option").all_text_contents()
    people = served.get("/people?source=gone.png").json()
    assert people["total"] == 0


def test_to_forget_may_take_longer_than_an_answer(visit: Visit, served: Served):
    page = visit(expect="504 (Gateway Timeout)")
    page.route(
        "**/sources?source=*", lambda route: route.fulfill(status=504, json={"error": "took longer than 30 seconds"})
    )
    in_gallery(page)
    page.get_by_role("button", name="Forget").first.click()
    page.get_by_role("button", name="Forget for good").click()
    page.locator("#forget-alert", has_text="goes on all the same").wait_for()


def test_the_gallery_by_keyboard_alone(visit: Visit, served: Served):
    page = visit()
    tab_to(page, "#to-gallery")
    page.keyboard.press("Enter")
    page.locator("#browse-status", has_text="shown").wait_for()
    tab_to(page, "#browse-people .match")
    page.keyboard.press("Enter")
    page.locator("#detail-scene").wait_for()
    page.keyboard.press("Escape")
    page.locator("#browse-people .match:focus").wait_for()
    tab_to(page, ".sources .forget", most=80)
    page.keyboard.press("Enter")
    page.locator("#forget-no:focus").wait_for()
    page.keyboard.press("Escape")
    page.locator("#forget-dialog").wait_for(state="hidden")


@pytest.mark.parametrize("view", ["search", "gallery"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_cut(visit: Visit, served: Served, width: int, scheme: str, view: str):
    page = visit(expect="404 (Not Found)", viewport={"width": width, "height": 800}, color_scheme=scheme)
    if view == "search":
        page.locator("#top").fill("50")
        show(page, served.photo)[0].click()
        first_match(page)
    else:
        page.get_by_role("button", name="Gallery", exact=True).click()
        page.locator("#browse [name=camera]").select_option("entrance")
        page.locator("#browse-status", has_text="2 people;").wait_for()
    when = page.locator(".match .when", has_text=local(page, NOON).replace("T", " ")).first
    when.wait_for()
    cut = "(all) => all.filter((e) => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight).length"
    assert page.locator(".match .when:visible").evaluate_all(cut) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".match:visible").first.click()
    dialog = page.locator("#detail").bounding_box()
    assert dialog["x"] >= 0
    assert dialog["x"] + dialog["width"] <= width
    assert page.locator("#detail").evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")
