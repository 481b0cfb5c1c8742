"""The browser that shows the service's page to its tests; `python -m tests.helpers.browser` says if there is none."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

MISSING = (
    "No browser: the tests of the service's page need Chromium or Google Chrome. Install one with "
    "`apt-get install chromium`, or without root with `python -m playwright install chromium`."
)

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""How the tests start it."""


def find_browser() -> str | None:
    """The path of a Chromium or Chrome: the system's, else the one playwright keeps for itself."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main() -> None:
    """Say that there is none; in CI, fail."""
    if find_browser() is None:
        print(MISSING, file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)


if __name__ == "__main__":
    main()
