"""Visits to the service's page: pictures to show it, and what every test of it does there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import httpx
import numpy as np
import pytest

from tests.helpers.tiny_bundle import CANVAS, CELL

KEY = "a-key-for-the-tests"
SCALE = 8
"""Of the test pictures to the canvas, on which the networks see the cells again."""


Visit = Callable[..., Any]
"""The fixture `visit`."""


class Served(NamedTuple):
    """A running service and its pictures."""

    url: str
    photo: Path

    def post(self, path: str, **form: Any) -> httpx.Response:
        return httpx.post(self.url + path, headers={"X-API-Key": KEY}, timeout=30, **form)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers={"X-API-Key": KEY}, timeout=30)


def make_picture(path: Path, **people: int) -> Path:
    """White upright cells, which are people, on a dark ground: by their dress, the column they stand in."""
    picture = np.full((*CANVAS, 3), 20, np.uint8)
    for dress, column in people.items():
        cell = picture[: CELL[0], column * CELL[1] : (column + 1) * CELL[1]]
        cell[:] = 255
        if dress == "hoops":
            cell[::8] = cell[1::8] = cell[2::8] = (255, 60, 60)
        elif dress == "stripes":
            cell[:, ::8] = cell[:, 1::8] = cell[:, 2::8] = (60, 60, 255)
        else:
            cell[CELL[0] // 2 :] = (120, 255, 120)
    cv2.imwrite(str(path), cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST))
    return path


def show(page: Any, photo: Path) -> Any:
    """Put a photo in; its people's boxes from left to right."""
    page.set_input_files("#file", photo)
    page.locator("#photo-status", has_text="found").wait_for()
    boxes = page.locator(".box").all()
    return sorted(boxes, key=lambda box: box.bounding_box()["x"])


def first_match(page: Any) -> str:
    page.locator("#search-status", has_text="most similar").wait_for()
    return page.locator(".match .source").first.text_content()


def tab_to(page: Any, selector: str, most: int = 40) -> None:
    """Press Tab until an element has the focus, as who has no mouse does."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            return
    pytest.fail(f"{selector} is not reached by {most} presses of Tab", pytrace=False)


def need(there: object, otherwise: str) -> None:
    """Skip where something is missing; in CI, fail."""
    if not there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(otherwise)
