"""Makes the pictures of the documents anew, from the bundle and the samples of the checkout.

Run, from the root of a checkout: python -m docs.pictures.make [FOLDER]    (`make pictures` does)

`search.jpg` and `demo.jpg` are what `make demo` draws; `page.jpg` is the page of the service in a browser.
"""

import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from mgts_trt import PersonSearch, read_image
from mgts_trt.pictures.image import write_image
from tests.helpers.browser import MISSING, find_browser

HERE = Path(__file__).parent
SAMPLES = HERE / "samples"
BUNDLE = HERE.parents[1] / "bundle"
STREET = SAMPLES / "17790319373_bd19b24cfc_k.jpg"
AISLE = SAMPLES / "store_aisle"
YARD = SAMPLES / "one_by_one"
CLIP = HERE / "clips" / "one_by_one.mp4"
"""Three of the people in `YARD`, one after the other: a frame every two seconds."""
PROBE = f"{AISLE / '0000.jpg'}@240,63,320,231"
PAGE = {"width": 1440, "height": 900}
"""Pixels of the browser's window."""


def draw_search(out: Path) -> None:
    """The man in the aisle, and where else he was found."""
    run("search", "--bundle", BUNDLE, "--query", PROBE, "--gallery", SAMPLES, "--top", 11, "--sheet", out)


def draw_people(out: Path) -> None:
    """The people of a street photo, with scores and masks."""
    image = read_image(STREET)
    with PersonSearch.open(BUNDLE, mode="net") as search:
        write_image(out, search(image).draw(image))


def photograph_page(out: Path) -> None:
    """The service's page with a person picked, in front of a gallery of a clip, in which they pass, and of photos."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        gallery = Path(folder, "gallery")
        cameras = {"shop": [AISLE], "yard": [CLIP], "street": sorted(SAMPLES.glob("*.jpg"))}
        for camera, pictures in cameras.items():
            run("index", "--bundle", BUNDLE, *pictures, "--gallery", gallery, "--camera", camera)
        command = [sys.executable, "-m", "mgts_trt", "serve", "--bundle", BUNDLE, "--gallery", gallery, "--port", "0"]
        serving = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--headless", "--no-sandbox"])
        try:
            address = re.search(r"http://\S+:\d+", serving.stdout.readline() if serving.stdout else "")
            if not address:
                sys.exit(f"The service did not start: {' '.join(map(str, command))}")
            page = browser.new_page(viewport=PAGE)
            page.goto(address[0])
            page.set_input_files("#file", YARD / "0260.jpg")
            page.locator(".box").first.click(timeout=60_000)
            page.locator(".match canvas").first.wait_for(timeout=60_000)
            page.locator(".sighting-bar").first.wait_for()
            page.wait_for_load_state("networkidle")
            page.screenshot(path=out, type="jpeg", quality=88)
        finally:
            browser.close()
            serving.terminate()
            serving.wait(30)


def run(*arguments: object) -> None:
    """A command of this project; its output is shown if it fails."""
    command = [sys.executable, "-m", "mgts_trt", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def main(folder: str = str(HERE)) -> None:
    """Make all of them, in a folder that is made if need be."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    draw_search(out / "search.jpg")
    draw_people(out / "demo.jpg")
    print(f"Made {out / 'search.jpg'} and {out / 'demo.jpg'}")
    if find_spec("playwright") is None:
        print("Not page.jpg: playwright, which drives the browser, is not installed: `pip install playwright`.")
    elif find_browser() is None:
        print(f"Not page.jpg. {MISSING}")
    else:
        photograph_page(out / "page.jpg")
        print(f"Made {out / 'page.jpg'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
