"""What holds for every test of the service."""

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.helpers.browser import MISSING, QUIET, find_browser
from tests.helpers.page_visits import KEY, Served, Visit, need


@pytest.fixture(autouse=True)
def no_defect_is_logged(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An application in the test's own process must not fail with 500, unless the test is marked `defect`.

    Each such answer leaves an error with its traceback in the log; of a service in a process of its own,
    `tests.helpers.running_service.serving` reads the log.
    """
    yield
    if request.node.get_closest_marker("defect"):
        return
    defects = [record for record in caplog.get_records("call") if record.exc_info and record.levelno >= logging.ERROR]
    if defects:
        pytest.fail("\n".join(f"{record.getMessage()}: {record.exc_info[1]!r}" for record in defects), pytrace=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    need(find_spec("playwright"), "needs playwright: pip install playwright")
    found = find_browser()
    need(found, MISSING)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, served: Served) -> Iterator[Visit]:
    """Open the page. The console must stay free of errors, violations of the security policy among them."""
    faults: list[str] = []
    expected: list[str] = []
    contexts = []

    def visit(key: str | None = KEY, expect: str | None = None, at: str = "", **context: Any) -> Any:
        """Args: key: kept from before; expect: a fault in the console that belongs to the test; at: after the URL."""
        opened = browser.new_context(**context)
        contexts.append(opened)
        opened.set_default_timeout(60_000)  # of a busy machine
        if key:
            opened.add_init_script(f"sessionStorage.setItem('mgts-trt-key', {key!r})")
        if expect:
            expected.append(expect)
        page = opened.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        response = page.goto(served.url + at)
        page.locator("#service", has_text="mode net").wait_for()
        assert "unsafe" not in response.headers["content-security-policy"]
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [fault for fault in faults if not any(known in fault for known in expected)] == []
