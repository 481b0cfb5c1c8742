"""One of the galleries by day, told by the name of its folder; and the folder of all of them."""

import datetime as dt
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.lance import is_local, locate

ABOUT = "partitions.json"
"""File that makes a folder one of galleries by day."""

UNDATED = "undated"
_NAME = re.compile(r"(\d{4}-\d\d-\d\d|undated)(?:\.(\d+))?")
_CLOCK = 1e8
"""Times from here on are of a clock (1973); earlier ones are seconds into a video."""


@dataclass(frozen=True)
class Part:
    """One of the galleries.

    Attributes:
        day: UTC's; None of what has no time of a clock.
        group: Of cameras, from 0.
        name: Of its folder.
    """

    day: dt.date | None
    group: int
    name: str


def day_of(time: float | None) -> dt.date | None:
    """UTC's day of a time in Unix seconds; None of what is no time of a clock."""
    if time is None or not time > _CLOCK:
        return None
    return dt.datetime.fromtimestamp(time, dt.timezone.utc).date()


def part_of(name: str) -> Part | None:
    """Which gallery has a name; None of other names."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        day = None if match[1] == UNDATED else dt.date.fromisoformat(match[1])
    except ValueError:
        return None
    return Part(day, int(match[2] or 0), name)


def is_partitioned(url: str | Path) -> bool:
    """Whether there is a folder of galleries by day at a path; False of URLs."""
    location = locate(url)
    return is_local(location) and os.path.isfile(os.path.join(location, ABOUT))


def no_gallery(location: str) -> GalleryError:
    """What is said where one gallery is expected, and there is none."""
    if not is_partitioned(location):
        return GalleryError(f"There is no gallery in {location}. Index pictures into it first, or name another.")
    days = sorted(each for each in os.listdir(location) if part_of(each))
    such = f", such as {os.path.join(location, days[-1])}" if days else ", once something was indexed into it"
    return GalleryError(f"{location} holds galleries by day, and one is expected here. Name one of them{such}.")
